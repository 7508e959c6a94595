// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Landlock: which files, ports and processes a module may reach, by the kernel's own rules.
///
/// Layer: function. Linux 5.13; what a kernel does not know yet is left out, and said so.
///
/// The numbers are the kernel's; <linux/landlock.h> of the machine that this is compiled on may be
/// older than the kernel that it runs on.

#include <cstddef>
#include <cstdint>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <troupe/function/sandbox/descriptor.hpp>
#include <troupe/function/sandbox/level.hpp>

namespace troupe::detail::sandbox {

/// Rules for the calling thread and its children, once `restrict_self` has been called.
class landlock {
public:
  /// What the kernel knows; 0: nothing.
  landlock() noexcept
      : version_(static_cast<int>(::syscall(create_ruleset, nullptr, 0U, ask_version))) {
    if (version_ < 0) version_ = 0;
  }

  /// Refuses all files, and what else there is; nothing of the network if that is permitted.
  bool begin(bool network) noexcept {
    if (version_ == 0) return false;
    attributes all{};
    all.files = file_rights();
    std::size_t size = offsetof(attributes, network);
    if (version_ >= 4) {
      all.network = network ? 0 : network_rights;
      size = offsetof(attributes, scope);
    }
    if (version_ >= 6) {
      all.scope = scopes;
      size = sizeof all;
    }
    rules_.reset(static_cast<int>(::syscall(create_ruleset, &all, size, 0U)));
    network_ = version_ >= 4 && !network;
    return static_cast<bool>(rules_);
  }

  /// What is at `path` may be read, and listed if it is a directory.
  bool may_read(const char* path, bool directory) noexcept {
    const descriptor at(::open(path, O_PATH | O_CLOEXEC));
    if (!at) return false;
    beneath rule{};
    rule.rights = read_file | (directory ? read_directory : 0);
    rule.parent = at.get();
    return ::syscall(add_rule, rules_.get(), path_beneath, &rule, 0U) == 0;
  }

  /// Needs no_new_privs. Adds what is in force now to `level`.
  bool restrict_self(sandbox_level& level) noexcept {
    if (::syscall(restrict, rules_.get(), 0U) != 0) return false;
    level = level | sandbox_part::landlock_files | sandbox_part::no_foreign_files;
    if (network_) level = level | sandbox_part::landlock_network;
    if (version_ >= 6) level = level | sandbox_part::landlock_scope;
    return true;
  }

private:
  struct attributes {
    std::uint64_t files;
    std::uint64_t network;
    std::uint64_t scope;
  };
  struct [[gnu::packed]] beneath {
    std::uint64_t rights;
    std::int32_t parent;
  };

  static constexpr long create_ruleset = 444;
  static constexpr long add_rule = 445;
  static constexpr long restrict = 446;
  static constexpr unsigned ask_version = 1;
  static constexpr int path_beneath = 1;
  static constexpr std::uint64_t read_file = 1u << 2;
  static constexpr std::uint64_t read_directory = 1u << 3;
  static constexpr std::uint64_t network_rights = 3;  // bind and connect, TCP
  static constexpr std::uint64_t scopes = 3;          // abstract sockets, signals

  std::uint64_t file_rights() const noexcept {
    std::uint64_t all = (1u << 13) - 1;  // version 1
    if (version_ >= 2) all |= 1u << 13;  // refer
    if (version_ >= 3) all |= 1u << 14;  // truncate
    if (version_ >= 5) all |= 1u << 15;  // ioctl of devices
    return all;
  }

  int version_ = 0;
  bool network_ = false;
  descriptor rules_;
};

}  // namespace troupe::detail::sandbox

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What keeps a module in its process: the parts of the sandbox, and which of them are in force.
///
/// Layer: function.

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// One part of the sandbox. What each closes, and against what: docs/sandbox.md.
enum class sandbox_part : std::uint32_t {
  own_process = 1u << 0,          ///< Its own address space, and no descriptor or environment.
  limits = 1u << 1,               ///< Memory, descriptors, sizes of files.
  no_new_privileges = 1u << 2,    ///< No program that is started can gain any.
  no_capabilities = 1u << 3,      ///< All capabilities are dropped.
  other_user = 1u << 4,           ///< It runs as nobody, not as the user of the host.
  user_namespace = 1u << 5,       ///< What it could become root of is only its own.
  process_namespace = 1u << 6,    ///< No process of the host has a number there.
  network_namespace = 1u << 7,    ///< A network without any interface.
  ipc_namespace = 1u << 8,        ///< No message queues or shared memory of others.
  empty_root = 1u << 9,           ///< Its file system holds the module, and what it may read.
  landlock_files = 1u << 10,      ///< Landlock refuses all files but those.
  landlock_network = 1u << 11,    ///< Landlock refuses TCP.
  landlock_scope = 1u << 12,      ///< Landlock refuses signals and abstract sockets to others.
  system_call_filter = 1u << 13,  ///< System calls that are not on a list end the process.
  no_foreign_files = 1u << 14,    ///< One of the two that close the file system is in force.
};

/// A set of parts.
///
/// Thread safety: a value.
class sandbox_level {
public:
  constexpr sandbox_level() noexcept = default;
  constexpr explicit sandbox_level(std::uint32_t bits) noexcept : bits_(bits) {}
  constexpr sandbox_level(sandbox_part part) noexcept : bits_(static_cast<std::uint32_t>(part)) {}

  /// Nothing but a process of its own with limits: crashes and leaks stay there.
  static constexpr sandbox_level process() noexcept;
  /// No files of others and only listed system calls, which reach no network and no other process.
  static constexpr sandbox_level confined() noexcept;
  /// Two mechanisms against each kind of access. Not in it: another user, which only root can
  /// change to, and what came to landlock after its first version.
  static constexpr sandbox_level strict() noexcept;

  constexpr bool has(sandbox_part part) const noexcept {
    return (bits_ & static_cast<std::uint32_t>(part)) != 0;
  }
  /// True if all parts of `other` are in this.
  constexpr bool covers(sandbox_level other) const noexcept {
    return (bits_ & other.bits_) == other.bits_;
  }
  constexpr std::uint32_t bits() const noexcept { return bits_; }

  friend constexpr sandbox_level operator|(sandbox_level a, sandbox_level b) noexcept {
    return sandbox_level(a.bits_ | b.bits_);
  }
  /// The parts of `a` that `b` does not have.
  friend constexpr sandbox_level operator-(sandbox_level a, sandbox_level b) noexcept {
    return sandbox_level(a.bits_ & ~b.bits_);
  }
  friend constexpr bool operator==(sandbox_level a, sandbox_level b) noexcept {
    return a.bits_ == b.bits_;
  }

private:
  std::uint32_t bits_ = 0;
};

[[nodiscard]] constexpr sandbox_level operator|(sandbox_part a, sandbox_part b) noexcept {
  return sandbox_level(a) | sandbox_level(b);
}

constexpr sandbox_level sandbox_level::process() noexcept {
  return sandbox_part::own_process | sandbox_part::limits;
}

constexpr sandbox_level sandbox_level::confined() noexcept {
  return process() | sandbox_part::no_new_privileges | sandbox_part::no_foreign_files |
         sandbox_part::system_call_filter;
}

constexpr sandbox_level sandbox_level::strict() noexcept {
  return confined() | sandbox_part::no_capabilities | sandbox_part::user_namespace |
         sandbox_part::process_namespace | sandbox_part::network_namespace |
         sandbox_part::ipc_namespace | sandbox_part::empty_root | sandbox_part::landlock_files;
}

/// The parts by name, separated by commas; "nothing" for none.
[[nodiscard]] inline std::string to_string(sandbox_level level) {
  struct name {
    sandbox_part part;
    std::string_view text;
  };
  static constexpr name names[] = {
      {sandbox_part::own_process, "own process"},
      {sandbox_part::limits, "limits"},
      {sandbox_part::no_new_privileges, "no new privileges"},
      {sandbox_part::no_capabilities, "no capabilities"},
      {sandbox_part::other_user, "other user"},
      {sandbox_part::user_namespace, "user namespace"},
      {sandbox_part::process_namespace, "process namespace"},
      {sandbox_part::network_namespace, "network namespace"},
      {sandbox_part::ipc_namespace, "ipc namespace"},
      {sandbox_part::empty_root, "empty root"},
      {sandbox_part::landlock_files, "landlock: files"},
      {sandbox_part::landlock_network, "landlock: network"},
      {sandbox_part::landlock_scope, "landlock: scope"},
      {sandbox_part::system_call_filter, "system call filter"},
      {sandbox_part::no_foreign_files, "no foreign files"},
  };
  std::string text;
  for (const name& one : names) {
    if (!level.has(one.part)) continue;
    if (!text.empty()) text += ", ";
    text += one.text;
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace troupe

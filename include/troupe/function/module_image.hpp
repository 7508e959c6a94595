// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The library of a module as a file in memory that nobody can change: a copy, checked.
///
/// Layer: function. Linux.
///
/// A library that is mapped from a file on disk is at the mercy of whoever writes to that file: one
/// that is cut short while it is mapped kills the program by SIGBUS. So what is mapped, here or in
/// a child process, is always a copy.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <troupe/base/shared_bytes.hpp>

namespace troupe {

/// A handle to the copy; copies of the handle share it. Empty, or a whole ELF shared object for
/// this kind of machine: nothing more is known of it.
///
/// Thread safety: a value.
class module_image {
public:
  module_image() noexcept = default;

  /// Copies the library at `path`, up to the end of what is ever mapped. Blocks. Throws
  /// `errc::no_such_module` if there is no such file or it cannot be read, `errc::start_failed` if
  /// it is no such library, or there is no room.
  [[nodiscard]] static module_image from_file(const std::string& path);

  /// The same from bytes. `name` is for errors.
  [[nodiscard]] static module_image from_bytes(std::span<const std::byte> bytes,
                                               const std::string& name);

  explicit operator bool() const noexcept { return static_cast<bool>(file_); }

  /// The descriptor of the sealed memory file, which is closed with the last handle; to be mapped
  /// through /proc/self/fd, or sent to another process. It is not inherited by programs that are
  /// started.
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept;

private:
  class file;
  std::shared_ptr<const file> file_;
};

}  // namespace troupe

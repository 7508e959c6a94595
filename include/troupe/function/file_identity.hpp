// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What tells a file from the one that was at its path before.
///
/// Layer: function. POSIX.

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace troupe::detail {

/// All zero: there is no file.
struct file_identity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t seconds = 0;      // of the last change of what is in it
  std::int64_t nanoseconds = 0;  // likewise

  friend bool operator==(const file_identity&, const file_identity&) = default;
  explicit operator bool() const noexcept { return inode != 0; }

  /// Asks the file system.
  static file_identity of(const std::string& path) noexcept {
    struct ::stat status{};
    if (::stat(path.c_str(), &status) != 0) return {};
    file_identity i;
    i.device = static_cast<std::uint64_t>(status.st_dev);
    i.inode = static_cast<std::uint64_t>(status.st_ino);
    i.size = static_cast<std::uint64_t>(status.st_size);
    i.seconds = status.st_mtim.tv_sec;
    i.nanoseconds = status.st_mtim.tv_nsec;
    return i;
  }
};

}  // namespace troupe::detail

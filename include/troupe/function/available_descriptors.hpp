// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How many descriptors this process could still open.
///
/// Layer: function. Linux.

#include <cstddef>

#include <dirent.h>
#include <sys/resource.h>

namespace troupe::detail {

/// Entries of `/proc/self/fd` at the moment; 0 where there is none to look into.
inline std::size_t open_descriptors() noexcept {
  ::DIR* const all = ::opendir("/proc/self/fd");
  if (all == nullptr) return 0;
  std::size_t count = 0;
  while (::readdir(all) != nullptr) ++count;
  ::closedir(all);
  constexpr std::size_t not_counted = 3;  // ".", "..", and the one of this look
  return count > not_counted ? count - not_counted : 0;
}

/// Within the limit that holds now. Asks the system: not on a hot path.
inline std::size_t available_descriptors() noexcept {
  struct ::rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return static_cast<std::size_t>(-1);
  }
  const auto most = static_cast<std::size_t>(limit.rlim_cur);
  const std::size_t used = open_descriptors();
  return most > used ? most - used : 0;
}

}  // namespace troupe::detail

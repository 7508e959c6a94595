// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which program is started as helper.
///
/// Layer: function. Linux.

#include <climits>
#include <string>

#include <unistd.h>

#include <troupe/sync/atomic.hpp>

namespace troupe::detail::sandbox {

/// Whether the `main` of this program begins with `sandbox_main`. Never taken back.
inline atomic<bool>& program_is_helper() noexcept {
  static atomic<bool> is{false};
  return is;
}

/// The program asked for; else this one, if it can be the helper; else `troupe-function` beside
/// this one. Empty: there is none.
inline std::string helper_program(const std::string& asked_for) {
  if (!asked_for.empty()) return asked_for;
  if (program_is_helper().load(order::acquire)) return "/proc/self/exe";
  char own[PATH_MAX];
  const ::ssize_t length = ::readlink("/proc/self/exe", own, sizeof own);
  if (length <= 0) return {};
  std::string path(own, static_cast<std::size_t>(length));
  path.resize(path.rfind('/') + 1);
  path += "troupe-function";
  return ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

}  // namespace troupe::detail::sandbox

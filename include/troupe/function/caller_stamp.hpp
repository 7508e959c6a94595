// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who calls, as text that crosses to a module: the class, a zero byte, the key.
///
/// Layer: function. Made by the host alone, from what it knows.

#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/worker_id.hpp>

namespace troupe::detail {

/// Nothing, where nobody's turn calls.
inline std::string stamp_of(std::string_view type, std::string_view key) {
  std::string stamp;
  if (type.empty() && key.empty()) return stamp;
  stamp.reserve(type.size() + key.size() + 1);
  stamp.append(type).push_back('\0');
  return stamp.append(key);
}

/// The class and the key in it.
inline std::pair<std::string_view, std::string_view> parts_of_stamp(std::string_view s) noexcept {
  const std::size_t zero = s.find('\0');
  if (zero == std::string_view::npos) return {s, {}};
  return {s.substr(0, zero), s.substr(zero + 1)};
}

}  // namespace troupe::detail

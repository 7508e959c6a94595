// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The parts of a request's target.
///
/// Layer: gateway. RFC 3986; `+` in a query is a blank, as forms send it.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {
namespace detail {

constexpr int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

inline std::string percent_decode(std::string_view text, bool plus_is_blank) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      plain += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      plain += text[i] == '+' && plus_is_blank ? ' ' : text[i];
    }
  }
  return plain;
}

constexpr std::string_view path_of(std::string_view target) noexcept {
  return target.substr(0, target.find('?'));
}

constexpr std::string_view query_of(std::string_view target) noexcept {
  const std::size_t mark = target.find('?');
  return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
}

}  // namespace detail

/// Each `%41` as the byte that it stands for; what is no such sequence stays as it is.
[[nodiscard]] inline std::string percent_decode(std::string_view text) {
  return detail::percent_decode(text, false);
}

/// Calls `f(name, value)`, both decoded, for each parameter of a query, in order.
template <class F>
void for_each_parameter(std::string_view query, F f) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view one = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (one.empty()) continue;
    const std::size_t equals = one.find('=');
    f(detail::percent_decode(one.substr(0, equals), true),
      equals == std::string_view::npos ? std::string()
                                       : detail::percent_decode(one.substr(equals + 1), true));
  }
}

/// The first parameter of this name, decoded; nothing if the query has none.
[[nodiscard]] inline std::optional<std::string> query_parameter(std::string_view query,
                                                                std::string_view name) {
  std::optional<std::string> found;
  for_each_parameter(query, [&](const std::string& n, std::string value) {
    if (!found && n == name) found = std::move(value);
  });
  return found;
}

}  // namespace troupe

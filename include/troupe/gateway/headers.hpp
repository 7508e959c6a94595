// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The header fields of a request or a response.
///
/// Layer: gateway. Plain values.

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {
namespace detail {

constexpr char ascii_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// As names of header fields compare, and tokens in them.
constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return ascii_lower(x) == ascii_lower(y); });
}

/// What RFC 9110, 5.6.2 calls `tchar`.
constexpr bool is_token_char(char c) noexcept {
  return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

/// What no value of a field has in it (RFC 9110, 5.5): a line break, for instance.
constexpr bool is_control_char(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7F;
}

constexpr std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// True if `token` stands in the comma-separated `list`.
inline bool lists_token(std::string_view list, std::string_view token) noexcept {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (equal_ignoring_case(trimmed(list.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace detail

/// Header fields in their order. Names compare without regard to case; one may occur several times.
///
/// What could end a field early, or make others refuse all of the message, is refused: a name that
/// is no token, and a value with a control character other than a tab, throw
/// `std::invalid_argument`.
class headers {
public:
  struct field {
    std::string name;
    std::string value;
  };
  using const_iterator = std::vector<field>::const_iterator;

  headers() = default;

  /// The value of the first field of this name; empty if there is none.
  [[nodiscard]] std::string_view get(std::string_view name) const noexcept {
    const auto at = find(name);
    return at == end() ? std::string_view() : std::string_view(at->value);
  }
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name) != end(); }

  /// Adds a field, beside those of this name.
  void add(std::string name, std::string value) {
    refuse_bad(name, value);
    fields_.push_back({std::move(name), std::move(value)});
  }
  /// Adds a field instead of those of this name.
  void set(std::string name, std::string value) {
    refuse_bad(name, value);
    erase(name);
    fields_.push_back({std::move(name), std::move(value)});
  }
  /// Removes all fields of this name.
  void erase(std::string_view name) {
    std::erase_if(fields_,
                  [&](const field& f) { return detail::equal_ignoring_case(f.name, name); });
  }

  [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }
  [[nodiscard]] bool empty() const noexcept { return fields_.empty(); }
  [[nodiscard]] const_iterator begin() const noexcept { return fields_.begin(); }
  [[nodiscard]] const_iterator end() const noexcept { return fields_.end(); }

private:
  const_iterator find(std::string_view name) const noexcept {
    return std::find_if(fields_.begin(), fields_.end(),
                        [&](const field& f) { return detail::equal_ignoring_case(f.name, name); });
  }

  static void refuse_bad(std::string_view name, std::string_view value) {
    if (name.empty() || !std::all_of(name.begin(), name.end(), detail::is_token_char)) {
      throw std::invalid_argument("the name of a header field is no token");
    }
    if (std::any_of(value.begin(), value.end(), detail::is_control_char)) {
      throw std::invalid_argument("the value of a header field has a control character in it");
    }
  }

  std::vector<field> fields_;
};

}  // namespace troupe

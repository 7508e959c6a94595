// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Texts are UTF-8: whether one is, and what becomes of those that are not.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace troupe {
namespace detail {

/// How many bytes at the beginning of `text`, which is not empty, are one character as RFC 3629 has
/// it: no overlong form, no surrogate, nothing beyond U+10FFFF. 0: none.
constexpr std::size_t first_character(std::string_view text) noexcept {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto is_tail = [&](std::size_t i, unsigned least = 0x80, unsigned most = 0xBF) {
    return i < text.size() && byte(i) >= least && byte(i) <= most;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return is_tail(1) ? 2 : 0;
  if (lead < 0xF0) {
    return is_tail(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && is_tail(2) ? 3 : 0;
  }
  if (lead < 0xF5) {
    const bool is_one = is_tail(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) &&
                        is_tail(2) && is_tail(3);
    return is_one ? 4 : 0;
  }
  return 0;
}

/// How many bytes at the beginning of `text` are UTF-8. Eight at a time where they are ASCII.
inline std::size_t utf8_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight = 0;
    if (text.size() - at >= sizeof eight) {
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080U) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const std::size_t size = first_character(text.substr(at));
    if (size == 0) return at;
    at += size;
  }
  return at;
}

}  // namespace detail

/// True if `text` is UTF-8 throughout.
[[nodiscard]] inline bool is_utf8(std::string_view text) noexcept {
  return detail::utf8_prefix(text) == text.size();
}

/// `text`, with U+FFFD for each byte that belongs to no character.
[[nodiscard]] inline std::string to_utf8(std::string_view text) {
  std::string made;
  made.reserve(text.size() + 2);
  for (;;) {
    const std::size_t good = detail::utf8_prefix(text);
    made += text.substr(0, good);
    if (good == text.size()) return made;
    made += "\xEF\xBF\xBD";
    text.remove_prefix(good + 1);
  }
}

}  // namespace troupe

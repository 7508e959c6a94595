// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Bytes as text: base64 of RFC 4648, section 4, with padding, and with one spelling only.
///
/// Layer: adapter.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::detail {

inline constexpr std::string_view base64_digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

[[nodiscard]] inline std::string to_base64(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::span<const std::byte> group =
        bytes.subspan(at).first(bytes.size() - at < 3 ? bytes.size() - at : 3);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i != 3; ++i) {
      bits = bits << 8 | (i < group.size() ? std::to_integer<std::uint32_t>(group[i]) : 0);
    }
    for (std::size_t i = 0; i != 4; ++i) {
      text += i <= group.size() ? base64_digits[bits >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

[[nodiscard]] constexpr std::array<std::uint8_t, 256> make_base64_values() noexcept {
  std::array<std::uint8_t, 256> values{};
  for (auto& one : values) one = 64;  // no digit
  for (std::size_t i = 0; i != base64_digits.size(); ++i) {
    values[static_cast<unsigned char>(base64_digits[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}
inline constexpr std::array<std::uint8_t, 256> base64_values = make_base64_values();

/// Nothing, where the text is not base64 as it is written above.
[[nodiscard]] inline std::optional<std::vector<std::byte>> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  for (std::size_t at = 0; at != text.size(); ++at) {
    const bool is_padding = at >= text.size() - padding;
    const std::uint32_t value =
        is_padding ? 0 : base64_values[static_cast<unsigned char>(text[at])];
    if (value == 64) return std::nullopt;
    bits = bits << 6 | value;
    if (at % 4 != 3) continue;
    for (int shift = 16; shift >= 0; shift -= 8)
      bytes.push_back(static_cast<std::byte>(bits >> shift));
    bits = 0;
  }
  // The bits behind the last byte are zero, or two texts would mean the same.
  for (std::size_t i = 0; i != padding; ++i) {
    if (bytes.back() != std::byte{0}) return std::nullopt;
    bytes.pop_back();
  }
  return bytes;
}

}  // namespace troupe::detail

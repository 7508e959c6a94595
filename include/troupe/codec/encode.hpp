// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `encode`: a value as bytes that `decode` of another process, machine or day takes apart.
///
/// Layer: codec.

#include <troupe/codec/binary.hpp>
#include <troupe/codec/byte_counter.hpp>
#include <troupe/codec/encodable.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/codec/shape.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe {

/// The first byte of every message.
inline constexpr std::byte codec_format_version{1};

namespace detail {

inline constexpr std::size_t shape_size = sizeof(std::uint32_t);
inline constexpr std::size_t head_size = 1 + shape_size;

inline void put_head(byte_writer& to, std::uint32_t shape) {
  to.put(codec_format_version);
  for (std::size_t i = 0; i != shape_size; ++i) to.put(static_cast<std::byte>(shape >> (8 * i)));
}

/// Room for so many bytes more; at least twice what was there, or many appends would copy it all
/// each time.
inline void grow(std::vector<std::byte>& out, std::size_t more) {
  const std::size_t needed = out.size() + more;
  if (needed > out.capacity()) out.reserve((std::max)(needed, 2 * out.size()));
}

}  // namespace detail

/// Appends the message to `out`, which keeps what it had if this throws: `errc::too_large` for a
/// value that nests deeper than `depth`, `errc::bad_message` for an enumeration out of its range or
/// a variant without a value, and what `to_wire` of a hook throws.
///
/// Nothing in `value` shows bytes of `out`, which may move.
///
/// Thread safety: nobody may write to `value` meanwhile.
template <class T>
void encode(const T& value, std::vector<std::byte>& out, std::size_t depth = default_codec_depth) {
  if constexpr (detail::require_travels<detail::direction::encode, T>()) {
    const std::size_t before = out.size();
    try {
      detail::byte_counter count(depth);
      detail::write_value(count, value);
      detail::grow(out, detail::head_size + count.size());
      detail::byte_writer to(out, depth);
      detail::put_head(to, shape_of<T>);
      detail::write_value(to, value);
      to.flush();
    } catch (...) {
      out.resize(before);
      throw;
    }
  }
}

/// The same as a vector of its own.
template <class T>
[[nodiscard]] std::vector<std::byte> encode(const T& value,
                                            std::size_t depth = default_codec_depth) {
  std::vector<std::byte> message;
  encode(value, message, depth);
  return message;
}

}  // namespace troupe

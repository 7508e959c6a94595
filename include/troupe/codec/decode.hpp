// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `decode`: the value in a message, which may be anybody's work.
///
/// Layer: codec.

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/base/type_name.hpp>
#include <troupe/codec/binary.hpp>
#include <troupe/codec/codec.hpp>
#include <troupe/codec/encodable.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/codec/shape.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string_view>
#include <utility>

namespace troupe {
namespace detail {

/// Reads the version of the format, which must be ours, and returns the fingerprint.
[[nodiscard]] inline std::uint32_t take_head(byte_reader& from) {
  if (from.left() < head_size) from.fail(errc::bad_message, "it is too short for a message");
  if (from.take() != codec_format_version) {
    from.fail(errc::bad_message, "it is in another version of the format");
  }
  const std::span<const std::byte> shape = from.take(shape_size);
  return static_cast<std::uint32_t>(load_little_endian(shape.data(), shape_size));
}

/// Reads what stands behind a head that says `shape`: a `T`, or an earlier version of it.
template <class T>
void read_as(byte_reader& from, std::uint32_t shape, T& value) {
  if (shape == shape_of<T>) {
    read_value(from, value);
  } else if constexpr (has_previous_version<T>) {
    static_assert(shape_of<typename previous_version<T>::type> != shape_of<T>,
                  "troupe: an earlier version of the same structure cannot be told apart from this "
                  "one: let the structures differ");
    typename previous_version<T>::type old{};
    read_as(from, shape, old);
    value = previous_version<T>::convert(std::move(old));
  } else {
    from.fail(errc::bad_message, "the message holds a value of another type");
  }
}

template <class T>
[[nodiscard]] result<T> decode_from(std::span<const std::byte> message, const shared_bytes* owner,
                                    const decode_limits& limits) {
  constexpr std::string_view name = type_name<T>();
  try {
    byte_reader from(message, owner, name, limits);
    T value{};
    read_as(from, take_head(from), value);
    if (from.left() != 0) from.fail(errc::bad_message, "bytes are left over");
    return result<T>(std::in_place, std::move(value));
  } catch (...) {
    return result<T>(std::current_exception());
  }
}

}  // namespace detail

/// The value in `message`; or an `error` of `errc::bad_message`, if that is not a message of a `T`,
/// whole and well-formed, or of `errc::too_large`, if it exceeds a limit. Its text names the type,
/// the place and the fault. What `from_wire` of a hook throws is handed on as it is.
///
/// Of the message nothing is kept. `shared_bytes` in the value are copies; give the message as
/// `shared_bytes` and they are slices of it.
template <class T>
[[nodiscard]] result<T> decode(std::span<const std::byte> message, decode_limits limits = {}) {
  if constexpr (detail::require_travels<detail::direction::decode, T>()) {
    return detail::decode_from<T>(message, nullptr, limits);
  }
}

/// The same; `shared_bytes` in the value keep `message` alive, all of it.
template <class T, std::same_as<shared_bytes> Message>
[[nodiscard]] result<T> decode(const Message& message, decode_limits limits = {}) {
  if constexpr (detail::require_travels<detail::direction::decode, T>()) {
    return detail::decode_from<T>(message.bytes(), &message, limits);
  }
}

}  // namespace troupe

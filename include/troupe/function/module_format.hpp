// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How arguments and results of a function are written: the binary form of the codec, or JSON where
/// its adapter was included.
///
/// Layer: function.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/function/module_abi.hpp>

namespace troupe {

/// How the payload of a call and its result are written.
enum class payload_format : std::uint32_t {
  binary = troupe_format_binary,  ///< `encode(std::tuple(arguments...))`, `encode(result)`.
  json = troupe_format_json       ///< A JSON array of the arguments; the result as JSON.
};

namespace detail {

/// JSON as the adapter has it, whose header specialises this for `void`, and comes before whatever
/// is to understand JSON (adapter/json/json.hpp).
template <class Tag>
struct json_format;

template <class>
struct json_tag {
  using type = void;
};
template <class T>
using json_of = json_format<typename json_tag<T>::type>;

/// `T` is whatever makes the question wait until the adapter may have been included.
template <class T>
concept understands_json = requires { sizeof(json_of<T>); };

inline std::span<const std::byte> as_span(troupe_bytes b) noexcept {
  return {reinterpret_cast<const std::byte*>(b.data), static_cast<std::size_t>(b.size)};
}
inline std::string_view as_text(troupe_bytes b) noexcept {
  return {reinterpret_cast<const char*>(b.data), static_cast<std::size_t>(b.size)};
}
inline troupe_bytes as_bytes(std::span<const std::byte> b) noexcept {
  return {reinterpret_cast<const unsigned char*>(b.data()), b.size()};
}
inline troupe_bytes as_bytes(std::string_view s) noexcept {
  return {reinterpret_cast<const unsigned char*>(s.data()), s.size()};
}

template <class T>
inline constexpr std::size_t arity_of = 1;
template <class... T>
inline constexpr std::size_t arity_of<std::tuple<T...>> = sizeof...(T);

/// The value in a message in that format; of a tuple without elements, an empty message is one.
template <class T>
[[nodiscard]] result<T> read_payload(std::uint32_t format, std::span<const std::byte> message,
                                     std::size_t size_limit) {
  const decode_limits limits{.depth = default_codec_depth, .size = size_limit, .memory = 0};
  if constexpr (arity_of<T> == 0) {
    if (message.empty()) return result<T>(std::in_place);
  }
  if (format == troupe_format_binary) return decode<T>(message, limits);
  if constexpr (understands_json<T>) {
    if (format == troupe_format_json) {
      const std::string_view text(reinterpret_cast<const char*>(message.data()), message.size());
      return json_of<T>::template read<T>(text, limits);
    }
  }
  return result<T>(std::make_exception_ptr(
      error(errc::bad_message, worker_id(), "the payload is in a format that is not understood")));
}

/// Appends `value` in that format, which is one that is understood. Throws what the codec throws.
template <class T>
void write_payload([[maybe_unused]] std::uint32_t format, const T& value,
                   std::vector<std::byte>& out) {
  if constexpr (understands_json<T>) {
    if (format == troupe_format_json) {
      const std::string text = json_of<T>::write(value);
      const auto* const first = reinterpret_cast<const std::byte*>(text.data());
      out.insert(out.end(), first, first + text.size());
      return;
    }
  }
  encode(value, out);
}

}  // namespace detail
}  // namespace troupe

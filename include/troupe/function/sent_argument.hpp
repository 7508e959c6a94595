// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How arguments of a function are written, and its reply is read, by whoever calls it.
///
/// Layer: function.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/shape.hpp>

namespace troupe::detail {

/// As what an argument is written: without a copy, where it is text or a row.
template <class T>
struct sent_argument {
  using type = T;
};
template <class Traits, class Allocator>
struct sent_argument<std::basic_string<char, Traits, Allocator>> {
  using type = std::string_view;
};
template <>
struct sent_argument<const char*> {
  using type = std::string_view;
};
template <>
struct sent_argument<char*> {
  using type = std::string_view;
};
template <class T, class Allocator>
  requires(!std::is_same_v<T, bool>)
struct sent_argument<std::vector<T, Allocator>> {
  using type = std::span<const T>;
};
template <class T>
using sent_t = typename sent_argument<std::decay_t<T>>::type;

/// What a reply is taken apart into; `whole_reply`: it is not.
struct whole_reply {};

template <class R>
struct reply_as {
  using type = R;

  static constexpr std::uint64_t shape() noexcept {
    if constexpr (std::is_void_v<R>) {
      return 0;
    } else {
      return shape_of<R>;
    }
  }
  static R read(std::vector<std::byte>& reply, const worker_id& from) {
    if constexpr (!std::is_void_v<R>) {
      result<R> value = decode<R>(std::span<const std::byte>(reply));
      if (value.has_value()) return std::move(value).value();
      try {
        static_cast<void>(value.value());
      } catch (const std::exception& e) {
        throw error(errc::result_lost, from, e.what());
      }
      throw error(errc::result_lost, from);
    }
  }
};

template <>
struct reply_as<whole_reply> {
  using type = shared_bytes;
  static shared_bytes read(std::vector<std::byte>& reply, const worker_id&) {
    return shared_bytes(std::move(reply));
  }
};

}  // namespace troupe::detail

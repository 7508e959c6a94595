// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much memory the containers of a decoded value may take, and what they take.
///
/// Layer: codec. A value. About, not exactly: enough to refuse a message that asks for much more
/// memory than it has bytes.

#include <troupe/codec/limits.hpp>

#include <cstddef>
#include <deque>
#include <iterator>
#include <string_view>
#include <utility>

namespace troupe::detail {

template <class T>
concept is_run = std::contiguous_iterator<decltype(std::declval<const T&>().begin())>;

/// The memory that an element takes beside itself: the pointers of its node.
template <class T>
inline constexpr std::size_t node_overhead = is_run<T> ? 0 : 4 * sizeof(void*);

/// What an empty `T` may have allocated already: a deque has its first block then.
template <class T>
inline constexpr std::size_t empty_overhead = 0;
template <class T, class Allocator>
inline constexpr std::size_t empty_overhead<std::deque<T, Allocator>> = 640;

class memory_budget {
public:
  /// What to say where it is exceeded.
  static constexpr std::string_view exceeded = "its containers take too much memory";

  /// `for_each_byte` of the message, where the limits do not say how much.
  memory_budget(const decode_limits& limits, std::size_t message_size,
                std::size_t for_each_byte = 64) noexcept
      : left_(limits.memory != 0 ? limits.memory : default_for(message_size, for_each_byte)) {}

  /// Takes what `count` elements of a `T` need. False: it is not there.
  template <class T, class Element = typename T::value_type>
  [[nodiscard]] bool take_elements(std::size_t count) noexcept {
    return take(empty_overhead<T>, 1) && take(count, sizeof(Element) + node_overhead<T>);
  }

private:
  [[nodiscard]] bool take(std::size_t count, std::size_t each) noexcept {
    if (count > left_ / each) return false;
    left_ -= count * each;
    return true;
  }

  [[nodiscard]] static std::size_t default_for(std::size_t message_size,
                                               std::size_t for_each_byte) noexcept {
    constexpr std::size_t at_least = std::size_t{64} << 10;
    const std::size_t most = static_cast<std::size_t>(-1) / for_each_byte - at_least;
    return (message_size < most ? message_size : most) * for_each_byte + at_least;
  }

  std::size_t left_;  // bytes
};

}  // namespace troupe::detail

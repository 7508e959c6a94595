// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The fingerprint of a type's structure, and the fewest bytes that a value of it takes.
///
/// Layer: codec. Compile time only.
///
/// The fingerprint follows kinds, sizes and order, not names: `long` and `long long` of 64 bits
/// have one, and so do a pair and an aggregate of the same two fields. It is part of the format: a
/// change here is a new format version.

#include <troupe/base/hash.hpp>
#include <troupe/codec/encodable.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ratio>
#include <tuple>
#include <type_traits>

namespace troupe {
namespace detail {

/// What tells a type from others of its kind, beside its parts.
template <class T>
struct shape_detail {
  static constexpr std::uint64_t value = 0;
};
template <class T>
  requires(kind_of<T> == wire_kind::integer)
struct shape_detail<T> {
  static constexpr bool is_char = std::is_same_v<T, char>;  // signed here, unsigned there
  static constexpr std::uint64_t value =
      sizeof(T) * 4 + (is_char ? 2U : static_cast<unsigned>(std::is_signed_v<T>));
};
template <class T>
  requires(kind_of<T> == wire_kind::floating)
struct shape_detail<T> {
  static_assert(std::numeric_limits<T>::is_iec559, "troupe: floating point that is not IEEE 754");
  static constexpr std::uint64_t value = sizeof(T);
};
template <class T, std::size_t N>
struct shape_detail<std::array<T, N>> {
  static constexpr std::uint64_t value = N;
};
template <class Rep, class Period>
struct shape_detail<std::chrono::duration<Rep, Period>> {
  static constexpr std::uint64_t value = hash_combine(static_cast<std::uint64_t>(Period::num),
                                                      static_cast<std::uint64_t>(Period::den));
};
/// A clock has no name that all compilers spell alike: there are the system's, steady ones, that of
/// local times, which has no ticks, and others.
template <class Clock>
[[nodiscard]] consteval std::uint64_t clock_shape() noexcept {
  // house: allow words: its type is looked at, not its time
  if constexpr (std::is_same_v<Clock, std::chrono::system_clock>) {
    return 0;
  } else if constexpr (requires { Clock::is_steady; }) {
    return Clock::is_steady ? 1 : 3;
  } else {
    return 2;
  }
}
template <class Clock, class Duration>
struct shape_detail<std::chrono::time_point<Clock, Duration>> {
  static constexpr std::uint64_t value = clock_shape<Clock>();
};

/// In the place of a kind: the type is the n-th of the records in which it lies, counted from
/// inside. No type contains itself but through one of these, or through a hook, which leaves no
/// other trace; which containers lie between, and whether they own their elements, does not matter.
inline constexpr std::uint64_t same_as_above = 255;

template <class T, class... Above>
[[nodiscard]] consteval std::uint64_t shape_within() noexcept;

template <class... Part, class... Above>
[[nodiscard]] consteval std::uint64_t shape_of_parts(std::uint64_t hash, type_list<Part...>,
                                                     type_list<Above...>) noexcept {
  hash = hash_combine(hash, sizeof...(Part));
  ((hash = hash_combine(hash, shape_within<Part, Above...>())), ...);
  return hash;
}

template <class T, class... Above>
[[nodiscard]] consteval std::uint64_t distance_above() noexcept {
  std::uint64_t distance = 0;
  static_cast<void>(
      ((distance += kind_of<Above> == wire_kind::record ? 1U : 0U, std::is_same_v<T, Above>) ||
       ...));
  return distance;
}

template <class T, class... Above>
[[nodiscard]] consteval std::uint64_t shape_within() noexcept {
  using plain = std::remove_const_t<T>;
  if constexpr ((std::is_same_v<plain, Above> || ...)) {
    return hash_combine(same_as_above, distance_above<plain, Above...>());
  } else if constexpr (kind_of<plain> == wire_kind::hook) {
    return shape_within<typename codec<plain>::wire, plain, Above...>();
  } else {
    constexpr wire_kind kind = kind_of<plain>;
    using inside = std::conditional_t<kind == wire_kind::record, type_list<plain, Above...>,
                                      type_list<Above...>>;
    return shape_of_parts(
        hash_combine(static_cast<std::uint64_t>(kind), shape_detail<plain>::value),
        parts_of<plain>(), inside{});
  }
}

// -- The fewest bytes of a value -----------------------------------------------------------------

template <class T, class... Above>
[[nodiscard]] consteval std::size_t fewest_bytes_within() noexcept;

template <class... Part, class... Above>
[[nodiscard]] consteval std::size_t fewest_of_all(type_list<Part...>,
                                                  type_list<Above...>) noexcept {
  return (std::size_t{0} + ... + fewest_bytes_within<Part, Above...>());
}

template <class... Part, class... Above>
[[nodiscard]] consteval std::size_t fewest_of_any(type_list<Part...>,
                                                  type_list<Above...>) noexcept {
  return (std::min)({fewest_bytes_within<Part, Above...>()...});
}

/// Nothing is empty on the wire, so that a count never exceeds the bytes that are left.
template <class T, class... Above>
[[nodiscard]] consteval std::size_t fewest_bytes_within() noexcept {
  using plain = std::remove_const_t<T>;
  using self_and_above = type_list<plain, Above...>;
  constexpr wire_kind kind = kind_of<plain>;
  if constexpr ((std::is_same_v<plain, Above> || ...)) {
    return 1;
  } else if constexpr (kind == wire_kind::floating) {
    return sizeof(plain);
  } else if constexpr (kind == wire_kind::array) {
    constexpr std::size_t one = fewest_of_all(parts_of<plain>(), self_and_above{});
    return (std::max)(one * std::tuple_size_v<plain>, std::size_t{1});
  } else if constexpr (kind == wire_kind::variant) {
    return 1 + fewest_of_any(parts_of<plain>(), self_and_above{});
  } else if constexpr (kind == wire_kind::record || kind == wire_kind::hook ||
                       kind == wire_kind::duration || kind == wire_kind::time_point) {
    return (std::max)(fewest_of_all(parts_of<plain>(), self_and_above{}), std::size_t{1});
  } else {
    return 1;
  }
}

template <class T>
inline constexpr std::size_t fewest_bytes = fewest_bytes_within<T>();

}  // namespace detail

/// The fingerprint of the structure of `T`: the same on every platform and with every compiler. Two
/// types of different structure share one with a chance of 1 to 2^32: it guards against mistakes,
/// not against malice.
template <encodable T>
inline constexpr std::uint32_t shape_of = static_cast<std::uint32_t>(detail::shape_within<T>());

}  // namespace troupe

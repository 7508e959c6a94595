// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a user's program says about its own types: `codec<T>`, `enum_range<E>`,
/// `previous_version<T>`.
///
/// Layer: codec. Compile time only.

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

namespace troupe {

/// The hook for a type that the codec cannot take apart, or should not: it travels as another one,
/// in the binary form as well as in JSON.
///
///     template <>
///     struct troupe::codec<money> {
///       using wire = std::int64_t;  // any type that can be encoded and decoded
///       static wire to_wire(const money& m) { return m.cents(); }
///       static money from_wire(wire cents) { return money(cents); }
///     };
///
/// `from_wire` may throw, for what `money` does not accept; `decode` hands that on. It is given
/// what a stranger sent. `T` has a default constructor and can be assigned.
template <class T>
struct codec;

/// The values of `E` that are accepted, `first` to `last`. Without it all values of the underlying
/// type are, which is what an enumeration of flags needs.
///
///     template <>
///     struct troupe::enum_range<color> {
///       static constexpr color first = color::red, last = color::blue;
///     };
template <class E>
struct enum_range;

/// Says that `decode<T>` takes messages of an earlier form of `T` as well. That form may have one
/// before it in turn.
///
///     template <>
///     struct troupe::previous_version<account> {
///       using type = account_v1;
///       static account convert(account_v1&& old) { return {std::move(old.owner), 0}; }
///     };
template <class T>
struct previous_version;

namespace detail {

template <class T>
concept has_codec = requires { typename codec<T>::wire; };

template <class E>
concept has_enum_range = requires {
  { enum_range<E>::first } -> std::convertible_to<E>;
  { enum_range<E>::last } -> std::convertible_to<E>;
};

template <class T>
concept has_previous_version = requires { typename previous_version<T>::type; };

/// An enumeration without a fixed underlying type holds only the values its enumerators span; any
/// other in it is undefined behaviour.
template <class E>
concept has_fixed_type = requires { E{std::underlying_type_t<E>{}}; };

/// Whether the range of an enumeration goes beyond the signed integers.
template <class E>
[[nodiscard]] consteval bool exceeds_signed() noexcept {
  if constexpr (has_enum_range<E>) {
    if (!std::is_unsigned_v<std::underlying_type_t<E>>) return false;
    constexpr auto most = static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)());
    return static_cast<std::uint64_t>(enum_range<E>::last) > most;
  } else {
    return false;
  }
}

/// As which number an enumeration travels. What is not fixed is up to the compiler: there it
/// follows from the range alone.
template <class E>
using enum_number =
    std::conditional_t<has_fixed_type<E>, std::underlying_type_t<E>,
                       std::conditional_t<exceeds_signed<E>(), std::uint64_t, std::int64_t>>;

/// Whether `E` may hold `value`.
template <class E>
[[nodiscard]] constexpr bool is_in_range([[maybe_unused]] enum_number<E> value) {
  if constexpr (has_enum_range<E>) {
    return value >= static_cast<enum_number<E>>(enum_range<E>::first) &&
           value <= static_cast<enum_number<E>>(enum_range<E>::last);
  } else {
    return true;
  }
}

}  // namespace detail
}  // namespace troupe

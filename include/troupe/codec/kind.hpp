// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the codec takes a type for, and what that type is made of. All forms, binary and JSON, and
/// the fingerprint of a type follow this one classification.
///
/// Layer: codec. Compile time only.

#include <troupe/codec/aggregate.hpp>
#include <troupe/codec/codec.hpp>
#include <troupe/codec/fields.hpp>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

namespace troupe::detail {

/// The numbers are part of the fingerprints of types, and so of the format: never changed, never
/// used again.
enum class wire_kind : std::uint8_t {
  none = 0,         ///< It cannot be encoded.
  boolean = 1,      ///<
  integer = 2,      ///< All integers and character types.
  byte = 3,         ///< std::byte
  enumeration = 4,  ///<
  floating = 5,     ///< float and double
  text = 6,         ///< A string of char or char8_t.
  bytes = 7,        ///< A run of std::byte.
  sequence = 8,     ///< Any number of elements, in an order.
  array = 9,        ///< A number of elements that is part of the type.
  set = 10,         ///< In ascending order.
  map = 11,         ///< In ascending order of the keys.
  hash_set = 12,    ///< In no order.
  hash_map = 13,    ///< In no order.
  optional = 14,    ///<
  variant = 15,     ///<
  record = 16,      ///< Fields one after the other: an aggregate, a pair, a tuple.
  duration = 17,    ///<
  time_point = 18,  ///<
  hook = 19,        ///< It has a codec<T>.
};

template <class... T>
struct type_list {};

/// What kinds the types of the standard library are; standard_types.hpp specialises it. `parts` are
/// the types that a value is made of.
template <class T>
struct standard_type {
  static constexpr wire_kind kind = wire_kind::none;
};

template <class T>
concept is_standard_type = standard_type<T>::kind != wire_kind::none;

/// A view owns nothing: it can be encoded, but nothing can be decoded into it.
template <class T>
inline constexpr bool is_view = false;

/// A class that structured bindings can take apart.
template <class T>
[[nodiscard]] consteval bool is_plain_aggregate() noexcept {
  if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>) {
    return false;
  } else if constexpr (requires { std::tuple_size<T>::value; }) {
    return false;  // a structured binding would ask its `get`, which may give temporaries
  } else if constexpr (field_count<T> > max_aggregate_fields) {
    return false;
  } else {
    return !has_base<T>() && !has_array<T>();
  }
}

template <class T>
[[nodiscard]] consteval wire_kind classify_scalar() noexcept {
  if constexpr (std::is_same_v<T, bool>) {
    return wire_kind::boolean;
  } else if constexpr (std::is_same_v<T, std::byte>) {
    return wire_kind::byte;
  } else if constexpr (std::is_integral_v<T>) {
    return sizeof(T) <= sizeof(std::uint64_t) ? wire_kind::integer : wire_kind::none;
  } else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    return wire_kind::floating;
  } else if constexpr (std::is_enum_v<T>) {
    return has_fixed_type<T> || has_enum_range<T> ? wire_kind::enumeration : wire_kind::none;
  } else {
    return wire_kind::none;
  }
}

template <class T>
[[nodiscard]] consteval wire_kind classify() noexcept {
  if constexpr (has_codec<T>) {
    return wire_kind::hook;
  } else if constexpr (is_standard_type<T>) {
    return standard_type<T>::kind;
  } else if constexpr (has_named_fields<T> || is_plain_aggregate<T>()) {
    return wire_kind::record;
  } else {
    return classify_scalar<T>();
  }
}

template <class T>
inline constexpr wire_kind kind_of = classify<T>();

/// References to the fields of a record, as a tuple; const where the record is.
template <class T>
[[nodiscard]] constexpr auto tie_fields(T& record) noexcept {
  using plain = std::remove_const_t<T>;
  if constexpr (is_standard_type<plain>) {
    return std::apply([](auto&... part) { return std::tie(part...); }, record);
  } else if constexpr (has_named_fields<plain>) {
    return fields<plain>::tie(record);
  } else {
    return tie_aggregate(record);
  }
}

template <class Tied>
struct untied;
template <class... Field>
struct untied<std::tuple<Field&...>> {
  using type = type_list<Field...>;
};

/// The types a `T` is made of, as a `type_list`.
template <class T>
[[nodiscard]] consteval auto parts_of() noexcept {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (kind == wire_kind::hook) {
    return type_list<typename codec<T>::wire>{};
  } else if constexpr (is_standard_type<T>) {
    return typename standard_type<T>::parts{};
  } else if constexpr (kind == wire_kind::record) {
    return typename untied<decltype(tie_fields(std::declval<T&>()))>::type{};
  } else if constexpr (kind == wire_kind::enumeration) {
    return type_list<enum_number<T>>{};
  } else {
    return type_list<>{};
  }
}

}  // namespace troupe::detail

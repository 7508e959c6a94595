// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `encodable<T>` and `decodable<T>`, and the sentences for types that are not.
///
/// Layer: codec. Compile time only.

#include <troupe/codec/kind.hpp>
#include <troupe/codec/standard_types.hpp>

#include <memory>
#include <type_traits>

namespace troupe {
namespace detail {

/// Why a type cannot travel.
enum class codec_fault {
  none,
  pointer,
  owning_pointer,
  reference,
  c_array,
  unfixed_enumeration,
  unportable_number,
  base_class,
  array_member,
  too_many_fields,
  opaque,
  view,
  not_default_constructible,
  constant,
};

template <class T>
inline constexpr bool is_owning_pointer = false;
template <class T, class Deleter>
inline constexpr bool is_owning_pointer<std::unique_ptr<T, Deleter>> = true;
template <class T>
inline constexpr bool is_owning_pointer<std::shared_ptr<T>> = true;
template <class T>
inline constexpr bool is_owning_pointer<std::weak_ptr<T>> = true;

template <class T>
[[nodiscard]] consteval codec_fault fault_of_class() noexcept {
  if constexpr (is_owning_pointer<T>) {
    return codec_fault::owning_pointer;
  } else if constexpr (!std::is_aggregate_v<T>) {
    return codec_fault::opaque;
  } else if constexpr (has_base<T>()) {
    return codec_fault::base_class;
  } else if constexpr (field_count<T> == uncountable) {
    return codec_fault::reference;
  } else if constexpr (field_count<T> > max_aggregate_fields) {
    return codec_fault::too_many_fields;
  } else {
    return codec_fault::array_member;
  }
}

/// What is wrong with a type of kind `none`.
template <class T>
[[nodiscard]] consteval codec_fault fault_of_unknown() noexcept {
  if constexpr (std::is_reference_v<T>) {
    return codec_fault::reference;
  } else if constexpr (std::is_pointer_v<T> || std::is_member_pointer_v<T> ||
                       std::is_null_pointer_v<T>) {
    return codec_fault::pointer;
  } else if constexpr (std::is_array_v<T>) {
    return codec_fault::c_array;
  } else if constexpr (std::is_enum_v<T>) {
    return codec_fault::unfixed_enumeration;
  } else if constexpr (std::is_arithmetic_v<T>) {
    return codec_fault::unportable_number;
  } else if constexpr (std::is_class_v<T>) {
    return fault_of_class<T>();
  } else {
    return codec_fault::opaque;
  }
}

/// The first type within another that cannot travel, and why.
template <codec_fault Why, class Culprit>
struct finding {
  static constexpr codec_fault why = Why;
  using culprit = Culprit;
};
using no_fault = finding<codec_fault::none, void>;

enum class direction { encode, decode };

template <direction To, class T>
[[nodiscard]] consteval codec_fault own_fault() noexcept {
  if constexpr (std::is_const_v<T> || std::is_volatile_v<T>) {
    return codec_fault::constant;
  } else if constexpr (kind_of<T> == wire_kind::none) {
    return fault_of_unknown<T>();
  } else if constexpr (To == direction::decode && is_view<T>) {
    return codec_fault::view;
  } else if constexpr (To == direction::decode && !std::is_default_constructible_v<T>) {
    return codec_fault::not_default_constructible;
  } else {
    return codec_fault::none;
  }
}

template <direction To, class... Above>
[[nodiscard]] consteval auto first_fault_of(type_list<>, type_list<Above...>) noexcept {
  return no_fault{};
}

template <direction To, class T, class... Rest, class... Above>
[[nodiscard]] consteval auto first_fault_of(type_list<T, Rest...>, type_list<Above...>) noexcept;

/// `Above` are the types in which this one lies: a type that contains itself is looked at once.
template <direction To, class T, class... Above>
[[nodiscard]] consteval auto find_fault() noexcept {
  if constexpr ((std::is_same_v<T, Above> || ...)) {
    return no_fault{};
  } else if constexpr (own_fault<To, T>() != codec_fault::none) {
    return finding<own_fault<To, T>(), T>{};
  } else {
    return first_fault_of<To>(parts_of<T>(), type_list<T, Above...>{});
  }
}

/// A field may be const where it is only read.
template <direction To, class T>
using looked_at = std::conditional_t<To == direction::encode, std::remove_const_t<T>, T>;

template <direction To, class T, class... Rest, class... Above>
[[nodiscard]] consteval auto first_fault_of(type_list<T, Rest...>, type_list<Above...>) noexcept {
  using first = decltype(find_fault<To, looked_at<To, T>, Above...>());
  if constexpr (first::why != codec_fault::none) {
    return first{};
  } else {
    return first_fault_of<To>(type_list<Rest...>{}, type_list<Above...>{});
  }
}

/// Says what is wrong with `Culprit`, whose name the compiler adds.
template <codec_fault Why, class Culprit>
struct must_travel {
  using enum codec_fault;
  static_assert(Why != pointer,
                "troupe: a raw pointer cannot be encoded: an address means nothing elsewhere");
  static_assert(
      Why != owning_pointer,
      "troupe: a smart pointer cannot be encoded: put the value, or an optional of it, in "
      "its place, or a vector where a type contains itself");
  static_assert(Why != reference,
                "troupe: a reference, or an aggregate with one, cannot be encoded: hold the value");
  static_assert(Why != c_array, "troupe: a C array cannot be encoded: use std::array or a string");
  static_assert(Why != unfixed_enumeration,
                "troupe: an enumeration without a fixed underlying type cannot be encoded: write "
                "`enum name : int`, or specialise troupe::enum_range");
  static_assert(Why != unportable_number,
                "troupe: a number that is not the same on all platforms cannot be encoded: use "
                "double, or an integer of at most 64 bits");
  static_assert(Why != base_class,
                "troupe: an aggregate with a base class cannot be taken apart: make the base a "
                "field, list the fields in TROUPE_FIELDS, or specialise troupe::codec");
  static_assert(Why != array_member,
                "troupe: an aggregate with a C array cannot be taken apart: use std::array");
  static_assert(Why != too_many_fields,
                "troupe: an aggregate with more than 32 fields cannot be taken apart: list them in "
                "TROUPE_FIELDS, or group them (a C array counts each of its elements)");
  static_assert(Why != opaque,
                "troupe: this class cannot be encoded: it is no aggregate; list its fields in "
                "TROUPE_FIELDS, or specialise troupe::codec");
  static_assert(Why != view,
                "troupe: a view cannot be decoded: nothing would own what it shows; decode a "
                "string, a vector or shared_bytes");
  static_assert(Why != not_default_constructible,
                "troupe: a type without a default constructor cannot be decoded");
  static_assert(Why != constant,
                "troupe: a const or volatile type cannot be decoded: nothing could be put there");
  static constexpr bool value = Why == none;
};

template <direction To, class T>
[[nodiscard]] consteval bool travels() noexcept {
  using found = decltype(find_fault<To, T>());
  return found::why == codec_fault::none;
}

/// Fails to compile, with a sentence, unless a `T` can go that way.
template <direction To, class T>
consteval bool require_travels() noexcept {
  using found = decltype(find_fault<To, T>());
  return must_travel<found::why, typename found::culprit>::value;
}

}  // namespace detail

/// What `encode` takes: numbers, `bool`, enumerations, text, bytes, the containers of the standard
/// library, `optional`, `variant`, `pair`, `tuple`, durations and time points, plain aggregates,
/// classes with `TROUPE_FIELDS` or `codec<T>`, and whatever is made of these.
template <class T>
concept encodable = detail::travels<detail::direction::encode, T>();

/// What `decode` makes: the same without views, and everything in it has a default constructor.
template <class T>
concept decodable = detail::travels<detail::direction::decode, T>();

}  // namespace troupe

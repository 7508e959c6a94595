// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What JSON asks about a type beside its kind.
///
/// Layer: adapter. Compile time only.

#include <troupe/codec/kind.hpp>
#include <troupe/codec/standard_types.hpp>

#include <type_traits>
#include <variant>

namespace troupe::detail {

/// Whether a value of `T` may be `null`. An optional of such a type is an array of none or one, or
/// its two kinds of nothing would be one.
template <class T>
[[nodiscard]] consteval bool may_be_null() noexcept {
  if constexpr (kind_of<T> == wire_kind::hook) {
    return may_be_null<typename codec<T>::wire>();
  } else if constexpr (kind_of<T> == wire_kind::optional) {
    return !may_be_null<typename T::value_type>();
  } else {
    return std::is_same_v<T, std::monostate>;
  }
}

/// Whether a map with such keys is an object.
template <class Key>
[[nodiscard]] consteval bool is_json_key() noexcept {
  if constexpr (kind_of<Key> == wire_kind::text) {
    return std::is_same_v<typename Key::value_type, char>;
  } else {
    return false;
  }
}

}  // namespace troupe::detail

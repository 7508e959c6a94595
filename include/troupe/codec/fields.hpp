// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `TROUPE_FIELDS`: the fields of a class by name, where C++ cannot list them itself or the names
/// are wanted on the wire (JSON).
///
/// Layer: codec. Compile time only.

#include <troupe/base/for_each_argument.hpp>

#include <array>
#include <string_view>
#include <tuple>

namespace troupe {

/// The named fields of `T`; specialised by `TROUPE_FIELDS`.
template <class T>
struct fields;

namespace detail {

template <class T>
concept has_named_fields = requires { fields<T>::names(); };

/// `std::tie` without its first argument, which lets a macro write a comma before each field.
template <class... Fields>
[[nodiscard]] constexpr std::tuple<Fields&...> tie_behind(int, Fields&... listed) noexcept {
  return {listed...};
}

}  // namespace detail
}  // namespace troupe

#define TROUPE_DETAIL_FIELD_NAME(A, name) ::std::string_view(#name),
#define TROUPE_DETAIL_FIELD(A, name) , troupe_object.name

/// `TROUPE_FIELDS(account, owner, balance)`: at global scope, behind the class, whose listed fields
/// are public. These fields are its value, in this order; what is not listed does not travel. Up to
/// 80 names fit. The binary form has no names in it, so the macro does not change it where it
/// lists all fields of an aggregate in their order.
#define TROUPE_FIELDS(A, ...)                                                            \
  template <>                                                                            \
  struct troupe::fields<A> {                                                             \
    static constexpr auto names() noexcept {                                             \
      return ::std::array{TROUPE_DETAIL_EACH(TROUPE_DETAIL_FIELD_NAME, A, __VA_ARGS__)}; \
    }                                                                                    \
    template <class TroupeObject>                                                        \
    static constexpr auto tie(TroupeObject& troupe_object) noexcept {                    \
      return ::troupe::detail::tie_behind(                                               \
          0 TROUPE_DETAIL_EACH(TROUPE_DETAIL_FIELD, A, __VA_ARGS__));                    \
    }                                                                                    \
  };

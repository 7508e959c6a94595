// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The signature of a method for people: "double add(double, double)".
///
/// Layer: function.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include <troupe/actor/method_traits.hpp>
#include <troupe/base/type_name.hpp>

namespace troupe::detail {

/// The name of a type, as its author would have written it: compilers spell out what stands behind
/// the aliases of the standard library.
template <class T>
struct readable_type {
  static std::string name() { return std::string(type_name<T>()); }
};
template <class T>
std::string readable_name() {
  return readable_type<std::remove_cvref_t<T>>::name();
}
template <>
struct readable_type<std::string> {
  static std::string name() { return "std::string"; }
};
template <>
struct readable_type<std::string_view> {
  static std::string name() { return "std::string_view"; }
};
template <class T>
struct readable_type<std::vector<T>> {
  static std::string name() { return "std::vector<" + readable_name<T>() + ">"; }
};
template <class T>
struct readable_type<std::optional<T>> {
  static std::string name() { return "std::optional<" + readable_name<T>() + ">"; }
};
template <class K, class V>
struct readable_type<std::map<K, V>> {
  static std::string name() {
    return "std::map<" + readable_name<K>() + ", " + readable_name<V>() + ">";
  }
};

template <class Parameters>
struct readable_list;
template <class... Ps>
struct readable_list<std::tuple<Ps...>> {
  static std::string names() {
    std::string text;
    ((text += (text.empty() ? "" : ", ") + readable_name<Ps>()), ...);
    return text;
  }
};

/// `Signature` is what method_traits.hpp says of the method: who calls is no parameter.
template <class Signature>
std::string signature_text(std::string_view name) {
  return readable_name<typename Signature::result>() + " " + std::string(name) + "(" +
         readable_list<typename Signature::parameters>::names() + ")";
}

}  // namespace troupe::detail

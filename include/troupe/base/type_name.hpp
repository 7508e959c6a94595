// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Readable names of classes and members, taken from the compiler's own function signature.
///
/// Layer: base. Constexpr; the views point into the program and are valid for ever.
///
/// The names of plain classes in named namespaces and of their members are the same with every
/// compiler and may go on the wire. Those of local classes, unnamed namespaces and templates with
/// arguments are readable, but each compiler spells them in its own way.

#include <troupe/config.hpp>

#include <cstddef>
#include <string_view>

namespace troupe {
namespace detail {

// `const char*`, because GCC explains every alias in a signature behind the template arguments.
template <class T>
[[nodiscard]] constexpr const char* type_signature() noexcept {
  return TROUPE_PRETTY_FUNCTION;
}

template <auto M>
[[nodiscard]] constexpr const char* value_signature() noexcept {
  return TROUPE_PRETTY_FUNCTION;
}

/// Cuts the argument out of the signature of `type_signature<T>`. What a compiler writes around it
/// does not depend on it, so an argument whose spelling is known measures both ends.
[[nodiscard]] constexpr std::string_view type_argument(std::string_view signature) noexcept {
  constexpr std::string_view known = "double";
  constexpr std::string_view measure = type_signature<double>();
  constexpr std::size_t before = measure.rfind(known);
  constexpr std::size_t after = measure.size() - before - known.size();
  signature.remove_prefix(before);
  signature.remove_suffix(after);
  return signature;
}

/// Cuts the argument out of the signature of `value_signature<M>`. No value is spelled alike by all
/// compilers, so this looks for `[with auto M = ...]` (GCC), `[M = ...]` (Clang) and
/// `value_signature<...>` (MSVC).
[[nodiscard]] constexpr std::string_view value_argument(std::string_view signature) noexcept {
  constexpr std::string_view assigned = "M = ";
  constexpr std::string_view bracketed = "value_signature<";
  const std::size_t at = signature.find(assigned);
  const bool is_assigned = at != std::string_view::npos;
  const std::size_t begin =
      is_assigned ? at + assigned.size() : signature.find(bracketed) + bracketed.size();
  const std::size_t end = signature.rfind(is_assigned ? ']' : '>');
  return signature.substr(begin, end - begin);
}

[[nodiscard]] constexpr std::string_view drop_class_key(std::string_view name) noexcept {
  constexpr std::string_view keys[] = {"struct ", "class ", "union ", "enum "};
  for (const std::string_view key : keys) {
    if (name.starts_with(key)) return name.substr(key.size());
  }
  return name;
}

/// The part of a qualified name behind its last `::` that is not inside brackets, without a
/// parameter list (which MSVC appends).
[[nodiscard]] constexpr std::string_view unqualified(std::string_view name) noexcept {
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i != name.size(); ++i) {
    if (name[i] == '<' || name[i] == '(') ++depth;
    if (name[i] == '>' || name[i] == ')') --depth;
    if (depth == 0 && name[i] == ':') begin = i + 1;
  }
  name.remove_prefix(begin);
  if (name.starts_with("operator")) return name;
  const std::size_t first = name.find_first_not_of("& ");
  if (first != std::string_view::npos) name.remove_prefix(first);
  return name.substr(0, name.find('('));
}

}  // namespace detail

/// The qualified name of `T`, as `bank::account`.
template <class T>
[[nodiscard]] constexpr std::string_view type_name() noexcept {
  return detail::drop_class_key(detail::type_argument(detail::type_signature<T>()));
}

/// The name of the member, function or enumerator `M` without its qualification: `deposit` for
/// `&bank::account::deposit`.
template <auto M>
[[nodiscard]] constexpr std::string_view member_name() noexcept {
  return detail::unqualified(detail::value_argument(detail::value_signature<M>()));
}

}  // namespace troupe

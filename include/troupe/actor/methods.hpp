// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `TROUPE_METHODS`: the names by which a class's methods are called through `->` and on the wire.
///
/// Layer: actor. Compile time only.

#include <array>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/actor/proxy.hpp>
#include <troupe/base/for_each_argument.hpp>

namespace troupe::detail {

template <class A>
concept complete_class = requires { sizeof(A); };

}  // namespace troupe::detail

#define TROUPE_DETAIL_METHOD(A, name)                                                          \
  template <class TroupeSelf = A, class... TroupeArgs>                                         \
  auto name(TroupeArgs&&... troupe_args) {                                                     \
    static_assert(::troupe::detail::complete_class<TroupeSelf>,                                \
                  "troupe: the class must be complete where its method is called");            \
    static_assert(                                                                             \
        requires { &TroupeSelf::name; },                                                       \
        "troupe: " #A " has no method '" #name                                                 \
        "' that can be listed in TROUPE_METHODS: it is missing, private, or overloaded (give " \
        "each overload a name of its own)");                                                   \
    if constexpr (requires { &TroupeSelf::name; }) {                                           \
      return this->template troupe_make<&TroupeSelf::name>(                                    \
          std::forward<TroupeArgs>(troupe_args)...);                                           \
    }                                                                                          \
  }

#define TROUPE_DETAIL_METHOD_NAME(A, name) ::std::string_view(#name),
#define TROUPE_DETAIL_METHOD_VISIT(A, name) troupe_visitor.template visit<&TroupeSelf::name>(#name);

/// `TROUPE_METHODS(account, deposit, balance)`: at global scope, before the first `->` on a proxy
/// of the class, which may still be incomplete. At least 64 names fit.
#define TROUPE_METHODS(A, ...)                                                                \
  template <>                                                                                 \
  struct troupe::methods<A> {                                                                 \
    template <class TroupeTarget>                                                             \
    struct troupe_on : ::troupe::detail::methods_base<A, TroupeTarget> {                      \
      using ::troupe::detail::methods_base<A, TroupeTarget>::methods_base;                    \
      TROUPE_DETAIL_EACH(TROUPE_DETAIL_METHOD, A, __VA_ARGS__)                                \
    };                                                                                        \
    static constexpr auto names() {                                                           \
      return ::std::array{                                                                    \
          TROUPE_DETAIL_EACH(TROUPE_DETAIL_METHOD_NAME, A, __VA_ARGS__)::std::string_view()}; \
    }                                                                                         \
    template <class TroupeVisitor, class TroupeSelf = A>                                      \
    static constexpr void visit_all(TroupeVisitor& troupe_visitor) {                          \
      TROUPE_DETAIL_EACH(TROUPE_DETAIL_METHOD_VISIT, A, __VA_ARGS__)                          \
    }                                                                                         \
  };

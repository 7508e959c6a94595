// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a pointer to a member function says of a method.
///
/// Layer: actor. Compile time only.

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include <troupe/coro/task.hpp>

namespace troupe {

class caller;

namespace detail {

/// What a caller gets of a method that returns `T`. A constant value is as good as a value.
template <class T>
struct untask {
  using type = std::remove_cv_t<T>;
};
template <class T>
struct untask<task<T>> {
  using type = T;
};

/// The parameters that a caller passes: without a leading `troupe::caller`.
template <class... Ps>
struct parameters_of {
  static constexpr bool takes_caller = false;
  using type = std::tuple<Ps...>;
};
template <class... Ps>
struct parameters_of<caller, Ps...> {
  static constexpr bool takes_caller = true;
  using type = std::tuple<Ps...>;
};
template <class... Ps>
struct parameters_of<const caller&, Ps...> : parameters_of<caller, Ps...> {};

template <class C, class R, class... Ps>
struct signature {
  using class_type = C;
  using returned = R;
  using result = typename untask<R>::type;
  using parameters = typename parameters_of<Ps...>::type;
  static constexpr bool is_coroutine = is_task<R>;
  static constexpr bool takes_caller = parameters_of<Ps...>::takes_caller;
  static constexpr std::size_t arity = std::tuple_size_v<parameters>;
};

template <class M>
struct member_signature {
  static_assert(std::is_member_function_pointer_v<M>,
                "troupe: call<&Class::method>, tell<&Class::method> and function<&Class::method> "
                "take a pointer to a member function that is not overloaded");
  static_assert(!std::is_member_function_pointer_v<M>,
                "troupe: a method of a worker is neither volatile, nor for rvalues only (&&), nor "
                "does it take a C-style list of arguments (...)");
};
// A function beside the class, whose first parameter is the instance: for the parts of the library
// that bring methods of their own to classes of users.
template <class C, class R, class... Ps>
struct member_signature<R (*)(C&, Ps...)> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...)> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) const> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) noexcept> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) const noexcept> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...)&> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) const&> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) & noexcept> : signature<C, R, Ps...> {};
template <class C, class R, class... Ps>
struct member_signature<R (C::*)(Ps...) const & noexcept> : signature<C, R, Ps...> {};

template <auto M>
using signature_of = member_signature<std::remove_cv_t<decltype(M)>>;

}  // namespace detail
}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The optional hooks of an actor class, found by name.
///
/// Layer: actor. Compile time only.

#include <concepts>
#include <type_traits>

#include <troupe/actor/call_info.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

template <class T>
concept void_or_task = std::is_void_v<T> || std::is_same_v<T, task<>>;

template <class A>
concept has_on_start = requires(A& a) {
  { a.on_start() } -> void_or_task;
};
template <class A>
concept has_on_stop = requires(A& a) {
  { a.on_stop() } -> void_or_task;
};
template <class A>
concept has_before_call = requires(A& a, const call_info& i) {
  { a.before_call(i) } -> std::same_as<void>;
};
template <class A>
concept has_after_call = requires(A& a, const call_info& i) {
  { a.after_call(i) } -> std::same_as<void>;
};

// A member of that name, whatever it is: asked by making the name ambiguous in a derived class.
struct hook_names {
  int on_start, on_stop, before_call, after_call;
};
template <class A>
struct names_of : A, hook_names {};

template <class A>
concept can_derive = std::is_class_v<A> && !std::is_final_v<A>;

template <class A>
concept names_on_start = can_derive<A> && !requires { &names_of<A>::on_start; };
template <class A>
concept names_on_stop = can_derive<A> && !requires { &names_of<A>::on_stop; };
template <class A>
concept names_before_call = can_derive<A> && !requires { &names_of<A>::before_call; };
template <class A>
concept names_after_call = can_derive<A> && !requires { &names_of<A>::after_call; };

/// Fails to compile, with a sentence, where a member bears a hook's name and is none.
template <class A>
constexpr void check_hooks() {
  static_assert(!names_on_start<A> || has_on_start<A>,
                "troupe: a hook's name with another signature: on_start() takes nothing and "
                "returns void or troupe::task<>, and is public");
  static_assert(!names_on_stop<A> || has_on_stop<A>,
                "troupe: a hook's name with another signature: on_stop() takes nothing and "
                "returns void or troupe::task<>, and is public");
  static_assert(!names_before_call<A> || has_before_call<A>,
                "troupe: a hook's name with another signature: before_call takes "
                "const troupe::call_info& and returns void, and is public");
  static_assert(!names_after_call<A> || has_after_call<A>,
                "troupe: a hook's name with another signature: after_call takes "
                "const troupe::call_info& and returns void, and is public");
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What may cross from one worker to another, and how it is held on the way.
///
/// Layer: actor. Compile time only.

#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace troupe {

/// Specialise as `true` for a type that the rules refuse and that you know to be safe.
template <class T>
inline constexpr bool enable_sendable = false;

namespace detail {

template <class T>
inline constexpr bool is_span = false;
template <class T, std::size_t N>
inline constexpr bool is_span<std::span<T, N>> = true;

template <class T>
inline constexpr bool is_string_view = false;
template <class C, class Traits>
inline constexpr bool is_string_view<std::basic_string_view<C, Traits>> = true;

/// Views that do not own what they show.
template <class T>
concept borrowed_view =
    is_span<T> || is_string_view<T> || std::ranges::enable_view<std::remove_cv_t<T>>;

template <class T>
concept opted_in = enable_sendable<std::remove_cvref_t<T>>;

}  // namespace detail

/// True for what may be a parameter of a method: no raw pointer, no reference through which the
/// worker could write to its caller's variables.
template <class T>
concept sendable =
    detail::opted_in<T> ||
    (!std::is_pointer_v<std::remove_cvref_t<T>> &&
     !std::is_null_pointer_v<std::remove_cvref_t<T>> &&
     (!std::is_lvalue_reference_v<T> || std::is_const_v<std::remove_reference_t<T>>));

/// True for what a method may return: an owned value, since the worker goes on without the caller.
template <class T>
concept returnable = std::is_void_v<T> || detail::opted_in<T> ||
                     (!std::is_reference_v<T> && !std::is_pointer_v<T> && !detail::is_span<T> &&
                      !detail::is_string_view<T>);

namespace detail {

/// How a parameter is held by a call that outlives its caller's expression (`within`, `tell`).
template <class P>
struct owned_parameter {
  static_assert(!borrowed_view<P> || opted_in<P>,
                "troupe: within() and tell() own their arguments, and this parameter is a view of "
                "something they do not own: take std::string_view, std::span<const T> or a value");
  using type = P;
};
template <class C, class Traits>
struct owned_parameter<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};
template <class T, std::size_t N>
struct owned_parameter<std::span<const T, N>> {
  using type = std::vector<T>;
};

template <class P>
using owned_t = typename owned_parameter<std::remove_cvref_t<P>>::type;

/// A reference that binds to `Arg` itself, or to its base, not to something converted from it.
template <class P, class Arg>
concept binds_directly =
    std::is_convertible_v<std::remove_reference_t<Arg>*, std::remove_reference_t<P>*>;

/// How an argument of type `Arg&&` for parameter `P` is held by a borrowing call: an lvalue stays
/// where it is, an rvalue is moved in; where a coroutine takes a reference to something that has
/// to be converted first, the converted value is held.
template <class P, class Arg, bool Coroutine>
struct held_argument {
  using type = std::conditional_t<std::is_lvalue_reference_v<Arg>, Arg, std::remove_cvref_t<Arg>>;
};
template <class P, class Arg>
  requires(std::is_reference_v<P> && !binds_directly<P, Arg>)
struct held_argument<P, Arg, true> {
  using type = std::remove_cvref_t<P>;
};

template <class P, class Arg, bool Coroutine>
using held_t = typename held_argument<P, Arg, Coroutine>::type;

/// Fails to compile, with a sentence, where parameter `P` may not cross.
template <class P>
constexpr bool check_parameter() {
  static_assert(opted_in<P> || !(std::is_lvalue_reference_v<P> &&
                                 !std::is_const_v<std::remove_reference_t<P>>),
                "troupe: a method called through a proxy takes a non-const reference: the worker "
                "would write to its caller's variable; take a value and return the result");
  static_assert(opted_in<P> || !std::is_pointer_v<std::remove_cvref_t<P>>,
                "troupe: a method called through a proxy takes a raw pointer, which says nothing "
                "of who owns what it points to; take a value, or opt in by enable_sendable<T>");
  return sendable<P>;
}

/// Fails to compile, with a sentence, where a method may not return `R`.
template <class R>
constexpr bool check_result() {
  static_assert(opted_in<R> || !std::is_reference_v<R>,
                "troupe: a method called through a proxy returns a reference into its worker, "
                "which goes on without the caller; return a value");
  static_assert(opted_in<R> || !std::is_pointer_v<R>,
                "troupe: a method called through a proxy returns a raw pointer into its worker; "
                "return a value, or opt in by enable_sendable<T>");
  static_assert(opted_in<R> || !(is_span<R> || is_string_view<R>),
                "troupe: a method called through a proxy returns a view of something it does not "
                "own; return std::string or std::vector instead");
  return returnable<R>;
}

}  // namespace detail
}  // namespace troupe

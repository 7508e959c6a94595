// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A method with its arguments, ready to be invoked on an instance.
///
/// Layer: actor. Holds the arguments; who owns them depends on how it was made.

#include <cstddef>
#include <exception>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/call_info.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/method_traits.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/type_name.hpp>

namespace troupe::detail {

/// The worker from whose turn something below `l` is called, or what stands for one elsewhere;
/// `nullptr`: none.
inline cell* caller_above(chain_link* l) noexcept {
  if (l == nullptr) return nullptr;
  return l->call != nullptr ? &turn_of(l->call)->worker() : l->outside;
}

inline caller make_caller(cell* from) noexcept { return caller(intrusive_ptr<cell>(from)); }

/// `M` of class `A` with arguments held as `Held...`.
template <auto M, class A, class... Held>
class invocation {
public:
  using signature = signature_of<M>;
  using result = typename signature::result;
  using class_type = A;
  static constexpr bool is_coroutine = signature::is_coroutine;
  static constexpr bool takes_caller = signature::takes_caller;

  template <class... Args>
  explicit invocation(std::in_place_t, Args&&... args)
      : held_(hold<Held>(std::forward<Args>(args))...) {}
  invocation(invocation&&) = default;

  /// Calls the method on `instance`, which is seen as an `A`; `from` is stamped where the method
  /// asks for it. Once.
  decltype(auto) operator()(void* instance, cell* from) {
    return apply(*static_cast<A*>(instance), from, std::make_index_sequence<sizeof...(Held)>());
  }

  /// The same with arguments held as another invocation holds them.
  template <class Other>
  Other into() && {
    return std::apply([](auto&... held) { return Other(std::in_place, own<Held>(held)...); },
                      held_);
  }

  /// Stays where it is: others are shown its address.
  static constexpr const std::string_view& name() noexcept { return name_; }
  static called_method called() noexcept { return {name_, tag_of<A>()}; }

private:
  using parameters = typename signature::parameters;

  /// A span's elements become a vector's; everything else converts by itself.
  template <class H, class Arg>
  static decltype(auto) hold(Arg&& arg) {
    if constexpr (std::is_constructible_v<H, Arg&&>) {
      return static_cast<Arg&&>(arg);
    } else if constexpr (requires { std::span<const typename H::value_type>(arg); }) {
      const std::span<const typename H::value_type> view(arg);
      return H(view.begin(), view.end());
    } else {
      static_assert(std::is_constructible_v<H, Arg&&>,
                    "troupe: within() and tell() own their arguments, and this one can be neither "
                    "moved nor copied; move it in, or make the call without a limit");
    }
  }

  /// What was moved in is moved on; what stayed with the caller is copied.
  template <class H>
  static decltype(auto) own(std::remove_reference_t<H>& held) noexcept {
    if constexpr (std::is_lvalue_reference_v<H>) {
      return static_cast<std::remove_reference_t<H>&>(held);
    } else {
      return static_cast<H&&>(held);
    }
  }

  template <std::size_t... I>
  decltype(auto) apply(A& self, [[maybe_unused]] cell* from, std::index_sequence<I...>) {
    auto& object = static_cast<typename signature::class_type&>(self);
    if constexpr (!std::is_member_pointer_v<decltype(M)>) {
      return M(object, argument<I>()...);
    } else if constexpr (signature::takes_caller) {
      return (object.*M)(make_caller(from), argument<I>()...);
    } else {
      return (object.*M)(argument<I>()...);
    }
  }

  /// What is held by value is moved into the method, unless that takes a reference to const or to
  /// a view of it.
  template <std::size_t I>
  decltype(auto) argument() noexcept {
    using P = std::tuple_element_t<I, parameters>;
    using H = std::tuple_element_t<I, std::tuple<Held...>>;
    if constexpr (std::is_lvalue_reference_v<H> || std::is_lvalue_reference_v<P> ||
                  borrowed_view<std::remove_cvref_t<P>>) {
      return static_cast<std::remove_reference_t<H>&>(std::get<I>(held_));
    } else {
      return static_cast<std::remove_reference_t<H>&&>(std::get<I>(held_));
    }
  }

  static constexpr std::string_view name_ = member_name<M>();

  [[no_unique_address]] std::tuple<Held...> held_;
};

template <auto M, class A, class Parameters, bool Owned, class... Args>
struct invocation_type;

template <auto M, class A, class... Ps, class... Args>
struct invocation_type<M, A, std::tuple<Ps...>, false, Args...> {
  using type = invocation<M, A, held_t<Ps, Args, signature_of<M>::is_coroutine>...>;
};
template <auto M, class A, class... Ps, class... Args>
struct invocation_type<M, A, std::tuple<Ps...>, true, Args...> {
  using type = invocation<M, A, owned_t<Ps>...>;
};

/// The invocation for `M` called on an `A` with `Args&&...`: borrowing, or owning its arguments.
template <auto M, class A, bool Owned, class... Args>
using invocation_for =
    typename invocation_type<M, A, typename signature_of<M>::parameters, Owned, Args...>::type;

template <class Parameters, class... Args>
inline constexpr bool all_pass = false;
template <class... Ps, class... Args>
  requires(sizeof...(Ps) == sizeof...(Args))
inline constexpr bool all_pass<std::tuple<Ps...>, Args...> =
    (std::is_convertible_v<Args&&, Ps> && ...);

template <class Parameters>
struct check_parameters;
template <class... Ps>
struct check_parameters<std::tuple<Ps...>> {
  static constexpr bool value = (check_parameter<Ps>() && ... && true);
};

/// Fails to compile, with a sentence, where `M` cannot be called on an `A` with `Args&&...`.
template <auto M, class A, class... Args>
constexpr bool check_call() {
  using s = signature_of<M>;
  static_assert(std::is_base_of_v<typename s::class_type, A>,
                "troupe: the method is not one of the worker's class");
  static_assert(s::arity == sizeof...(Args),
                "troupe: the call has another number of arguments than the method has parameters");
  if constexpr (check_parameters<typename s::parameters>::value &&
                check_result<typename s::result>() && s::arity == sizeof...(Args)) {
    static_assert(all_pass<typename s::parameters, Args...>,
                  "troupe: an argument of the call does not convert to the method's parameter");
    return all_pass<typename s::parameters, Args...>;
  } else {
    return false;
  }
}

}  // namespace troupe::detail

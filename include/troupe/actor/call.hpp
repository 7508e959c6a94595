// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `call`: what `proxy->method(...)` gives; awaiting it calls the method.
///
/// Layer: actor. A call that finds its worker idle allocates nothing and touches no queue: one
/// compare-exchange, the method on the caller's stack, one compare-exchange.

#include <type_traits>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/coroutine_call.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/owned_call.hpp>
#include <troupe/actor/plain_call.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// The cell a call goes to, borrowed from a proxy that outlives the call.
class borrowed_cell {
public:
  explicit borrowed_cell(cell* c) noexcept : cell_(c) {}
  cell* get() const noexcept { return cell_; }

private:
  cell* cell_;
};

/// The cell a call goes to, counted by the call: the proxy was a temporary.
class counted_cell {
public:
  explicit counted_cell(intrusive_ptr<cell> c) noexcept : cell_(std::move(c)) {}
  cell* get() const noexcept { return cell_.get(); }

private:
  intrusive_ptr<cell> cell_;
};

template <class Invocation>
using borrowing_call = std::conditional_t<Invocation::is_coroutine, coroutine_call<Invocation>,
                                          plain_call<Invocation>>;

}  // namespace detail

/// A call with a time limit, made by `call::within`. It owns its arguments and its result, and
/// settles by its deadline whatever the worker does: with `errc::expired` if the method never
/// started, with `errc::timed_out` if it may still run.
template <class Invocation>
class [[nodiscard("a call does nothing until it is awaited")]] timed_call {
public:
  using block = detail::owned_call_of<Invocation>;
  static constexpr bool issued_in_order = true;

  /// For the library.
  timed_call(intrusive_ptr<block> b, duration limit) noexcept
      : block_(std::move(b)), limit_(limit) {}
  timed_call(timed_call&&) = default;
  timed_call& operator=(timed_call&&) = delete;

  detail::owned_awaiter<block> await_by(detail::frame& caller) && noexcept {
    return detail::owned_awaiter<block>(std::move(block_), limit_, caller);
  }

private:
  intrusive_ptr<block> block_;
  duration limit_;
};

/// A call of one method with its arguments, which starts when it is awaited, once, as an rvalue.
///
/// It borrows: lvalue arguments stay in the caller's frame, rvalues are moved into this object, the
/// result is constructed in the caller's frame. So it settles only when its method has ended, or
/// will never start. It also borrows the proxy it was made by, unless that was a temporary.
template <class Target, class Invocation, class Owned>
class [[nodiscard("a call does nothing until it is awaited")]] call {
public:
  static constexpr bool issued_in_order = true;

  /// For the library.
  template <class... Args>
  call(Target target, std::in_place_t, Args&&... args)
      : target_(std::move(target)), invocation_(std::in_place, std::forward<Args>(args)...) {}
  call(call&&) = default;
  call& operator=(call&&) = delete;

  detail::borrowing_call<Invocation> await_by(detail::frame& caller) && noexcept {
    return detail::borrowing_call<Invocation>(*target_.get(), invocation_, caller);
  }

  /// The same call with a time limit; from here on it owns its arguments.
  [[nodiscard("a call does nothing until it is awaited")]] timed_call<Owned> within(
      duration limit) && {
    using block = detail::owned_call_of<Owned>;
    intrusive_ptr<detail::cell> target(target_.get());
    return timed_call<Owned>(intrusive_ptr<block>(new block(
                                 std::move(target), std::move(invocation_).template into<Owned>())),
                             limit);
  }

private:
  Target target_;
  Invocation invocation_;
};

namespace detail {

/// Makes the call of `M` on an `A`, after the checks that speak to the user.
template <auto M, class A, class Target, class... Args>
auto make_call(Target target, Args&&... args) {
  if constexpr (check_call<M, A, Args...>()) {
    using borrowing = invocation_for<M, A, false, Args...>;
    using owning = invocation_for<M, A, true, Args...>;
    return call<Target, borrowing, owning>(std::move(target), std::in_place,
                                           std::forward<Args>(args)...);
  }
}

}  // namespace detail
}  // namespace troupe

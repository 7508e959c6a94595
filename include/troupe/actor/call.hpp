// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `call`: what `proxy->method(...)` gives; awaiting it calls the method.
///
/// Layer: actor. A call that finds its worker idle allocates nothing and touches no queue: one
/// compare-exchange, the method on the caller's stack, one compare-exchange.

#include <coroutine>
#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/owned_call.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/turn_record.hpp>
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

/// What ends a plain method that was entered by the fast path, also when it throws. Always inlined,
/// like all on that path: left to themselves, compilers take some of it out of line, now this, now
/// that.
class inline_turn {
public:
  TROUPE_ALWAYS_INLINE inline_turn(cell& c, frame& f, const std::string_view& method) noexcept
      : cell_(c), record_(*f.record) {
    record_.call(c, method, c.count_turn());
  }
  inline_turn(const inline_turn&) = delete;
  inline_turn& operator=(const inline_turn&) = delete;
  TROUPE_ALWAYS_INLINE ~inline_turn() {
    record_.call_ended();
    cell_.leave_fast();
  }

private:
  cell& cell_;
  turn_record& record_;  // of the thread that a plain method stays on
};

/// Awaits a borrowing call. The part that waits is made only where the call does not run at once.
template <class Invocation>
class call_awaiter {
public:
  using result = typename Invocation::result;
  using pending = std::conditional_t<Invocation::is_coroutine, pending_coroutine<Invocation>,
                                     pending_plain<Invocation>>;

  call_awaiter(cell& target, Invocation& call, frame& caller) noexcept
      : target_(target), call_(call), caller_(caller) {}
  call_awaiter(const call_awaiter&) = delete;
  call_awaiter& operator=(const call_awaiter&) = delete;
  ~call_awaiter() {
    if (issued_) std::destroy_at(&pending_);
  }

  /// Runs the method if it can be run at once. Here, and not in `await_resume`: of two calls in one
  /// expression GCC 12 asks both whether they are ready before it resumes either, and the first
  /// would hold its worker meanwhile (docs/compilers.md).
  TROUPE_ALWAYS_INLINE bool await_ready() {
    frame& f = caller_;
    if (f.budget == 0) return false;
    --f.budget;
    if constexpr (Invocation::is_coroutine) {
      return false;
    } else {
      if (f.fork_calls || f.chain->limited || !target_.enter_fast()) return false;
      run_inline();
      return true;
    }
  }

  bool await_suspend(std::coroutine_handle<>) noexcept { return issue(*this); }

  result await_resume() {
    if constexpr (!Invocation::is_coroutine) {
      if (!issued_) return result_.take();
    }
    return pending_.take();
  }

private:
  TROUPE_NOINLINE static bool issue(call_awaiter& self) noexcept {
    std::construct_at(&self.pending_, self.target_, self.caller_, self.call_);
    self.issued_ = true;
    return self.pending_.issue();
  }

  TROUPE_ALWAYS_INLINE void run_inline() {
    cell* const from = Invocation::takes_caller ? caller_above(caller_.chain) : nullptr;
    const inline_turn turn(target_, caller_, Invocation::name());
    try {
      result_.emplace_from([&]() -> result { return call_(target_.instance(), from); });
    } catch (...) {
      target_.turn_failed(Invocation::name(), std::current_exception());
      throw;
    }
  }

  cell& target_;
  Invocation& call_;
  frame& caller_;
  bool issued_ = false;  // pending_ is alive
  TROUPE_NO_UNIQUE_ADDRESS std::conditional_t<Invocation::is_coroutine, std::monostate,
                                              result_slot<result>>
      result_;  // of the fast path
  union {
    pending pending_;
  };
};

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

  detail::call_awaiter<Invocation> await_by(detail::frame& caller) && noexcept {
    return detail::call_awaiter<Invocation>(*target_.get(), invocation_, caller);
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

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `offload`: run blocking code on a thread that may block, and await it.
///
/// Layer: coro. Everything lives in the awaiting frame; a thread may be started.

#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>

namespace troupe {
namespace detail {

template <class F>
class offload_awaiter : private runnable {
public:
  using result = std::invoke_result_t<F&>;

  offload_awaiter(F& callable, frame& f) noexcept
      : runnable(&offload_awaiter::work), callable_(callable), frame_(f) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) { suspend(*this); }
  result await_resume() { return result_.take(); }

private:
  TROUPE_NOINLINE static void suspend(offload_awaiter& self) {
    frame& f = self.frame_;
    bool* const flag = std::exchange(f.completed_inline, nullptr);
    try {
      f.where->base().offload(self);
    } catch (...) {
      f.completed_inline = flag;
      throw;
    }
  }

  static void work(runnable& r) noexcept {
    auto& self = static_cast<offload_awaiter&>(r);
    frame& f = self.frame_;
    this_thread_state().running = &f;  // what blocks in there is still part of the chain
    try {
      self.result_.emplace_from(self.callable_);
    } catch (...) {
      self.result_.fail(std::current_exception());
    }
    this_thread_state().running = nullptr;
    f.where->post(f);
  }

  F& callable_;
  frame& frame_;
  result_slot<result> result_;
};

template <class F>
class offload_operation {
public:
  explicit offload_operation(F callable) : callable_(std::move(callable)) {}

  offload_awaiter<F> await_by(frame& f) && noexcept { return offload_awaiter<F>(callable_, f); }

private:
  F callable_;
};

}  // namespace detail

/// Runs `callable` on a thread that may block, one of a growing set, and gives its result. The
/// coroutine continues where it belongs.
template <class F>
[[nodiscard("nothing is run until this is awaited")]] auto offload(F callable) {
  return detail::offload_operation<F>(std::move(callable));
}

}  // namespace troupe

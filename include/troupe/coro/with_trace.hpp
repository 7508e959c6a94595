// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `with_trace`: goes on with a trace that began elsewhere.
///
/// Layer: coro. Two frames.

#include <coroutine>
#include <type_traits>
#include <utility>

#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/span.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/trace_context.hpp>

namespace troupe {
namespace detail {

/// A task, and the trace that it is to run in.
template <class T>
class traced_task {
public:
  traced_task(const trace_context& t, task<T> child) noexcept
      : trace_(t), child_(std::move(child)) {}

  /// Awaits the task below a link of its own.
  class awaiter {
  public:
    awaiter(traced_task& traced, frame& parent) noexcept
        : link_(link_kind::traced), child_(traced.child_.release()), resume_(parent) {
      link_.join(parent.chain);
      link_.trace = traced.trace_;
      link_.span.store(traced.trace_.span, order::relaxed);
    }
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) noexcept { return !run(*this); }
    T await_resume() { return result_.take(); }

  private:
    TROUPE_NOINLINE static bool run(awaiter& self) noexcept {
      frame& parent = self.resume_.parent();
      task_promise<T>& child = self.child_.promise();
      trace_context& trace = self.link_.trace;
      if (trace == trace_context()) {
        trace.trace_high = draw_id(parent.where->base());
        trace.trace_low = draw_id(parent.where->base());
      }
      child.inherit(parent);
      child.chain = &self.link_;
      child.then = &self.resume_;
      child.result = &self.result_;
      return run_child(child, parent);
    }

    chain_link link_;
    result_slot<T> result_;
    started_task<T> child_;  // destroyed before the slot it writes to
    resume_parent resume_;
  };

  awaiter await_by(frame& parent) && noexcept { return awaiter(*this, parent); }

private:
  trace_context trace_;
  task<T> child_;
};

template <class T, class A>
task<T> run_traced(trace_context t, A awaitable) {
  co_return co_await traced_task<T>(t, await_only<T, A&&>(std::move(awaitable)));
}

}  // namespace detail

/// Awaits `awaitable` as a part of the trace `t`: `this_task::trace()` gives `t` there, and the
/// calls made below are spans below `t.span`. An empty `t` begins a new trace, and one without a
/// span begins a new span.
template <class A>
auto with_trace(trace_context t, A awaitable) {
  using T = std::remove_cv_t<detail::await_result_t<A>>;
  return detail::run_traced<T, A>(t, std::move(awaitable));
}

}  // namespace troupe

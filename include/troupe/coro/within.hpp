// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `within`: a time limit on anything that can be awaited.
///
/// Layer: coro. Two frames; the timer lives in one of them.

#include <coroutine>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// Awaitables that bring a time limit of their own (calls of workers).
template <class A>
concept limits_itself = requires(A&& a, duration d) { static_cast<A&&>(a).within(d); };

/// The link above the limited child; at the deadline it asks the child to stop.
class time_limit final : public chain_link, private timer, private runnable, public completion {
public:
  time_limit(frame& child, duration limit) noexcept
      : chain_link(link_kind::scope),
        timer(&time_limit::on_time),
        runnable(&time_limit::stop),
        completion(&time_limit::on_done),
        child_(child),
        limit_(limit) {}

  bool passed() const noexcept { return passed_; }

  class awaiter {
  public:
    awaiter(time_limit& limit, frame& parent) noexcept : limit_(limit), parent_(parent) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) { return limit_.start(parent_); }
    void await_resume() const noexcept {}

  private:
    time_limit& limit_;
    frame& parent_;
  };

  class operation {
  public:
    explicit operation(time_limit& limit) noexcept : limit_(limit) {}
    awaiter await_by(frame& parent) && noexcept { return awaiter(limit_, parent); }

  private:
    time_limit& limit_;
  };

  operation run() noexcept { return operation(*this); }

private:
  bool start(frame& parent);

  /// The child has ended, or the stop request is through: the last of them resumes the parent.
  void release() noexcept {
    if (users_.fetch_sub(1, order::acq_rel) != 1) return;
    parent_->where->resume(*parent_);
  }

  void child_ended() noexcept {
    parent_->where->base().disarm(*this);  // from here on `on_time` has run, or never will
    release();
  }

  static void on_done(completion& c) noexcept { static_cast<time_limit&>(c).child_ended(); }

  static void on_time(timer& t) noexcept {
    time_limit& self = static_cast<time_limit&>(t);
    self.users_.fetch_add(1, order::relaxed);
    self.parent_->where->base().post(self);  // a stop request runs user code: not on this thread
  }

  static void stop(runnable& r) noexcept {
    time_limit& self = static_cast<time_limit&>(r);
    self.passed_ = true;
    self.request_stop();
    self.release();
  }

  frame& child_;
  const duration limit_;
  frame* parent_ = nullptr;
  bool passed_ = false;             // written by `stop`, read when users_ is 0
  atomic<std::uint32_t> users_{0};  // the child, the starter, and the stop request on its way
};

TROUPE_NOINLINE inline bool time_limit::start(frame& parent) {
  executor& base = parent.where->base();
  const time_point until = saturating_add(base.now(), limit_);
  join(parent.chain);
  make_stoppable();
  limit_deadline(until);
  limited = true;
  parent_ = &parent;
  users_.store(2, order::relaxed);
  base.arm(*this, until);
  bool* const flag = std::exchange(parent.completed_inline, nullptr);
  child_.inherit(parent);
  child_.chain = this;
  child_.then = this;
  thread_state& state = this_thread_state();
  if (child_.depth % nesting_limit == 0) {
    child_.where->post(child_);
  } else if (start_inline(child_, state)) {
    child_ended();
  }
  if (users_.fetch_sub(1, order::acq_rel) != 1) return true;
  parent.completed_inline = flag;
  state.running = &parent;
  return false;
}

template <class T, class A>
task<T> run_within(A awaitable, duration limit) {
  result_slot<T> result;
  started_task<T> child(await_only<T, A&&>(std::move(awaitable)).release());
  child.promise().result = &result;
  time_limit deadline(child.promise(), limit);
  co_await deadline.run();
  if (deadline.passed()) throw error(errc::timed_out);
  co_return result.take();
}

}  // namespace detail

/// Awaits `awaitable` with a time limit. A call of a worker settles by then, whatever the worker
/// does; anything else is asked to stop at the deadline and awaited. Then it throws
/// `errc::timed_out`.
template <class A>
auto within(A awaitable, duration limit) {
  if constexpr (detail::limits_itself<A>) {
    return std::move(awaitable).within(limit);
  } else {
    using T = std::remove_cv_t<detail::await_result_t<A>>;
    return detail::run_within<T, A>(std::move(awaitable), limit);
  }
}

}  // namespace troupe

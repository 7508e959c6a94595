// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sleep_for`, `sleep_until` and `yield`.
///
/// Layer: coro. The timer lives in the sleeping coroutine's frame.

#include <coroutine>
#include <cstdint>

#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// One sleep. Ends by its timer or by a stop request, whichever settles it first.
class sleep_awaiter : private timer, private stop_hook {
public:
  sleep_awaiter(frame& sleeper, time_point until) noexcept
      : timer(&sleep_awaiter::on_time),
        stop_hook(&sleep_awaiter::on_stop),
        sleeper_(sleeper),
        until_(until) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }
  void await_resume() {
    detach();
    sleeper_.where->base().disarm(*this);
    if (state_.load(order::relaxed) == stopped) throw error(errc::cancelled);
  }

private:
  // arming: still inside await_suspend; asleep: suspended; expired, stopped: settled, for good.
  // Who moves it away from `asleep` makes the sleeper ready; who moves it away from `arming` leaves
  // that to await_suspend. Release pairs with the acquire of the other side.
  static constexpr std::uint32_t arming = 0, asleep = 1, expired = 2, stopped = 3;

  TROUPE_NOINLINE static bool suspend(sleep_awaiter& self) {
    frame& sleeper = self.sleeper_;
    bool* const flag = std::exchange(sleeper.completed_inline, nullptr);
    try {
      self.attach(sleeper.chain->stop());
      if (self.state_.load(order::acquire) == arming) sleeper.where->base().arm(self, self.until_);
    } catch (...) {
      sleeper.completed_inline = flag;
      throw;
    }
    std::uint32_t state = arming;
    if (self.state_.compare_exchange_strong(state, asleep, order::acq_rel, order::acquire)) {
      return true;
    }
    sleeper.completed_inline = flag;
    return false;
  }

  void settle(std::uint32_t outcome) noexcept {
    frame& sleeper = sleeper_;
    std::uint32_t state = state_.load(order::acquire);
    do {
      if (state > asleep) return;
    } while (!state_.compare_exchange_weak(state, outcome, order::acq_rel, order::acquire));
    if (state == asleep) sleeper.where->post(sleeper);
  }

  static void on_time(timer& t) noexcept { static_cast<sleep_awaiter&>(t).settle(expired); }
  static void on_stop(stop_hook& h) noexcept { static_cast<sleep_awaiter&>(h).settle(stopped); }

  frame& sleeper_;
  const time_point until_;
  atomic<std::uint32_t> state_{arming};
};

/// A sleep that has not started.
class sleep_operation {
public:
  explicit sleep_operation(duration d) noexcept : duration_(d) {}
  explicit sleep_operation(time_point t) noexcept : until_(t), absolute_(true) {}

  sleep_awaiter await_by(frame& f) && {
    return sleep_awaiter(f, absolute_ ? until_ : saturating_add(f.where->base().now(), duration_));
  }

private:
  duration duration_{};
  time_point until_{};
  bool absolute_ = false;
};

class yield_operation {
public:
  yield_operation() noexcept {}

  class awaiter {
  public:
    explicit awaiter(frame& f) noexcept : frame_(f) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept { suspend(frame_); }
    void await_resume() const noexcept {}

  private:
    TROUPE_NOINLINE static void suspend(frame& f) noexcept {
      f.park();
      f.where->yield(f);
    }
    frame& frame_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(f); }
};

}  // namespace detail

/// Suspends for at least `d`, by the executor's clock. A stop request ends the sleep early, which
/// then throws `errc::cancelled`.
[[nodiscard("a sleep does nothing until it is awaited")]] inline auto sleep_for(duration d) {
  return detail::sleep_operation(d);
}

/// Suspends until `t`, by the executor's clock; see `sleep_for`.
[[nodiscard("a sleep does nothing until it is awaited")]] inline auto sleep_until(time_point t) {
  return detail::sleep_operation(t);
}

/// Lets all that waits for this thread run first.
[[nodiscard("a yield does nothing until it is awaited")]] inline auto yield() {
  return detail::yield_operation();
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A wait until some time, or until somebody says that there is something to do before.
///
/// Layer: job. The timer and the place in line are in the waiting coroutine's frame. Other than
/// `within`, it makes ready who waits from the thread of the timers, so that nothing but the thread
/// of who waits need be free.

#include <coroutine>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/timers.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Thread safety: `ring` from any thread; one coroutine at a time waits.
class job_alarm {
public:
  job_alarm() = default;
  job_alarm(const job_alarm&) = delete;
  job_alarm& operator=(const job_alarm&) = delete;
  ~job_alarm() { TROUPE_ASSERT(waiting_.empty(), "an alarm was destroyed while one waits for it"); }

  /// Ends the wait; or the next one, if there is none now.
  void ring() noexcept {
    wait_node* served = nullptr;
    {
      const spin_guard guard(lock_);
      served = waiting_.pop_front();
      is_rung_ = served == nullptr;
    }
    if (served == nullptr) return;
    frame& f = served->coroutine();
    f.where->post(f);
  }

  class awaiter;
  class operation {
  public:
    operation(job_alarm& a, time_point t) noexcept : alarm_(a), until_(t) {}
    awaiter await_by(frame& f) && noexcept;

  private:
    job_alarm& alarm_;
    const time_point until_;
  };

  /// Awaited, returns at `t`, by the clock of who waits, or when it is rung. A stop request ends
  /// the wait, which then throws `errc::cancelled`.
  operation until(time_point t) noexcept { return operation(*this, t); }

private:
  spin_lock lock_;  // guards the two below
  wait_list waiting_;
  bool is_rung_ = false;  // while nobody waited
};

class job_alarm::awaiter : private wait_node, private timer {
public:
  awaiter(job_alarm& a, frame& f, time_point t) noexcept
      : wait_node(a.lock_, f), timer(&awaiter::on_time), alarm_(a), until_(t) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }
  void await_resume() {
    coroutine().where->base().disarm(*this);  // from here on `on_time` has run, or never will
    end_wait();
  }

private:
  /// The timer is armed first: once in line, this may be gone.
  TROUPE_NOINLINE static bool suspend(awaiter& self) {
    executor& clock = self.coroutine().where->base();
    if (self.until_ != never) clock.arm(self, self.until_);
    try {
      return wait(self, self.alarm_.waiting_, [&self]() noexcept { return self.is_over(); });
    } catch (...) {
      clock.disarm(self);
      throw;
    }
  }

  /// Under the lock.
  bool is_over() noexcept { return std::exchange(alarm_.is_rung_, false) || has_come_; }

  /// Who is not in line yet finds that the time has come; who is no more was rung.
  static void on_time(timer& t) noexcept {
    awaiter& self = static_cast<awaiter&>(t);
    wait_node& place = self;
    frame& f = self.coroutine();
    {
      const spin_guard guard(self.alarm_.lock_);
      self.has_come_ = true;
      if (!place.linked()) return;
      wait_list::remove(place);
    }
    f.where->post(f);
  }

  job_alarm& alarm_;
  const time_point until_;
  bool has_come_ = false;  // guarded by the lock of the alarm
};

inline job_alarm::awaiter job_alarm::operation::await_by(frame& f) && noexcept {
  return awaiter(alarm_, f, until_);
}

}  // namespace troupe::detail

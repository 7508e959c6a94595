// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The armed timers of one executor: a timer wheel behind a lock.
///
/// Layer: coro. Arming may allocate (once, the wheel); disarming never does.

#include <memory>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>
#include <troupe/time/timer_wheel.hpp>

namespace troupe {

/// One timer. `fire` runs on whichever thread advances the timers; it must be short, must not
/// throw and must not run user code: it makes something ready and returns.
///
/// A timer may be destroyed once `timers::disarm` has returned, or by what its `fire` made ready.
class timer : public timer_node {
public:
  using function = void (*)(timer&) noexcept;

  explicit timer(function fire) noexcept : fire_(fire) {}

private:
  friend class timers;
  function fire_;
  bool due_ = false;  // expired, and not fired yet; guarded by the lock of the timers
};

/// The armed timers of one executor.
///
/// Thread safety: all members from any thread.
class timers {
public:
  timers() = default;
  timers(const timers&) = delete;
  timers& operator=(const timers&) = delete;

  /// Arms `t`, which is not armed. True if it is now the first to expire, so that whoever sleeps
  /// until the old first must be told. Throws `std::bad_alloc` on the first use only.
  bool arm(timer& t, time_point now, time_point deadline);

  /// True if `t` was armed and will not fire. False if it fired before; it is not running any more
  /// then, unless this is called from within its own `fire`.
  bool disarm(timer& t) noexcept;

  /// Fires what is due. Returns when the next is due at the earliest; `max()`: none is armed.
  /// Where another thread fires already, this returns at once, with that thread's work pending.
  time_point fire(time_point now) noexcept;

  /// When the next is due at the earliest; `max()`: none is armed.
  time_point next() const noexcept {
    const spin_guard guard(lock_);
    return next_locked();
  }

private:
  time_point next_locked() const noexcept { return wheel_ ? wheel_->next_expiry() : never; }

  mutable spin_lock lock_;                 // guards all below
  std::unique_ptr<timer_wheel> wheel_;     // made by the first `arm`
  intrusive_list<timer_node> expired_;     // due, and not yet fired
  timer* firing_ = nullptr;                // fires now ...
  detail::thread_state* firer_ = nullptr;  // ... on this thread; nullptr: nobody fires
};

inline bool timers::arm(timer& t, time_point now, time_point deadline) {
  const spin_guard guard(lock_);
  if (!wheel_) wheel_ = std::make_unique<timer_wheel>(now);
  const time_point before = wheel_->next_expiry();
  wheel_->insert(t, deadline);
  return deadline < before;
}

inline bool timers::disarm(timer& t) noexcept {
  lock_.lock();
  bool was_armed = false;
  if (t.due_) {
    t.due_ = false;
    expired_.remove(t);
    was_armed = true;
  } else if (wheel_ && wheel_->erase(t)) {
    was_armed = true;
  } else if (firer_ != &detail::this_thread_state()) {
    while (firing_ == &t) {
      lock_.unlock();
      detail::cpu_relax();
      lock_.lock();
    }
  }
  lock_.unlock();
  return was_armed;
}

inline time_point timers::fire(time_point now) noexcept {
  lock_.lock();
  if (wheel_ && firer_ == nullptr) {
    firer_ = &detail::this_thread_state();
    wheel_->advance(now, [this](timer_node& node) noexcept {
      static_cast<timer&>(node).due_ = true;
      expired_.push_back(node);
    });
    while (!expired_.empty()) {
      firing_ = static_cast<timer*>(expired_.pop_front());
      firing_->due_ = false;
      lock_.unlock();
      firing_->fire_(*firing_);  // only this thread writes firing_ while it is the firer
      lock_.lock();
      firing_ = nullptr;
    }
    firer_ = nullptr;
  }
  const time_point due = next_locked();
  lock_.unlock();
  return due;
}

}  // namespace troupe

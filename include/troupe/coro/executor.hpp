// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The seam between coroutines and who runs them: the abstract owner of threads, clock, timers and
/// random numbers.
///
/// Layer: coro, because every coroutine knows its home; the executors themselves are in exec/.

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/blocking_threads.hpp>
#include <troupe/coro/dedicated_thread.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/timers.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// Who runs coroutines. A user's own event loop becomes one by implementing `post` and the three
/// pure functions here, by running what was posted with `run_here`, and by calling `fire_timers`
/// when the time given to `wake_at` has come. A loop that runs only while somebody drives it also
/// implements `drive` and `driven_by_waiting`.
///
/// An executor outlives everything that was posted to it and every timer armed on it. The loop
/// behind a user's executor outlives the executor, whose destructor joins threads that may still be
/// inside `post`.
class executor : public home {
public:
  virtual ~executor() {
    if (ended_ != nullptr) reap_threads(true);
  }

  /// The time by the executor's own clock; virtual under the simulator.
  virtual time_point now() const noexcept = 0;

  /// The calendar's time, for what happens at a date; it may be set back. Virtual under the
  /// simulator.
  virtual wall_time wall_now() const noexcept { return troupe::wall_now(); }

  /// The next number of the executor's random source. From any thread.
  virtual std::uint64_t random() noexcept = 0;

  /// Asks that `fire_timers` be called at `t`, or soon after. A later call with an earlier time
  /// replaces an earlier request. From any thread.
  virtual void wake_at(time_point t) noexcept = 0;

  /// Keeps this thread busy until `w.done()`: runs the loop if the loop is this thread's to run,
  /// else blocks. One that finds that nothing can run any more may return before; `stuck` is called
  /// then.
  virtual void drive(waiter& w) noexcept { w.wait(); }

  /// The error for what waits in a `drive` that has returned too early.
  virtual std::exception_ptr stuck() noexcept {
    return std::make_exception_ptr(error(errc::deadlock));
  }

  /// For the library: what simulates, where something does.
  virtual detail::simulation* simulated() noexcept { return nullptr; }

  /// Runs `r`, which may block, away from the executor's threads. Throws if no thread can be had.
  virtual void offload(runnable& r) { blocking().run(r); }

  /// A new thread that runs only what is posted to the returned home, one at a time, for a worker
  /// that blocks. Throws if no thread can be had. `end_thread` gives it back, from any thread, with
  /// nothing posted any more; the thread ends after what it is running.
  virtual home& begin_thread() {
    reap_threads(false);
    return *new detail::dedicated_thread(*this);
  }
  inline virtual void end_thread(home& h) noexcept;

  /// True if this executor makes progress only while a thread drives it: what waits for it calls
  /// `drive` instead of blocking.
  virtual bool driven_by_waiting() const noexcept { return false; }

  void arm(timer& t, time_point deadline) {
    if (timers_.arm(t, now(), deadline)) wake_at(deadline);
  }
  bool disarm(timer& t) noexcept { return timers_.disarm(t); }

  executor& base() noexcept final { return *this; }

protected:
  executor() = default;

  /// Fires what is due; returns when the next is due, `max()`: none is armed.
  time_point fire_timers() noexcept { return timers_.fire(now()); }
  time_point next_timer() const noexcept { return timers_.next(); }

  /// Runs `r`, and all that it makes ready to go on at once, on this thread. A loop of the user's
  /// runs what was posted by this, never by `r.run()`.
  void run_here(runnable& r) noexcept;

  /// From now on `sync_wait` on this thread drives this executor, until `unbind_thread` on the same
  /// thread: for a loop that runs only while this thread drives it. One per thread at a time.
  void bind_thread() noexcept {
    detail::thread_state& state = detail::this_thread_state();
    TROUPE_ASSERT(state.bound == nullptr, "a thread has one executor that it drives at a time");
    state.bound = this;
  }
  void unbind_thread() noexcept { detail::this_thread_state().bound = nullptr; }

private:
  detail::blocking_threads& blocking() {
    const spin_guard guard(blocking_lock_);
    if (!blocking_) blocking_ = std::make_unique<detail::blocking_threads>();
    return *blocking_;
  }

  void reap_threads(bool all) noexcept;

  timers timers_;
  spin_lock blocking_lock_;  // guards the two below
  std::unique_ptr<detail::blocking_threads> blocking_;
  detail::dedicated_thread* ended_ = nullptr;  // threads given back, to be joined
};

inline void executor::end_thread(home& h) noexcept {
  auto& thread = static_cast<detail::dedicated_thread&>(h);
  {
    const spin_guard guard(blocking_lock_);
    thread.next_ended = ended_;
    ended_ = &thread;
  }
  thread.end();
}

namespace detail {

inline simulation* simulation_here() noexcept {
  executor* const bound = this_thread_state().bound;
  return bound != nullptr ? bound->simulated() : nullptr;
}

}  // namespace detail

/// The loop may be inside a step already, where that blocks: what it has left to do stays its own.
inline void executor::run_here(runnable& r) noexcept {
  detail::thread_state& state = detail::this_thread_state();
  home* const outer_loop = std::exchange(state.loop, this);
  detail::frame* const outer_frame = std::exchange(state.running, nullptr);
  const bool outer_may_block = std::exchange(state.may_block, false);
  runnable* const outer_first = std::exchange(state.next_first, nullptr);
  runnable* const outer_last = std::exchange(state.next_last, nullptr);
  std::optional<detail::shelved_record> outer_record;
  if (detail::shelved_record::shows_something(state.record)) outer_record.emplace(state.record);
  const bool outer_active = detail::begin_activity(state);
  detail::safepoint(state);
  detail::run_step(state, r);
  if (!outer_active) detail::end_activity(state);
  state.loop = outer_loop;
  state.running = outer_frame;
  state.may_block = outer_may_block;
  state.next_first = outer_first;
  state.next_last = outer_last;
}

/// Joins the threads that were given back: those that have finished, or all of them.
inline void executor::reap_threads(bool all) noexcept {
  detail::dedicated_thread* finished = nullptr;
  {
    const spin_guard guard(blocking_lock_);
    for (detail::dedicated_thread** link = &ended_; *link != nullptr;) {
      detail::dedicated_thread* const thread = *link;
      if (!all && !thread->finished()) {
        link = &thread->next_ended;
        continue;
      }
      *link = thread->next_ended;
      thread->next_ended = finished;
      finished = thread;
    }
  }
  while (finished != nullptr) {
    detail::dedicated_thread* const thread = finished;
    finished = thread->next_ended;
    delete thread;
  }
}

}  // namespace troupe

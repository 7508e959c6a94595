// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where a coroutine continues (`home`), and how a thread waits for what others do (`waiter`).
///
/// Layer: coro. Allocates nothing, never throws.

#include <troupe/coro/runnable.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/parker.hpp>

namespace troupe {

class executor;

/// Where a coroutine is resumed: an executor, or a worker's turn, which serialises what it resumes.
class home {
public:
  home(const home&) = delete;
  home& operator=(const home&) = delete;

  /// Makes `r` ready. From any thread.
  virtual void post(runnable& r) noexcept = 0;

  /// Makes `r` ready, called where this thread is about to return to its loop: `r` may be what the
  /// loop runs next. From any thread.
  virtual void resume(runnable& r) noexcept {
    if (detail::this_thread_state().loop == this) return detail::run_next(r);
    post(r);
  }

  /// Makes `r` ready to run beside the caller; an idle thread is woken for it. From any thread.
  virtual void fork(runnable& r) noexcept { post(r); }

  /// Makes `r` ready behind all that waits already. From any thread.
  virtual void yield(runnable& r) noexcept { post(r); }

  /// False if nothing waits for the calling thread, so that a coroutine may as well go on.
  virtual bool others_wait() const noexcept { return true; }

  /// True if what is made ready here never runs beside each other.
  virtual bool serial() const noexcept { return false; }

  /// Where the children of a coroutine at home here start: the same place, or the pool behind it.
  virtual home& children() noexcept { return *this; }

  /// Clock, timers and random numbers.
  virtual executor& base() noexcept = 0;

protected:
  home() = default;
  ~home() = default;
};

namespace detail {

/// What one step of a loop runs, at most, of what is left by `run_next`, before others are served.
inline constexpr int left_limit = 64;

/// One step of a loop: runs `r` and what it leaves behind. Two coroutines that complete each other
/// for ever do not keep the loop: after a while what is left goes to the end of the queue.
inline void run_step(thread_state& state, runnable& r) noexcept {
  r.run();
  state.running = nullptr;  // that coroutine may be gone
  for (int i = 0; state.next_first != nullptr; ++i) {
    runnable& next = *state.next_first;
    state.next_first = next.next;
    if (state.next_first == nullptr) state.next_last = nullptr;
    if (i < left_limit || state.loop == nullptr) {
      next.run();
      state.running = nullptr;
    } else {
      state.loop->yield(next);
    }
  }
}

}  // namespace detail

/// Lets one thread wait for something that another brings about.
///
/// `notify` is the last touch of the notifier: the waiter may be destroyed once `done` is true.
class waiter {
public:
  waiter() = default;
  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;
  ~waiter() {
    while (notifying_.load(detail::order::acquire)) detail::cpu_relax();
  }

  bool done() const noexcept { return done_.load(detail::order::acquire); }

  void notify() noexcept {
    notifying_.store(true, detail::order::relaxed);
    done_.store(true, detail::order::release);  // pairs with the load in `done`
    parker_.unpark();
    notifying_.store(false, detail::order::release);  // pairs with the load in the destructor
  }

  /// Blocks this thread until `notify`.
  void wait() noexcept {
    while (!done()) parker_.park();
  }

private:
  detail::atomic<bool> done_{false};       // false: not yet; true: for good
  detail::atomic<bool> notifying_{false};  // true while `notify` still touches this object
  parker parker_;
};

}  // namespace troupe

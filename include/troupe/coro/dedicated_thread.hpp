// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A thread of its own for a worker that blocks (`placement::own_thread`).
///
/// Layer: coro. The constructor starts a thread; nothing else allocates or throws.

#include <thread>

#include <troupe/coro/home.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/parker.hpp>

namespace troupe::detail {

/// Runs what is posted to it, in order, on its own thread, until `end`.
///
/// Owned by the executor that made it; the destructor joins the thread.
class dedicated_thread final : public home {
public:
  explicit dedicated_thread(executor& base)
      : base_(base), thread_(start_thread<&dedicated_thread::loop>(*this)) {}
  ~dedicated_thread() { thread_.join(); }

  void post(runnable& r) noexcept override {
    posting_.fetch_add(1, order::relaxed);
    runnable* newest = newest_.load(order::relaxed);
    do {
      r.next = newest;
    } while (!newest_.compare_exchange_weak(newest, &r, order::release, order::relaxed));
    parker_.unpark();
    posting_.fetch_sub(1, order::release);  // last touch; pairs with the load in `finished`
  }

  executor& base() noexcept override { return base_; }

  /// Ends the thread once all that was posted has run. Does not wait.
  void end() noexcept {
    posting_.fetch_add(1, order::relaxed);
    ending_.store(true, order::release);
    parker_.unpark();
    posting_.fetch_sub(1, order::release);
  }

  /// True once the thread has nothing more to do: destroying this will not wait for long.
  bool finished() const noexcept { return finished_.load(order::acquire); }

  /// The link of the owner's list of ended threads.
  dedicated_thread* next_ended = nullptr;

private:
  void loop() noexcept;
  runnable* take_all() noexcept;

  executor& base_;
  parker parker_;
  atomic<runnable*> newest_{nullptr};  // nullptr: nothing posted; else the newest, linked to older
  atomic<bool> ending_{false};         // true: end when nothing is left
  atomic<bool> finished_{false};       // true: the loop has ended and nobody is inside `post`
  atomic<unsigned> posting_{0};        // how many threads are inside `post` or `end`
  std::thread thread_;                 // last: starts when all the rest is there
};

/// What was posted, oldest first.
inline runnable* dedicated_thread::take_all() noexcept {
  runnable* newest = newest_.exchange(nullptr, order::acquire);  // pairs with the CAS in `post`
  runnable* oldest = nullptr;
  while (newest != nullptr) {
    runnable* const older = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = older;
  }
  return oldest;
}

inline void dedicated_thread::loop() noexcept {
  thread_state& state = this_thread_state();
  state.loop = this;
  state.may_block = true;
  begin_activity(state);
  for (;;) {
    const bool ending = ending_.load(order::acquire);
    runnable* oldest = take_all();
    if (oldest == nullptr) {
      if (ending) break;
      end_activity(state);
      parker_.park();
      begin_activity(state);
      continue;
    }
    while (oldest != nullptr) {
      safepoint(state);
      runnable* const r = oldest;
      oldest = r->next;
      run_step(state, *r);
    }
  }
  while (posting_.load(order::acquire) != 0) cpu_relax();
  state.loop = nullptr;
  end_activity(state);
  finished_.store(true, order::release);
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A moment in which the threads that run coroutines stand still, between two of their steps.
///
/// Layer: coro. Lives on the stack of whoever wants to look.

#include <troupe/coro/executor.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/thread_state.hpp>

namespace troupe::detail {

/// While it stands, no thread begins a step, for 100 ms at most; the calling thread counts as one
/// that pauses. A thread that is inside a step when it is made, and does not come out of it in that
/// time, runs on: what is looked at needs the locks it needs at any time.
///
/// A simulation has one thread, and nothing to wait for.
class paused_threads {
public:
  explicit paused_threads(executor& e) noexcept : pauses_(e.simulated() == nullptr) {
    if (pauses_) thread_list::instance().begin_pause(this_thread_state().record);
  }
  paused_threads(const paused_threads&) = delete;
  paused_threads& operator=(const paused_threads&) = delete;
  ~paused_threads() {
    if (pauses_) thread_list::instance().end_pause();
  }

private:
  const bool pauses_;
};

}  // namespace troupe::detail

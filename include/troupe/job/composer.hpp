// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `composer`: sees to it that what is due happens.
///
/// Layer: job.

#include <chrono>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/job/job_tasks.hpp>
#include <troupe/job/schedule.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// Any number may run, in any processes, and come and go: what they know is in the network.
/// Without any, delayed and scheduled jobs do not start, and jobs of lost instruments wait.
/// Whatever fails, it goes on, after a while.
///
/// Runs on the executor of the network, which outlives it. Its destructor waits, so it is destroyed
/// on a thread that may block, or after `stop`.
class composer {
public:
  explicit composer(network& over)
      : on_(over.runs_on()),
        store_(over.jobs()),
        schedules_(store_, on_),
        tasks_(on_),
        ending_(stop()) {
    tasks_.spawn(tend());
  }
  composer(const composer&) = delete;
  composer& operator=(const composer&) = delete;
  ~composer() {
    if (!has_stopped_) detail::block_on(std::move(ending_), &on_);
  }

  /// Awaited by one coroutine at a time.
  [[nodiscard]] task<> stop() { return stop(tasks_.join()); }

private:
  task<> stop(task<> joined) {
    schedules_.close();
    tasks_.stop();
    co_await std::move(joined);
    has_stopped_ = true;
  }
  task<> tend() {
    backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(5)});
    bool has_schedules = false;
    while (!tasks_.is_stopping()) {
      bool is_well = false;
      try {
        if (!has_schedules) tasks_.spawn(schedules_.run());
        has_schedules = true;
        co_await round();
        is_well = true;
      } catch (...) {
        // The network cannot be reached, there is no memory, or this is to stop.
      }
      if (is_well) {
        patience.reset();
        continue;
      }
      try {
        co_await sleep_for(patience.next(on_.random()));
      } catch (...) {
      }
      co_await yield();
    }
  }

  /// Does what is due, and waits until there is more.
  task<> round() {
    const time_point next = co_await store_.sweep();
    const duration left = next == never ? endless : next - on_.now();
    if (left <= duration::zero()) {
      co_await yield();
      co_return;
    }
    auto waiting = as_result(within(store_.due_before(next), left));
    const troupe::result<void> waited = co_await std::move(waiting);
    if (waited.code() != make_error_code(errc::timed_out)) waited.value();
  }

  executor& on_;
  job_store& store_;
  detail::schedule_keeper schedules_;
  detail::job_tasks tasks_;
  task<> ending_;  // made when there is memory, for the destructor
  bool has_stopped_ = false;
};

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `composer`: sees to it that what is due happens.
///
/// Layer: job.

#include <chrono>
#include <exception>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/job/schedule.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// Tasks that run on an executor for as long as their owner lives. What they throw is nobody's.
class job_tasks final : public task_scope {
public:
  explicit job_tasks(executor& on) noexcept : task_scope(on, &job_tasks::forget) {}

private:
  static void forget(task_scope&, std::exception_ptr) noexcept {}
};

}  // namespace detail

/// Any number may run, in any processes, and come and go: what they know is in the network.
/// Without any, delayed and scheduled jobs do not start, and jobs of lost instruments wait.
///
/// Runs on the executor of the network, which outlives it. Its destructor waits, so it is destroyed
/// on a thread that may block, or after `stop`.
class composer {
public:
  explicit composer(network& over)
      : on_(over.runs_on()), store_(over.jobs()), schedules_(store_, on_), tasks_(on_) {
    tasks_.spawn(tend());
    tasks_.spawn(schedules_.run());
  }
  composer(const composer&) = delete;
  composer& operator=(const composer&) = delete;
  ~composer() {
    if (!has_stopped_) detail::block_on(stop(), &on_);
  }

  /// Awaited by one coroutine at a time.
  [[nodiscard]] task<> stop() {
    schedules_.close();
    tasks_.request_stop();
    co_await tasks_.join();
    has_stopped_ = true;
  }

private:
  task<> tend() {
    backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(5)});
    for (;;) {
      auto sweeping = as_result(store_.sweep());
      const troupe::result<time_point> next = co_await std::move(sweeping);
      if (next.has_value()) {
        patience.reset();
      } else {
        co_await sleep_for(patience.next(on_.random()));
        continue;
      }
      auto waiting = as_result(wait_until(*next));
      const troupe::result<void> waited = co_await std::move(waiting);
      if (waited.code() == make_error_code(errc::cancelled)) co_return;
    }
  }
  task<> wait_until(time_point t) {
    if (t == never) {
      co_await store_.due_before(t);
    } else {
      co_await within(store_.due_before(t), t - on_.now());
    }
  }

  executor& on_;
  job_store& store_;
  detail::schedule_keeper schedules_;
  detail::job_tasks tasks_;
  bool has_stopped_ = false;
};

}  // namespace troupe

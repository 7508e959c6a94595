// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What runs on behalf of an instrument or a composer, for as long as that lives.
///
/// Layer: job.

#include <exception>

#include <troupe/coro/executor.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// Tasks that start at a home of their own, below nobody. What they throw is nobody's.
class job_tasks final : public task_scope {
public:
  explicit job_tasks(home& at) noexcept : task_scope(at, &job_tasks::forget) {}

  /// Asks them to stop, for good. `is_stopping` is true before any of them hears of it.
  void stop() noexcept {
    stopping_.store(true, order::release);
    request_stop();
  }
  bool is_stopping() const noexcept { return stopping_.load(order::acquire); }

private:
  static void forget(task_scope&, std::exception_ptr) noexcept {}

  atomic<bool> stopping_{false};  // release: who was woken by the stop sees it
};

/// A thread that runs nothing else, given back when this goes. Timers reach it also while all
/// threads of its executor are busy.
class own_thread {
public:
  /// Throws where no thread can be had.
  explicit own_thread(executor& of) : of_(of), is_(of.begin_thread()) {}
  own_thread(const own_thread&) = delete;
  own_thread& operator=(const own_thread&) = delete;
  ~own_thread() { of_.end_thread(is_); }

  home& where() const noexcept { return is_; }

private:
  executor& of_;
  home& is_;
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_queue`: what waits to be asked with the next call of a function.
///
/// Layer: adapter. While a call is under way, what comes is gathered here, and goes out in one:
/// that is where the throughput comes from. Guarded by the lock of the store.

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_job_ask.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

using redis_job_asks = std::vector<redis_job_ask_ptr>;

/// Thread safety: none but by the lock.
class redis_job_queue {
public:
  static constexpr std::size_t most = 128;                         // in one call
  static constexpr std::size_t most_bytes = std::size_t{1} << 20;  // in one call, but for one alone

  redis_job_queue() = default;
  redis_job_queue(const redis_job_queue&) = delete;
  redis_job_queue& operator=(const redis_job_queue&) = delete;
  ~redis_job_queue() {
    while (redis_job_ask* const a = asks_.pop_front()) release(a);
  }

  void push(redis_job_ask& a) noexcept {
    add_ref(&a);
    bytes_ += a.size();
    a.is_queued = true;
    asks_.push_back(a);
  }
  [[nodiscard]] bool empty() const noexcept { return asks_.empty(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// One that waits here has grown, or shrunk.
  void resized(std::size_t before, std::size_t after) noexcept { bytes_ += after - before; }

  /// Puts the oldest into `to`, which has room for `most`. Those that were left are dropped.
  void take(redis_job_asks& to) noexcept {
    std::size_t size = 0;
    while (to.size() != most) {
      redis_job_ask* const a = asks_.pop_front();
      if (a == nullptr) return;
      size += a->size();
      if (size > most_bytes && !to.empty()) return asks_.push_front(*a);
      bytes_ -= a->size();
      redis_job_ask_ptr owned(a, adopt_ref);
      a->is_queued = false;
      if (!a->is_left() && !a->is_settled()) to.push_back(std::move(owned));
    }
  }

  /// Fails those that were asked before `t` and are not patient, or all.
  void fail(time_point t, bool all, errc code, const std::string& why, served_queue& served) {
    forward_queue<redis_job_ask, &redis_job_ask::next> rest;
    while (redis_job_ask* const a = asks_.pop_front()) {
      const bool fails = all || (!a->is_patient && a->asked_at <= t);
      if (!fails) {
        rest.push_back(*a);
        continue;
      }
      bytes_ -= a->size();
      a->is_queued = false;
      a->fail(code, why, served);
      release(a);
    }
    asks_.append(std::move(rest));
  }

private:
  forward_queue<redis_job_ask, &redis_job_ask::next> asks_;  // oldest first; each with a reference
  std::size_t bytes_ = 0;
};

/// Wakes the coroutine that makes the calls: once, however often it is rung until it looks.
///
/// Thread safety: all members from any thread.
class redis_job_bell {
public:
  void ring() noexcept {
    {
      const spin_guard guard(lock_);
      if (std::exchange(is_rung_, true)) return;
    }
    rings_.release();
  }
  auto heard() noexcept { return rings_.acquire(); }
  /// Before it looks what there is to do.
  void clear() noexcept {
    const spin_guard guard(lock_);
    is_rung_ = false;
  }

private:
  async_semaphore rings_{0};
  spin_lock lock_;
  bool is_rung_ = false;  // guarded by lock_
};

}  // namespace troupe::detail

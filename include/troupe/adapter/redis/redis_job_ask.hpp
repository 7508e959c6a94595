// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_ask`: one thing that is asked of the jobs in Redis, and who waits for its answer.
///
/// Layer: adapter. One counted block for each, shared by who asks and the store: who has stopped
/// waiting leaves it behind.

#include <coroutine>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Thread safety: `settled`, `leave` and `take` are for who asks; the others from any thread.
class redis_job_ask : public pooled {
public:
  redis_job_ask() = default;
  redis_job_ask(const redis_job_ask&) = delete;
  redis_job_ask& operator=(const redis_job_ask&) = delete;

  /// Awaited, returns when there is an outcome. A stop request ends the wait.
  [[nodiscard("nothing is awaited")]] inline auto settled() noexcept;

  /// Nobody waits for it any more.
  void leave() noexcept {
    const spin_guard guard(lock_);
    is_left_ = true;
  }
  [[nodiscard]] bool is_left() const noexcept {
    const spin_guard guard(lock_);
    return is_left_;
  }
  [[nodiscard]] bool is_settled() const noexcept {
    const spin_guard guard(lock_);
    return is_settled_;
  }

  /// The first outcome counts. Who waits for it is put into `served`.
  void settle(char letter, std::uint64_t n, served_queue& served) noexcept {
    const spin_guard guard(lock_);
    if (is_settled_) return;
    answer_ = letter;
    number_ = n;
    end(served);
  }
  void settle(const job_outcome& o, served_queue& served) noexcept {
    const spin_guard guard(lock_);
    if (is_settled_) return;
    outcome_ = o;
    end(served);
  }
  void fail(errc code, std::string why, served_queue& served) noexcept {
    const spin_guard guard(lock_);
    if (is_settled_) return;
    failure_ = code;
    why_.swap(why);
    end(served);
  }

  /// Once it is settled: a letter of the library, and a number.
  std::pair<char, std::uint64_t> take() {
    throw_failure();
    return {answer_, number_};
  }
  job_outcome take_outcome() {
    throw_failure();
    return std::move(outcome_);
  }

  friend void add_ref(redis_job_ask* a) noexcept { a->owners_.fetch_add(1, order::relaxed); }
  friend void release(redis_job_ask* a) noexcept {
    // Pairs with itself: every owner's last look happens before the deletion.
    if (a->owners_.fetch_sub(1, order::acq_rel) == 1) delete a;
  }

  // What travels: written before it is queued, but the progress of a job, which is written under
  // the lock of the store while it waits there.
  std::string head;
  shared_bytes first;
  shared_bytes second;
  std::uint8_t width = 1;  // how many of the three travel

  bool is_patient = false;  // it waits for as long as there is no connection
  bool awaits_end = false;  // of a job: its answer is not the last word
  std::uint64_t job = 0;    // whose end or news it waits for; guarded by the lock of the store
  time_point asked_at{};
  redis_job_ask* next = nullptr;  // in a queue of the store, which holds a reference
  bool is_queued = false;         // guarded by the lock of the store: it is in one

  [[nodiscard]] std::size_t size() const noexcept {
    return head.size() + first.size() + second.size();
  }

private:
  class awaiter;
  class operation;

  void end(served_queue& served) noexcept {  // under the lock
    is_settled_ = true;
    if (wait_node* const asker = waiting_.pop_front()) served.push_back(asker->coroutine());
  }
  void throw_failure() {
    if (failure_ != errc{}) throw error(failure_, {}, std::move(why_));
  }

  atomic<std::uint32_t> owners_{1};
  mutable spin_lock lock_;  // guards all below; what has been settled is written to no more
  wait_list waiting_;       // who asks, while he waits
  bool is_settled_ = false;
  bool is_left_ = false;
  char answer_ = 0;
  errc failure_{};
  std::uint64_t number_ = 0;
  std::string why_;
  job_outcome outcome_;
};

using redis_job_ask_ptr = intrusive_ptr<redis_job_ask>;

inline redis_job_ask_ptr make_redis_job_ask() {
  return redis_job_ask_ptr(new redis_job_ask(), adopt_ref);
}

class redis_job_ask::awaiter : private wait_node {
public:
  awaiter(redis_job_ask& a, frame& f) noexcept : wait_node(a.lock_, f), ask_(a) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) {
    return wait(*this, ask_.waiting_, [&a = ask_]() noexcept { return a.is_settled_; });
  }
  void await_resume() { end_wait(); }

private:
  redis_job_ask& ask_;
};

class redis_job_ask::operation {
public:
  explicit operation(redis_job_ask& a) noexcept : ask_(a) {}
  awaiter await_by(frame& f) && noexcept { return awaiter(ask_, f); }

private:
  redis_job_ask& ask_;
};

inline auto redis_job_ask::settled() noexcept { return operation(*this); }

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_call`: a command on its way, and the coroutine that waits for its answer.
///
/// Layer: adapter. One counted block for each command, shared by who asks and the link: who has
/// stopped waiting leaves it behind, and the answer that comes for it is dropped.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What a call waits for.
enum class redis_wish : std::uint8_t {
  answer,      // to its command; a failure is thrown
  any_answer,  // the same, but a failure is an answer
  nothing,     // its command is sent, and that is all
  channels     // until all channels are subscribed; it has no command
};

/// Thread safety: `settled`, `leave` and `take` are for who asks; `begin`, `settle`, `fail` and the
/// public members for the link's thread.
class redis_call {
public:
  redis_call(redis_wish w, redis_command c) : wish(w), command(std::move(c)) {}
  redis_call(const redis_call&) = delete;
  redis_call& operator=(const redis_call&) = delete;

  /// Awaited, returns when there is an outcome. A stop request ends the wait.
  [[nodiscard("nothing is awaited")]] inline auto settled() noexcept;

  /// Where it was when its asker left it.
  enum class stage : std::uint8_t { waiting, sent, settled };
  /// Nobody waits for it any more. What has been settled can still be taken.
  stage leave() noexcept {
    const spin_guard guard(lock_);
    left_ = true;
    return stage_;
  }
  /// Once it is settled: its answer, or throws what has come instead.
  redis_reply take() {
    if (failure_ != errc{}) throw error(failure_, {}, std::move(why_));
    return std::move(reply_);
  }

  /// It is sent now. False: nobody wants it any more, and it never is.
  [[nodiscard]] bool begin() noexcept {
    const spin_guard guard(lock_);
    if (left_) return false;
    stage_ = stage::sent;
    return true;
  }

  /// The first outcome counts. Who waits for it is put into `served`.
  void settle(redis_reply r, served_queue& served) noexcept {
    const spin_guard guard(lock_);
    if (stage_ == stage::settled) return;
    std::swap(reply_, r);
    end(served);
  }
  void fail(errc code, std::string why, served_queue& served) noexcept {
    const spin_guard guard(lock_);
    if (stage_ == stage::settled) return;
    failure_ = code;
    why_.swap(why);
    end(served);
  }

  friend void add_ref(redis_call* c) noexcept { c->owners_.fetch_add(1, order::relaxed); }
  friend void release(redis_call* c) noexcept {
    // Pairs with itself: every owner's last look happens before the deletion.
    if (c->owners_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  const redis_wish wish;
  redis_command command;        // the link's, from the time it has the call
  redis_call* next = nullptr;   // in a queue of the link, which holds a reference
  time_point deadline = never;  // written by the link when it takes the call
  time_point sent_at{};

private:
  class awaiter;
  class operation;

  void end(served_queue& served) noexcept {  // under the lock
    stage_ = stage::settled;
    if (wait_node* const asker = waiting_.pop_front()) served.push_back(asker->coroutine());
  }

  atomic<std::uint32_t> owners_{1};
  spin_lock lock_;     // guards all below; what has been settled is written to no more
  wait_list waiting_;  // who asks, while he waits
  stage stage_ = stage::waiting;
  bool left_ = false;
  errc failure_{};
  std::string why_;
  redis_reply reply_;
};

class redis_call::awaiter : private wait_node {
public:
  awaiter(redis_call& c, frame& f) noexcept : wait_node(c.lock_, f), call_(c) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) {
    return wait(*this, call_.waiting_,
                [&c = call_]() noexcept { return c.stage_ == stage::settled; });
  }
  void await_resume() { end_wait(); }

private:
  redis_call& call_;
};

class redis_call::operation {
public:
  explicit operation(redis_call& c) noexcept : call_(c) {}
  awaiter await_by(frame& f) && noexcept { return awaiter(call_, f); }

private:
  redis_call& call_;
};

inline auto redis_call::settled() noexcept { return operation(*this); }

}  // namespace troupe::detail

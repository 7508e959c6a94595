// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `async_semaphore`: at most so many coroutines at once.
///
/// Layer: coro. The place in line is in the waiting coroutine's frame. A permit that is free is
/// taken without suspending.

#include <coroutine>
#include <cstddef>

#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// Hands out permits, in the order in which coroutines ask for them.
///
/// Nobody owns a permit: any coroutine or thread may release one, also without having acquired it.
/// Destroying a semaphore that coroutines wait for is a broken precondition.
///
/// Thread safety: all members but the destructor from any thread.
class async_semaphore {
public:
  explicit async_semaphore(std::size_t permits) noexcept : permits_(permits) {}
  async_semaphore(const async_semaphore&) = delete;
  async_semaphore& operator=(const async_semaphore&) = delete;
  ~async_semaphore() {
    TROUPE_ASSERT(waiting_.empty(),
                  "an async_semaphore was destroyed while coroutines wait for it");
  }

  /// Awaited, takes a permit. A stop request ends the wait, which then throws `errc::cancelled`;
  /// where there is nothing to wait for, the permit is given all the same.
  [[nodiscard("nothing is acquired until this is awaited")]] auto acquire() noexcept;

  /// Takes a permit if there is one.
  [[nodiscard("true: a permit was taken, and is to be released")]] bool try_acquire() noexcept {
    const spin_guard guard(lock_);
    return take();
  }

  /// Adds `permits`; the first go to those who have waited longest.
  void release(std::size_t permits = 1) noexcept;

  /// How many permits there were at some moment gone by.
  [[nodiscard]] std::size_t available() const noexcept {
    const spin_guard guard(lock_);
    return permits_;
  }

private:
  class awaiter;
  class operation;

  /// Under `lock_`. Who finds a permit passes nobody: then nobody waits.
  bool take() noexcept {
    if (permits_ == 0) return false;
    --permits_;
    return true;
  }

  mutable spin_lock lock_;     // guards both below
  std::size_t permits_;        // that nobody has
  detail::wait_list waiting_;  // empty unless permits_ is 0
};

class async_semaphore::awaiter : private detail::wait_node {
public:
  awaiter(async_semaphore& semaphore, detail::frame& f) noexcept
      : wait_node(semaphore.lock_, f), semaphore_(semaphore) {}

  bool await_ready() noexcept { return !spent() && semaphore_.try_acquire(); }
  bool await_suspend(std::coroutine_handle<>) {
    return wait(*this, semaphore_.waiting_,
                [&semaphore = semaphore_]() noexcept { return semaphore.take(); });
  }
  void await_resume() { end_wait(); }

private:
  async_semaphore& semaphore_;
};

class async_semaphore::operation {
public:
  explicit operation(async_semaphore& semaphore) noexcept : semaphore_(semaphore) {}
  awaiter await_by(detail::frame& f) && noexcept { return awaiter(semaphore_, f); }

private:
  async_semaphore& semaphore_;
};

inline auto async_semaphore::acquire() noexcept { return operation(*this); }

inline void async_semaphore::release(std::size_t permits) noexcept {
  detail::served_queue served;
  {
    const spin_guard guard(lock_);
    for (; permits != 0; --permits) {
      detail::wait_node* const next = waiting_.pop_front();
      if (next == nullptr) break;
      served.push_back(next->coroutine());
    }
    permits_ += permits;
  }
  detail::make_ready(served);
}

}  // namespace troupe

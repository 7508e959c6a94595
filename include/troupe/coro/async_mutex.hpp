// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `async_mutex`: mutual exclusion over suspension points. Waiting suspends the coroutine, not the
/// thread.
///
/// Layer: coro. The place in line is in the waiting coroutine's frame. A lock that is free is taken
/// without suspending.

#include <coroutine>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

class async_mutex;

/// Owns the lock of an `async_mutex`, or nothing; unlocks when destroyed.
class [[nodiscard("unlocks at the end of the full expression")]] async_lock {
public:
  async_lock() noexcept {}
  async_lock(async_lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
  async_lock& operator=(async_lock&& other) noexcept {
    async_lock(std::move(other)).swap(*this);
    return *this;
  }
  ~async_lock() {
    if (mutex_ != nullptr) unlock();
  }

  /// Hands the lock to whoever has waited longest. It must be owned.
  void unlock() noexcept;

  [[nodiscard]] bool owns_lock() const noexcept { return mutex_ != nullptr; }
  [[nodiscard]] explicit operator bool() const noexcept { return owns_lock(); }

  void swap(async_lock& other) noexcept { std::swap(mutex_, other.mutex_); }

private:
  friend class async_mutex;
  explicit async_lock(async_mutex& locked) noexcept : mutex_(&locked) {}

  async_mutex* mutex_ = nullptr;  // nullptr: owns nothing
};

/// A lock that one coroutine owns at a time, in the order in which they asked.
///
/// The owner may suspend, continue on another thread, and unlock there. Not recursive. Destroying
/// it while it is locked or waited for is a broken precondition.
///
/// Thread safety: all members but the destructor from any thread.
class async_mutex {
public:
  async_mutex() noexcept {}
  async_mutex(const async_mutex&) = delete;
  async_mutex& operator=(const async_mutex&) = delete;
  ~async_mutex() {
    TROUPE_ASSERT(waiting_.empty(), "an async_mutex was destroyed while coroutines wait for it");
    TROUPE_ASSERT(!locked_, "an async_mutex was destroyed while it is locked");
  }

  /// Awaited, gives an `async_lock` that owns this. A stop request ends the wait, which then throws
  /// `errc::cancelled`; where there is nothing to wait for, the lock is given all the same.
  [[nodiscard("nothing is locked until this is awaited")]] auto lock() noexcept;

  /// Gives an `async_lock` that owns this, or nothing if it is locked.
  async_lock try_lock() noexcept {
    const spin_guard guard(word_);
    return take() ? async_lock(*this) : async_lock();
  }

private:
  friend class async_lock;
  class awaiter;
  class operation;

  /// Under `word_`. Who finds it unlocked passes nobody: then nobody waits.
  bool take() noexcept { return !std::exchange(locked_, true); }
  void unlock() noexcept;

  spin_lock word_;             // guards both below
  bool locked_ = false;        // stays true while the lock goes from one owner to the next
  detail::wait_list waiting_;  // empty unless locked_
};

class async_mutex::awaiter : private detail::wait_node {
public:
  awaiter(async_mutex& mutex, detail::frame& f) noexcept
      : wait_node(mutex.word_, f), mutex_(mutex) {}

  bool await_ready() noexcept {
    if (spent()) return false;
    const spin_guard guard(mutex_.word_);
    return mutex_.take();
  }
  bool await_suspend(std::coroutine_handle<>) {
    return wait(*this, mutex_.waiting_, [&mutex = mutex_]() noexcept { return mutex.take(); });
  }
  async_lock await_resume() {
    end_wait();
    return async_lock(mutex_);
  }

private:
  async_mutex& mutex_;
};

class async_mutex::operation {
public:
  explicit operation(async_mutex& mutex) noexcept : mutex_(mutex) {}
  awaiter await_by(detail::frame& f) && noexcept { return awaiter(mutex_, f); }

private:
  async_mutex& mutex_;
};

inline auto async_mutex::lock() noexcept { return operation(*this); }

inline void async_mutex::unlock() noexcept {
  detail::wait_node* next = nullptr;
  {
    const spin_guard guard(word_);
    TROUPE_ASSERT(locked_, "an async_mutex was unlocked that is not locked");
    next = waiting_.pop_front();
    if (next == nullptr) locked_ = false;
  }
  if (next == nullptr) return;  // from here on the mutex may be gone
  detail::frame& f = next->coroutine();
  f.where->post(f);
}

inline void async_lock::unlock() noexcept {
  TROUPE_ASSERT(owns_lock(), "an async_lock was unlocked that owns nothing");
  std::exchange(mutex_, nullptr)->unlock();
}

}  // namespace troupe

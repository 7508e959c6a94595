// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `std::atomic` that now and then lets other threads run before it does what it is asked to,
/// behind the alias of sync/atomic.hpp: what is a race of a few instructions then shows in a short
/// run, also on a machine with one core.
///
/// Compiled with TROUPE_ATOMIC_HEADER, which replaces blocking, the pause of spinning threads and
/// the state of a thread too; jittered_atomic.cpp has the latter. Linux only.

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>

namespace troupe::model {

/// Gives the processor away, one time in sixteen.
inline void jitter() noexcept {
  static thread_local std::uint32_t state =
      static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&state) >> 4) | 1;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  if (state % 16 == 0) ::sched_yield();
}

template <class T>
class atomic : private std::atomic<T> {
  using base = std::atomic<T>;

public:
  using base::is_always_lock_free;
  using typename base::value_type;

  constexpr atomic() noexcept = default;
  constexpr atomic(T value) noexcept : base(value) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order order) const noexcept {
    jitter();
    return base::load(order);
  }
  void store(T value, std::memory_order order) noexcept {
    jitter();
    base::store(value, order);
  }
  T exchange(T value, std::memory_order order) noexcept {
    jitter();
    return base::exchange(value, order);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) noexcept {
    jitter();
    return base::compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure) noexcept {
    jitter();
    return base::compare_exchange_weak(expected, desired, success, failure);
  }
  T fetch_add(T by, std::memory_order order) noexcept {
    jitter();
    return base::fetch_add(by, order);
  }
  T fetch_sub(T by, std::memory_order order) noexcept {
    jitter();
    return base::fetch_sub(by, order);
  }
  T fetch_or(T bits, std::memory_order order) noexcept {
    jitter();
    return base::fetch_or(bits, order);
  }
  T fetch_and(T bits, std::memory_order order) noexcept {
    jitter();
    return base::fetch_and(bits, order);
  }
};

struct kernel_time {
  long seconds;
  long nanoseconds;
};

inline long futex(const void* word, int operation, std::uint32_t value,
                  const kernel_time* until) noexcept {
  return ::syscall(SYS_futex, word, operation, value, until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  futex(&word, FUTEX_WAIT_BITSET_PRIVATE, expected, nullptr);
}

inline bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected,
                             std::chrono::steady_clock::time_point deadline) noexcept {
  constexpr long long per_second = 1'000'000'000;
  const auto count = std::chrono::nanoseconds(deadline.time_since_epoch()).count();
  const kernel_time until{static_cast<long>(count / per_second),
                          static_cast<long>(count % per_second)};
  return futex(&word, FUTEX_WAIT_BITSET_PRIVATE, expected, &until) == 0 || errno != ETIMEDOUT;
}

inline void futex_wake_one(const atomic<std::uint32_t>* word) noexcept {
  futex(word, FUTEX_WAKE_PRIVATE, 1, nullptr);
}
inline void futex_wake_all(const atomic<std::uint32_t>* word) noexcept {
  futex(word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr);
}

}  // namespace troupe::model

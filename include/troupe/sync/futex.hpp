// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Blocking a thread until a word changes: the only platform code for blocking.
///
/// Layer: sync. Linux: futex(2) on absolute CLOCK_MONOTONIC, which is what `steady_clock` is there.
/// Elsewhere: sync/futex_fallback.hpp. Not `std::atomic::wait`: it has no timed form, and
/// libstdc++'s internal one polls with sleeps.
///
/// All waits may return although nobody woke them: the caller looks at the word again.
///
/// A wake-up only uses the word's address, never its content: it may be called for a word that is
/// already gone, and then wakes nobody or, spuriously, who waits at the address now.

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>

#include <chrono>
#include <cstdint>

#if !defined(TROUPE_ATOMIC_HEADER)
#  if TROUPE_FUTEX_FALLBACK
#    include <troupe/sync/futex_fallback.hpp>
#  else
#    include <linux/futex.h>
#    include <sys/syscall.h>
#    include <unistd.h>

#    include <cerrno>
#    include <climits>
#  endif
#endif

namespace troupe {

// A replacement of the atomics replaces blocking too: a checker cannot schedule sleeping threads.
#if defined(TROUPE_ATOMIC_HEADER)

using model::futex_wait;
using model::futex_wait_until;
using model::futex_wake_all;
using model::futex_wake_one;

#else

/// Blocks while `word` holds `expected`. The comparison and the falling asleep are one step for
/// whoever changes the word first and wakes then.
void futex_wait(const detail::atomic<std::uint32_t>& word, std::uint32_t expected) noexcept;

/// As `futex_wait`, but not beyond `deadline`; `never` means never. Returns false only
/// if the deadline passed.
bool futex_wait_until(const detail::atomic<std::uint32_t>& word, std::uint32_t expected,
                      std::chrono::steady_clock::time_point deadline) noexcept;

void futex_wake_one(const detail::atomic<std::uint32_t>* word) noexcept;
void futex_wake_all(const detail::atomic<std::uint32_t>* word) noexcept;

#endif

}  // namespace troupe

#if !defined(TROUPE_ATOMIC_HEADER) && TROUPE_FUTEX_FALLBACK

namespace troupe {

inline void futex_wait(const detail::atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  detail::fallback_wait(word, expected);
}

inline bool futex_wait_until(const detail::atomic<std::uint32_t>& word, std::uint32_t expected,
                             std::chrono::steady_clock::time_point deadline) noexcept {
  return detail::fallback_wait_until(word, expected, deadline);
}

inline void futex_wake_one(const detail::atomic<std::uint32_t>* word) noexcept {
  detail::fallback_wake(word);
}

inline void futex_wake_all(const detail::atomic<std::uint32_t>* word) noexcept {
  detail::fallback_wake(word);
}

}  // namespace troupe

#elif !defined(TROUPE_ATOMIC_HEADER)

namespace troupe {
namespace detail {

static_assert(sizeof(atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
                  atomic<std::uint32_t>::is_always_lock_free,
              "the kernel compares the word as a plain 32-bit number");

/// What SYS_futex reads: two machine words, also where the C library's own time is wider.
struct kernel_timespec {
  long seconds;
  long nanoseconds;
};

/// Returns 0 or an errno.
inline int futex_call(const atomic<std::uint32_t>* word, int operation, std::uint32_t value,
                      const kernel_timespec* deadline) noexcept {
  const long status = ::syscall(SYS_futex, static_cast<const void*>(word), operation, value,
                                deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
  return status >= 0 ? 0 : errno;
}

inline kernel_timespec to_kernel_time(std::chrono::steady_clock::time_point at) noexcept {
  constexpr std::chrono::nanoseconds::rep per_second = 1'000'000'000;
  const std::chrono::nanoseconds since_boot = at.time_since_epoch();
  // The kernel refuses negative times; one before the machine's start is over like any other.
  const auto count = since_boot.count() > 0 ? since_boot.count() : 0;
  return {static_cast<long>(count / per_second), static_cast<long>(count % per_second)};
}

}  // namespace detail

inline void futex_wait(const detail::atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  detail::futex_call(&word, FUTEX_WAIT_BITSET_PRIVATE, expected, nullptr);
}

inline bool futex_wait_until(const detail::atomic<std::uint32_t>& word, std::uint32_t expected,
                             std::chrono::steady_clock::time_point deadline) noexcept {
  if (deadline == (std::chrono::steady_clock::time_point::max)()) {
    futex_wait(word, expected);
    return true;
  }
  const detail::kernel_timespec until = detail::to_kernel_time(deadline);
  return detail::futex_call(&word, FUTEX_WAIT_BITSET_PRIVATE, expected, &until) != ETIMEDOUT;
}

inline void futex_wake_one(const detail::atomic<std::uint32_t>* word) noexcept {
  detail::futex_call(word, FUTEX_WAKE_PRIVATE, 1, nullptr);
}

inline void futex_wake_all(const detail::atomic<std::uint32_t>* word) noexcept {
  detail::futex_call(word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr);
}

}  // namespace troupe

#endif

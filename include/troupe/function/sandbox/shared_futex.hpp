// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Sleeping at a word that another process changes.
///
/// Layer: function. Linux. The functions of sync/futex.hpp are for words of one process alone.

#include <cerrno>
#include <climits>
#include <cstdint>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <troupe/sync/atomic.hpp>

namespace troupe::detail::sandbox {

/// What SYS_futex reads as a time.
struct futex_time {
  long seconds;
  long nanoseconds;
};

/// Blocks while `word` holds `expected`, not beyond `deadline`: nanoseconds of CLOCK_MONOTONIC, or
/// the largest value. May return early.
inline void shared_wait(const atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::int64_t deadline) noexcept {
  constexpr std::int64_t per_second = 1'000'000'000;
  const std::int64_t at = deadline < 0 ? 0 : deadline;
  const futex_time until{static_cast<long>(at / per_second), static_cast<long>(at % per_second)};
  static_cast<void>(::syscall(SYS_futex, static_cast<const void*>(&word), FUTEX_WAIT_BITSET,
                              expected, deadline == INT64_MAX ? nullptr : &until, nullptr,
                              FUTEX_BITSET_MATCH_ANY));
}

inline void shared_wake(const atomic<std::uint32_t>& word) noexcept {
  static_cast<void>(::syscall(SYS_futex, static_cast<const void*>(&word), FUTEX_WAKE, INT_MAX,
                              nullptr, nullptr, 0));
}

}  // namespace troupe::detail::sandbox

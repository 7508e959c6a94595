// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Waiting on a word where the system has no futex: a table of condition variables.
///
/// Layer: sync. The contract is the one of sync/futex.hpp, which includes this header only where it
/// is needed: platforms with a futex do not pay for <mutex>.

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace troupe::detail {

/// Where the waiters for some words sleep. Words that share a bucket wake each other spuriously.
struct futex_bucket {
  std::mutex mutex;
  std::condition_variable changed;
};

[[nodiscard]] inline futex_bucket& futex_bucket_of(const void* word) noexcept {
  constexpr std::size_t bucket_count = 64;
  static futex_bucket buckets[bucket_count];
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  // Neighbouring words of one cache line share a bucket; lines are spread by their low bits.
  return buckets[(address / cache_line_size) % bucket_count];
}

inline void fallback_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  futex_bucket& bucket = futex_bucket_of(&word);
  std::unique_lock lock(bucket.mutex);
  // Relaxed: either this lock follows the waker's, and its change is visible, or the waker's lock
  // follows the wait, and the notification arrives.
  if (word.load(order::relaxed) == expected) bucket.changed.wait(lock);
}

inline bool fallback_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected,
                                std::chrono::steady_clock::time_point deadline) noexcept {
  if (deadline == (std::chrono::steady_clock::time_point::max)()) {
    fallback_wait(word, expected);
    return true;
  }
  futex_bucket& bucket = futex_bucket_of(&word);
  std::unique_lock lock(bucket.mutex);
  if (word.load(order::relaxed) != expected) return true;  // as in fallback_wait
  return bucket.changed.wait_until(lock, deadline) == std::cv_status::no_timeout;
}

/// Wakes all that wait in the bucket: one of them might be the wrong one.
inline void fallback_wake(const atomic<std::uint32_t>* word) noexcept {
  futex_bucket& bucket = futex_bucket_of(word);
  // Taken and dropped: a waiter that compared the old value holds the lock until it sleeps, so the
  // notification cannot fall between the two.
  {
    const std::lock_guard lock(bucket.mutex);
  }
  bucket.changed.notify_all();
}

}  // namespace troupe::detail

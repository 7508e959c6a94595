// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Lets one thread sleep until another wakes it.
///
/// Layer: sync. Allocates nothing, never throws. Waking a thread that is not asleep costs one
/// atomic exchange, no system call.
/// Algorithm: the permit of java.util.concurrent's LockSupport, on a futex.

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>

#include <chrono>
#include <cstdint>

namespace troupe {

/// Holds at most one permit: `unpark` gives it, `park` waits for it and takes it.
///
/// What a thread wrote before `unpark` is visible behind the `park` that took its permit.
///
/// Thread safety: `park` and `park_until` from one thread at a time; `unpark` from any. The parker
/// may be destroyed as soon as `park` returned, even if the `unpark` that let it has not.
class parker {
public:
  parker() = default;
  parker(const parker&) = delete;
  parker& operator=(const parker&) = delete;

  /// Blocks until there is a permit.
  void park() noexcept;

  /// Blocks until there is a permit or `deadline` has passed; returns whether a permit was taken.
  bool park_until(std::chrono::steady_clock::time_point deadline) noexcept;

  void unpark() noexcept;

private:
  static constexpr std::uint32_t empty = 0;
  static constexpr std::uint32_t notified = 1;
  static constexpr std::uint32_t parked = 2;

  [[nodiscard]] bool take_permit() noexcept;
  [[nodiscard]] bool announce() noexcept;

  // empty:    no permit, nobody sleeps.
  // notified: a permit; set by unpark from any state, taken by the parking thread alone.
  // parked:   no permit, the parking thread sleeps or is about to; set by that thread alone.
  detail::atomic<std::uint32_t> word_{empty};
};

inline bool parker::take_permit() noexcept {
  std::uint32_t expected = notified;
  return word_.compare_exchange_strong(expected, empty, detail::order::acquire,  // with unpark
                                       detail::order::relaxed);
}

/// empty -> parked, or takes the permit that came first and returns false.
inline bool parker::announce() noexcept {
  if (take_permit()) return false;
  std::uint32_t expected = empty;
  if (word_.compare_exchange_strong(expected, parked, detail::order::relaxed,
                                    detail::order::relaxed)) {
    return true;
  }
  word_.exchange(empty, detail::order::acquire);  // pairs with unpark, which came in between
  return false;
}

inline void parker::park() noexcept {
  if (!announce()) return;
  do {
    futex_wait(word_, parked);
  } while (!take_permit());
}

inline bool parker::park_until(std::chrono::steady_clock::time_point deadline) noexcept {
  if (!announce()) return true;
  while (futex_wait_until(word_, parked, deadline)) {
    if (take_permit()) return true;
  }
  // A permit that arrived with the deadline is taken: it must not wake the next park.
  return word_.exchange(empty, detail::order::acquire) == notified;  // pairs with unpark
}

inline void parker::unpark() noexcept {
  // After the exchange this object may be gone; only its address is used.
  const detail::atomic<std::uint32_t>* const word = &word_;
  const std::uint32_t before =
      word_.exchange(notified, detail::order::release);  // pairs with take_permit and announce
  if (before == parked) futex_wake_one(word);
}

}  // namespace troupe

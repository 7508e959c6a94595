// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// For how long a caller looks for its reply, awake, before it sleeps.
///
/// Layer: function. Numbers alone; knows no clock.

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail::sandbox {

/// A look that was in vain makes the next ones shorter: the child may need this very core. Now and
/// then one is long again nevertheless: a child that needs a little longer than the shortest look
/// would be slept for until the end of time, because some calls once took longer.
///
/// Thread safety: all members from any thread. What they know is a hint, and no order matters.
class look_length {
public:
  static constexpr duration longest = std::chrono::microseconds(40);
  static constexpr duration shortest = std::chrono::microseconds(1);
  /// So many sleeps in a row, and the next look is the longest.
  static constexpr std::uint32_t try_again_after = 8;

  /// Of a caller whose child is awake.
  duration next() noexcept {
    if (slept_.load(order::relaxed) < try_again_after) return duration(now_.load(order::relaxed));
    slept_.store(0, order::relaxed);
    return longest;
  }
  /// It has looked for so long at most, and has not slept.
  void was_met(duration looked) noexcept {
    slept_.store(0, order::relaxed);
    set((std::min)(2 * looked, longest));
  }
  /// It has looked for so long, and has slept.
  void was_in_vain(duration looked) noexcept {
    slept_.fetch_add(1, order::relaxed);
    // A trial that fails changes nothing.
    set((std::max)((std::min)(looked, duration(now_.load(order::relaxed))) / 2, shortest));
  }

private:
  void set(duration d) noexcept { now_.store(d.count(), order::relaxed); }

  atomic<duration::rep> now_{duration(longest).count()};
  atomic<std::uint32_t> slept_{0};  // in a row
};

}  // namespace troupe::detail::sandbox

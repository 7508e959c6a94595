// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The words for time. The library reads its clocks in one place; everything else is told the time.
///
/// Layer: time.

#include <chrono>
#include <type_traits>

namespace troupe {

using duration = std::chrono::nanoseconds;

/// A moment of the injected clock; `never` does not come.
using time_point = std::chrono::steady_clock::time_point;

/// A moment of the calendar, in UTC without leap seconds. Unlike a `time_point` it may be set back.
using wall_time = std::chrono::sys_time<duration>;

/// The moment that does not come. (The parentheses are for those who define `min` and `max` as
/// macros.)
inline constexpr time_point never = (time_point::max)();

/// A time that does not pass.
inline constexpr duration endless = (duration::max)();

static_assert(std::is_same_v<time_point::duration, duration>,
              "the timer wheel counts in nanoseconds");

/// The only call of the real clock in the library ...
[[nodiscard]] inline time_point steady_now() noexcept { return std::chrono::steady_clock::now(); }

/// ... and of the one that people set. What follows the calendar asks its executor.
[[nodiscard]] inline wall_time wall_now() noexcept {
  return std::chrono::time_point_cast<duration>(std::chrono::system_clock::now());
}

/// `at + by`, but not beyond the ends of time; never plus anything is never.
[[nodiscard]] constexpr time_point saturating_add(time_point at, duration by) noexcept {
  if (at == never) return at;
  if (by > duration::zero() && at > never - by) return never;
  if (by < duration::zero() && at < (time_point::min)() - by) return (time_point::min)();
  return at + by;
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The words for time. The library reads the clock in one place; everything else is told the time.
///
/// Layer: time.

#include <chrono>
#include <type_traits>

namespace troupe {

using duration = std::chrono::nanoseconds;

/// A moment of the injected clock; `never` does not come.
using time_point = std::chrono::steady_clock::time_point;

/// The moment that does not come. (The parentheses are for those who define `min` and `max` as
/// macros.)
inline constexpr time_point never = (time_point::max)();

/// A time that does not pass.
inline constexpr duration endless = (duration::max)();

static_assert(std::is_same_v<time_point::duration, duration>,
              "the timer wheel counts in nanoseconds");

/// The only call of the real clock in the library.
[[nodiscard]] inline time_point steady_now() noexcept { return std::chrono::steady_clock::now(); }

/// `at + by`, but not beyond the ends of time; never plus anything is never.
[[nodiscard]] constexpr time_point saturating_add(time_point at, duration by) noexcept {
  if (at == never) return at;
  if (by > duration::zero() && at > never - by) return never;
  if (by < duration::zero() && at < (time_point::min)() - by) return (time_point::min)();
  return at + by;
}

}  // namespace troupe

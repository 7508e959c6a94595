// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Vector clocks: what a virtual thread knows of the others' steps (C. Fidge, ACSC 1988; F.
/// Mattern, PDAA 1989).

#include <algorithm>
#include <cstdint>

namespace troupe::model {

/// Virtual threads of one execution, at most, the main one included.
inline constexpr unsigned max_threads = 5;

struct clock {
  std::uint32_t at[max_threads] = {};

  void join(const clock& other) noexcept {
    for (unsigned i = 0; i != max_threads; ++i) at[i] = std::max(at[i], other.at[i]);
  }

  /// True if every step in `other` happens before whoever has this clock.
  bool covers(const clock& other) const noexcept {
    for (unsigned i = 0; i != max_threads; ++i) {
      if (other.at[i] > at[i]) return false;
    }
    return true;
  }

  /// True if one of the steps in `others` (0: none of that thread) happens before.
  bool knows_one_of(const clock& others) const noexcept {
    for (unsigned i = 0; i != max_threads; ++i) {
      if (others.at[i] != 0 && others.at[i] <= at[i]) return true;
    }
    return false;
  }
};

}  // namespace troupe::model

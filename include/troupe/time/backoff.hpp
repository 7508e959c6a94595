// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How long to wait before the next attempt: exponential, with full jitter and a cap.
///
/// Layer: time. Has no clock and no random source of its own.
/// Algorithm: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

#include <troupe/config.hpp>
#include <troupe/time/clock.hpp>

#include <chrono>
#include <cstdint>

namespace troupe {

struct backoff_options {
  duration first = std::chrono::milliseconds(10);  ///< Upper bound of the first delay.
  duration max = std::chrono::seconds(10);         ///< Upper bound of all delays.
  double factor = 2.0;                             ///< Growth of the bound; at least 1.
};

/// The delays between the attempts of one retried operation.
class backoff {
public:
  explicit backoff(const backoff_options& options = {}) noexcept;

  /// A delay between zero and the present bound, drawn with `random`; then raises the bound.
  [[nodiscard]] duration next(std::uint64_t random) noexcept;

  /// The longest delay that the next call of `next` can give.
  [[nodiscard]] duration bound() const noexcept { return bound_; }

  /// Starts again from the first delay: after a success.
  void reset() noexcept { bound_ = options_.first; }

private:
  [[nodiscard]] duration raised() const noexcept;

  backoff_options options_;
  duration bound_;  // in [options_.first, options_.max]
};

inline backoff::backoff(const backoff_options& options) noexcept
    : options_(options), bound_(options.first) {
  TROUPE_ASSERT(options.first >= duration::zero(), "a delay cannot be negative");
  TROUPE_ASSERT(options.max >= options.first, "the cap is below the first delay");
  TROUPE_ASSERT(options.factor >= 1.0, "a factor below 1 would retry ever faster");
}

inline duration backoff::next(std::uint64_t random) noexcept {
  // Remainders favour small delays by bound / 2^64, which nobody will notice.
  const auto choices = static_cast<std::uint64_t>(bound_.count()) + 1;
  bound_ = raised();
  return duration(static_cast<duration::rep>(random % choices));
}

inline duration backoff::raised() const noexcept {
  // In floating point, which overflows into a large number instead of a negative one.
  const double next_bound = static_cast<double>(bound_.count()) * options_.factor;
  if (next_bound >= static_cast<double>(options_.max.count())) return options_.max;
  return duration(static_cast<duration::rep>(next_bound));
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `wait_histogram`: how long messages wait for their turn.
///
/// Layer: broker.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How many messages waited for how long. Each bucket reaches twice as far as the one before.
struct wait_histogram {
  static constexpr std::size_t size = 28;  ///< Up to 1 µs, 2 µs, 4 µs ... 67 s, and longer.

  std::array<std::uint64_t, size> counts{};  ///< Those that waited longer than `bound(i - 1)`, and
                                             ///< no longer than `bound(i)`.
  duration total = duration::zero();         ///< Of all waits.

  /// The longest wait that bucket `i` counts; `endless` for the last.
  [[nodiscard]] static constexpr duration bound(std::size_t i) noexcept {
    return i + 1 < size ? duration(std::chrono::microseconds(std::int64_t{1} << i)) : endless;
  }

  /// The bucket of a wait.
  [[nodiscard]] static constexpr std::size_t bucket_of(duration wait) noexcept {
    if (wait <= bound(0)) return 0;
    const auto beyond = static_cast<std::uint64_t>((wait - duration(1)) / bound(0));  // whole µs
    return (std::min)(static_cast<std::size_t>(std::bit_width(beyond)), size - 1);
  }

  /// How many messages these are.
  [[nodiscard]] std::uint64_t count() const noexcept {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  }
};

namespace detail {

/// The same while it is being counted, from any thread.
class wait_counter {
public:
  void add(duration wait) noexcept {
    counts_[wait_histogram::bucket_of(wait)].fetch_add(1, order::relaxed);
    total_.fetch_add(wait.count(), order::relaxed);
  }

  wait_histogram read() const noexcept {
    wait_histogram h;
    for (std::size_t i = 0; i != h.size; ++i) h.counts[i] = counts_[i].load(order::relaxed);
    h.total = duration(total_.load(order::relaxed));
    return h;
  }

private:
  std::array<atomic<std::uint64_t>, wait_histogram::size> counts_{};
  atomic<duration::rep> total_{0};
};

}  // namespace detail
}  // namespace troupe

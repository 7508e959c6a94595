// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How many bytes are held, of as many as may be.
///
/// Layer: function.

#include <cstdint>

#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// Thread safety: all members from any thread.
class byte_account {
public:
  /// Adds what fits. False, having added nothing at any time: it does not, and nobody else's bytes
  /// are refused for it meanwhile.
  bool add(std::uint64_t bytes, std::uint64_t most) noexcept {
    std::uint64_t held = held_.load(order::relaxed);
    do {
      if (bytes > most || held > most - bytes) return false;
    } while (!held_.compare_exchange_weak(held, held + bytes, order::relaxed, order::relaxed));
    return true;
  }
  void subtract(std::uint64_t bytes) noexcept { held_.fetch_sub(bytes, order::relaxed); }

private:
  // A number alone: what it counts is handed over by other means.
  atomic<std::uint64_t> held_{0};
};

}  // namespace troupe::detail

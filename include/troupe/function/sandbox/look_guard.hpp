// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Sees to it that nobody sleeps for a reply for long.
///
/// Layer: function. Linux.
///
/// A caller that sleeps for its reply sets no timer: that costs more than the call. Instead the
/// reactor looks at all children every `tick` while such callers have been seen lately. The first
/// one after a quiet time wakes it. It is also how other threads ask the reactor to look at a
/// child, since the child's event belongs to the child as well.

#include <chrono>
#include <cstdint>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail::sandbox {

/// Shared by a reactor and its children, which may outlive it by a moment.
class look_guard {
public:
  static constexpr duration tick = std::chrono::milliseconds(5);
  /// Ticks without a sleeper after which the reactor sleeps, too.
  static constexpr int quiet_ticks = 100;

  /// `event` wakes the reactor; it is duplicated.
  explicit look_guard(int event) noexcept : event_(::fcntl(event, F_DUPFD_CLOEXEC, 0)) {}
  look_guard(const look_guard&) = delete;
  look_guard& operator=(const look_guard&) = delete;
  ~look_guard() { ::close(event_); }

  /// Before a caller sleeps, and after it has been counted as a sleeper.
  void expect() noexcept {
    // Pairs with `rest`: who does not see it is seen by the look behind it.
    if (active_.load(order::seq_cst) || active_.exchange(true, order::seq_cst)) return;
    const std::uint64_t one = 1;
    if (::write(event_, &one, sizeof one) < 0) return;  // full: it is awake
  }

  /// A child has something to do for the reactor: see `child_process::take_request`.
  void request() noexcept {
    // Pairs with `take_requests`: it looks at the children behind that.
    if (requested_.exchange(true, order::seq_cst)) return;
    const std::uint64_t one = 1;
    if (::write(event_, &one, sizeof one) < 0) return;
  }

  // For the reactor.
  bool take_requests() noexcept {
    return requested_.load(order::relaxed) && requested_.exchange(false, order::seq_cst);
  }
  bool active() const noexcept { return active_.load(order::relaxed); }
  void rest() noexcept { active_.store(false, order::seq_cst); }

private:
  const int event_;
  atomic<bool> active_{false};
  atomic<bool> requested_{false};
};

}  // namespace troupe::detail::sandbox

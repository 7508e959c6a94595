// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a cell has beyond the rest once its worker has failed, or somebody watches it.
///
/// Layer: actor. One block per such cell, which owns it.

#include <algorithm>
#include <cstdint>
#include <optional>

#include <troupe/actor/monitors.hpp>
#include <troupe/actor/supervision.hpp>
#include <troupe/coro/timers.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class cell;

/// Who holds a cell that makes no instance yet.
enum class rest_state : std::uint8_t {
  none,       // somebody, as ever
  beginning,  // the one who arms the timer
  resting,    // nobody but the timer
  over        // still the one who arms the timer; it has fired, or a close has come
};

/// Counts restarts, and wakes the cell when the pause before one is over.
///
/// Thread safety: the holder's, except for `watchers`, and `rest`, which the mailbox lock guards.
class supervisor final : public timer {
public:
  explicit supervisor(cell& c) : timer(&supervisor::on_time), cell_(c) {}

  /// Counts a failure that asks for a restart. False if there were too many.
  bool allows_restart(const supervision& s, time_point now, std::uint64_t random) noexcept {
    if (!backoff_ || now - period_began_ > s.period) begin_period(s, now);
    if (restarts_ >= s.max_restarts) return false;
    pause_after_failure(now, random);
    return true;
  }

  /// Somebody wants the restart all the same: the period begins anew.
  void allow_once_more(const supervision& s, time_point now, std::uint64_t random) noexcept {
    begin_period(s, now);
    pause_after_failure(now, random);
  }

  unsigned restarts() const noexcept { return restarts_; }

  time_point not_before{};  // no instance is made earlier
  rest_state rest = rest_state::none;
  monitors watchers;

private:
  static void on_time(timer& t) noexcept;

  void begin_period(const supervision& s, time_point now) noexcept {
    period_began_ = now;
    restarts_ = 0;
    backoff_.emplace(backoff_options{.first = s.backoff_first,
                                     .max = (std::max)(s.backoff_first, s.backoff_max)});
  }

  void pause_after_failure(time_point now, std::uint64_t random) noexcept {
    ++restarts_;
    const duration half = backoff_->bound() / 2;
    not_before = saturating_add(now, half + backoff_->next(random) / 2);
  }

  cell& cell_;
  time_point period_began_{};
  unsigned restarts_ = 0;  // within the period
  std::optional<backoff> backoff_;
};

}  // namespace troupe::detail

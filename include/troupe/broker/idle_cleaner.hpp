// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `idle_cleaner`: closes workers that have not been used for some time.
///
/// Layer: broker.

#include <algorithm>
#include <chrono>

#include <troupe/broker/broker.hpp>
#include <troupe/broker/use_order.hpp>
#include <troupe/broker/worker_event.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// The limit of an `idle_cleaner`.
struct idle_options {
  duration after = std::chrono::minutes(5);  ///< Without a turn.
};

/// Closes each worker that has had no turn for `after`, by time, also when nothing else happens.
/// Never too early; late by at most a quarter of `after`, or two seconds if that is less.
///
/// Never closed are workers with a turn or a message, and those that are kept alive.
template <class Lazy>
class basic_idle_cleaner {
public:
  static constexpr bool wants_get = false;

  explicit basic_idle_cleaner(idle_options options) noexcept
      : after_(options.after),
        interval_(std::clamp<duration>(options.after / 8, shortest, longest)) {}

  void operator()(const worker_event& event) {
    if (event.kind == worker_event::create) order_.add(event.id, event.stats.last_used);
    if (event.kind == worker_event::remove) order_.remove(event.id);
  }

  /// What a worker says of its last use may be as old as the check before that use.
  duration look(broker& b) {
    const time_point now = b.runs_on().now();
    std::size_t in_use = 0;
    const duration limit = after_ > endless - interval_ ? endless : after_ + interval_;
    while (in_use < order_.size() && saturating_add(order_.front_used(), limit) <= now) {
      if (order_.evict_front(b) != detail::front_fate::in_use) continue;
      order_.move_front(now);
      ++in_use;
    }
    return order_.empty() ? endless : interval_;
  }

private:
  static constexpr duration shortest = std::chrono::milliseconds(1);
  static constexpr duration longest = std::chrono::seconds(1);

  duration after_;
  duration interval_;  // between checks
  detail::use_order<Lazy> order_;
};

/// The one instance that programs use; docs/compilers.md says why it is one of a template.
using idle_cleaner = basic_idle_cleaner<void>;

}  // namespace troupe

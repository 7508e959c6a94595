// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `lru_cleaner`: closes the workers that have not been used for longest where there are too many,
/// or where they take too much memory.
///
/// Layer: broker.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>

#include <troupe/broker/broker.hpp>
#include <troupe/broker/resident_memory.hpp>
#include <troupe/broker/use_order.hpp>
#include <troupe/broker/worker_event.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// The limits of an `lru_cleaner`. What is 0 is no limit.
struct lru_options {
  std::size_t worker_count = 0;    ///< Workers, at most.
  std::size_t memory_ceiling = 0;  ///< Bytes: from here on workers are closed ...
  std::size_t memory_floor = 0;  ///< ... until there are fewer than these; 0: 9/10 of the ceiling.
  /// Where the bytes in use come from; empty: the resident set of the process.
  std::function<std::size_t()> memory_usage{};
  /// Told, where closing workers does not bring the resident set down; empty: written to stderr.
  std::function<void(const std::string&)> report{};
};

/// Closes the least recently used of the idle workers, after each creation, until the limits hold.
///
/// Never closed are workers with a turn or a message, those being created, and those that are kept
/// alive. Where all are in use, the least recently used one is closed as soon as its turn ends; so
/// it is where the many that have not been used for longest are, since a creation does not look at
/// all workers.
///
/// A memory source of the user's is read after each worker that was closed. The resident set falls
/// late: it is read again 100 ms after a tenth of the workers has been closed, and after three such
/// steps that freed nothing this is reported and given up until the set has grown further.
template <class Lazy>
class basic_lru_cleaner {
public:
  static constexpr bool wants_get = false;

  explicit basic_lru_cleaner(lru_options options) : options_(std::move(options)) {
    if (options_.memory_floor == 0) options_.memory_floor = options_.memory_ceiling / 10 * 9;
  }

  void operator()(const worker_event& event) {
    if (event.kind == worker_event::create) order_.add(event.id, event.stats.last_used);
    if (event.kind == worker_event::remove) order_.remove(event.id);
  }

  duration look(broker& b) {
    if (options_.worker_count != 0) limit_count(b);
    if (options_.memory_ceiling == 0) return endless;
    if (options_.memory_usage) {
      limit_memory(b);
      return endless;
    }
    return limit_resident(b);
  }

private:
  static constexpr duration step_interval = std::chrono::milliseconds(100);
  static constexpr int futile_steps = 3;
  static constexpr std::size_t looks = 64;  // at workers in use, before they are left for later

  void limit_count(broker& b) {
    while (order_.size() > options_.worker_count) {
      if (!evict_one(b)) return;
    }
  }

  void limit_memory(broker& b) {
    if (options_.memory_usage() < options_.memory_ceiling) return;
    while (options_.memory_usage() >= options_.memory_floor) {
      if (!evict_idle(b)) return;
    }
  }

  duration limit_resident(broker& b) {
    const time_point now = b.runs_on().now();
    if (now < next_step_) return next_step_ - now;
    const std::size_t bytes = resident_memory();
    if (bytes < (stepping_ ? options_.memory_floor : options_.memory_ceiling) ||
        bytes < given_up_) {
      stepping_ = false;
      next_step_ = saturating_add(now, std::chrono::milliseconds(1));  // reading it takes a while
      return order_.empty() ? endless : step_interval;
    }
    if (!std::exchange(stepping_, true)) {
      futile_ = 0;
    } else if (bytes < before_step_) {
      futile_ = 0;
    } else if (++futile_ == futile_steps) {
      give_up(bytes);
      return step_interval;
    }
    before_step_ = bytes;
    const std::size_t many = order_.size() / 10 + 1;
    for (std::size_t i = 0; i < many && evict_idle(b);) ++i;
    next_step_ = saturating_add(now, step_interval);
    return step_interval;
  }

  void give_up(std::size_t bytes) {
    stepping_ = false;
    given_up_ = bytes + bytes / 100;
    const std::string text = "lru_cleaner: closing workers does not bring the resident set of " +
                             std::to_string(bytes) + " bytes below the ceiling of " +
                             std::to_string(options_.memory_ceiling);
    if (options_.report) return options_.report(text);
    std::fprintf(stderr, "troupe: %s\n", text.c_str());
  }

  /// Closes an idle worker, or else has a busy one closed. False if neither can be.
  bool evict_one(broker& b) { return evict_idle(b) || evict_busy(b); }

  /// Closes the idle worker that has not been used for longest. False if there is none, as far as
  /// it looks: who is found in use goes to the back, so that the next time looks at others.
  bool evict_idle(broker& b) {
    for (std::size_t in_use = 0; in_use < (std::min)(looks, order_.size());) {
      const detail::front_fate fate = order_.evict_front(b);
      if (fate == detail::front_fate::evicted) return true;
      if (fate != detail::front_fate::in_use) continue;
      order_.move_front_back();
      ++in_use;
    }
    return false;
  }

  /// All are in use: the one that has been for longest goes when its turn ends.
  bool evict_busy(broker& b) {
    for (std::size_t tried = 0; tried < (std::min)(looks, order_.size()); ++tried) {
      if (b.evict(order_.front())) {
        order_.drop_front();
        return true;
      }
      order_.move_front_back();  // newborn, or kept alive
    }
    return false;
  }

  lru_options options_;
  detail::use_order<Lazy> order_;
  bool stepping_ = false;        // above the ceiling, and not yet below the floor
  int futile_ = 0;               // steps in a row that freed nothing
  std::size_t before_step_ = 0;  // bytes
  std::size_t given_up_ = 0;     // bytes below which nothing is tried any more
  time_point next_step_{};
};

/// The one instance that programs use; docs/compilers.md says why it is one of a template.
using lru_cleaner = basic_lru_cleaner<void>;

}  // namespace troupe

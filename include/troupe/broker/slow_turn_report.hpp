// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What an observer is told of a turn that takes too long.
///
/// Layer: broker. A plain value.

#include <string_view>
#include <utility>

#include <troupe/base/worker_id.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// A method that has been running without a pause for longer than `broker_options::slow_turn`.
struct slow_turn_report {
  slow_turn_report(worker_id w, std::string_view m, duration d) noexcept
      : worker(std::move(w)), method(m), running_for(d) {}

  worker_id worker;         ///< Class and key.
  std::string_view method;  ///< Or "constructor", "destructor", "on_start", "on_stop", "timer".
  duration running_for;     ///< So far, at least.
};

}  // namespace troupe

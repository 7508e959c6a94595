// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a simulation is made.
///
/// Layer: exec. Plain values.

#include <chrono>
#include <cstdint>
#include <type_traits>

#include <troupe/time/clock.hpp>

namespace troupe {

/// How a simulation chooses what runs next.
enum class sim_strategy : std::uint8_t {
  by_seed,  ///< One of those below; the seed says which.
  /// Each of what is ready is equally likely. Finds what many orders show.
  uniform,
  /// Virtual threads have priorities, the highest that can run does; at a few steps of the run,
  /// drawn beforehand, the running one falls behind all others. Finds what needs a few switches at
  /// the right places of a long run (S. Burckhardt et al., "A Randomized Scheduler with
  /// Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
  pct
};

/// How a simulation is made.
struct sim_options {
  std::uint64_t seed = 1;  ///< Every choice and every random number follows from it.
  /// Virtual threads. With one, a coroutine goes on as soon as what it awaited has ended, as on a
  /// thread that is not held up; with more, others may run in between.
  unsigned threads = 4;
  bool buggify = false;  ///< Fault points fire, and virtual threads are held up: timers fire late.
  sim_strategy strategy = sim_strategy::by_seed;
  unsigned change_points = 3;   ///< For `pct`: at how many steps, at most, priorities change.
  std::uint64_t max_steps = 0;  ///< A run that takes more ends with an error; 0: no limit.
  wall_time date = std::chrono::sys_days(std::chrono::year(2000) / 1 / 1);  ///< Of its beginning.
};

static_assert(std::is_trivially_destructible_v<sim_options>,
              "it may stand in an awaited expression (docs/compilers.md)");

}  // namespace troupe

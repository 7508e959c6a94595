// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `worker_stats`: how a worker is doing.
///
/// Layer: actor.

#include <cstddef>
#include <cstdint>

#include <troupe/time/clock.hpp>

namespace troupe {

/// One worker at one moment.
struct worker_stats {
  time_point last_used{};   ///< When its last turn began; see `lru_cleaner` for how exactly.
  std::uint64_t calls = 0;  ///< Turns since the instance was created.
  bool busy = false;        ///< A turn is under way, or about to be.
  std::size_t waiting = 0;  ///< Messages in the mailbox.
  bool closing = false;     ///< It goes when its turn, or its mailbox, comes to an end.
  std::size_t memory = 0;   ///< Bytes it has of `context::memory()`.
};

}  // namespace troupe

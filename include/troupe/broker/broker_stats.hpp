// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `broker_stats`: the figures of a broker.
///
/// Layer: broker.

#include <cstddef>
#include <cstdint>

#include <troupe/exec/thread_pool.hpp>

namespace troupe {

/// What a broker and its executor have done so far.
struct broker_stats {
  std::size_t workers = 0;         ///< With an instance.
  std::uint64_t created = 0;       ///< Instances.
  std::uint64_t removed = 0;       ///< Instances, however they went.
  std::uint64_t restarts = 0;      ///< Instances that took over after a failure.
  std::uint64_t turns = 0;         ///< Calls, tells and timers that were run.
  std::size_t waiting = 0;         ///< Messages in mailboxes.
  std::uint64_t dead_letters = 0;  ///< Messages that nobody awaits and that were lost, or failed.
  executor_stats pool{};  ///< Of the broker's own pool; zeros where it runs on another one.
};

}  // namespace troupe

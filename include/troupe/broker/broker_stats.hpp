// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `broker_stats`: the figures of a broker.
///
/// Layer: broker.

#include <cstddef>
#include <cstdint>

#include <troupe/broker/wait_histogram.hpp>
#include <troupe/exec/thread_pool.hpp>

namespace troupe {

/// What a broker and its executor have done so far, and how they are doing. What only grows does so
/// from the making of the broker on, through all evictions.
struct broker_stats {
  std::size_t workers = 0;          ///< With an instance.
  std::uint64_t created = 0;        ///< Instances.
  std::uint64_t removed = 0;        ///< Instances, however they went.
  std::uint64_t evictions = 0;      ///< Workers that `broker::evict` has sent on their way.
  std::uint64_t restarts = 0;       ///< Instances that took the place of one that had failed.
  std::uint64_t turns = 0;          ///< Calls, tells and timers that had their turn.
  std::uint64_t calls = 0;          ///< The calls among them, with and without a limit.
  std::uint64_t tells = 0;          ///< The tells among them.
  std::size_t waiting = 0;          ///< Messages in mailboxes.
  std::size_t longest_mailbox = 0;  ///< Messages in the fullest of them.
  std::uint64_t dead_letters = 0;   ///< Messages that nobody awaits and that were lost, or failed.
  wait_histogram waits{};  ///< Of messages that had to wait; with `broker_options::measure_waits`.
  executor_stats pool{};   ///< Of the broker's own pool; zeros where it runs on another one.
};

}  // namespace troupe

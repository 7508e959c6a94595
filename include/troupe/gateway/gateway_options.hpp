// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a gateway behaves, beyond what its class says.
///
/// Layer: gateway. Plain values.

#include <chrono>
#include <cstddef>
#include <limits>

#include <troupe/gateway/outbox.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

struct gateway_options {
  /// What may wait to be sent to one socket, and what happens beyond that.
  outbox_limits outbox{};
  /// A shard at which nobody has been for this long goes, with its worker.
  duration retire_after = std::chrono::seconds(10);
  /// How long one peer may take to answer gossip, where nothing else is said.
  duration peer_limit = std::chrono::seconds(5);
  /// So many clusters there may be at a time; what would make another one is answered with 503.
  std::size_t max_clusters = (std::numeric_limits<std::size_t>::max)();
};

}  // namespace troupe

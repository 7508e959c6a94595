// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How the processes of one gateway behave.
///
/// Layer: gateway. Plain values.

#include <chrono>

#include <troupe/gateway/gateway_options.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// The same in all processes, but for `hosts_shards`.
struct shared_gateway_options {
  gateway_options shards{};
  /// A process that has not been heard of for this long is gone, with its shards and its clients.
  /// Each says three times as often that it is there.
  duration lease = std::chrono::seconds(3);
  /// How long a request may take, from one process to the other and back.
  duration request_limit = std::chrono::seconds(30);
  /// Shards may be put into this process.
  bool hosts_shards = true;
};

}  // namespace troupe

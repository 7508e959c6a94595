// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The network that the command line names.

#include <memory>
#include <stdexcept>
#include <string>

#include <troupe.hpp>
#include <troupe/job.hpp>

#ifdef ORCHESTRA_REDIS
#  include <troupe/adapter/redis/redis.hpp>
#endif

namespace orchestra {

inline constexpr const char* network_help =
#ifdef ORCHESTRA_REDIS
    "memory: all in this process; or redis://[[user:]password@]host[:port][/db], rediss: for TLS";
#else
    "memory: all in this process (this program was built without Redis)";
#endif

/// Throws where there is none of this name, or it cannot be reached.
inline std::unique_ptr<troupe::network> open_network(troupe::executor& on,
                                                     const std::string& name) {
  if (name == "memory") return std::make_unique<troupe::memory_network>(on);
  if (!name.starts_with("redis://") && !name.starts_with("rediss://")) {
    throw std::invalid_argument("--network is memory or redis://host, not \"" + name + '"');
  }
#ifdef ORCHESTRA_REDIS
  auto net = std::make_unique<troupe::redis_network>(on, troupe::redis_options::parse(name));
  troupe::sync_wait(net->ready());
  return net;
#else
  static_cast<void>(on);
  throw std::invalid_argument(
      "this program was built without Redis (TROUPE_REDIS=ON builds it in): "
      "--network memory is all there is");
#endif
}

}  // namespace orchestra

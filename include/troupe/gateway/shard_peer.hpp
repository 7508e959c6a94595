// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One shard, as the cluster that places connections sees it, wherever it is.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/coro/task.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class seat;

/// Where a shard stands in the cluster's table. Guarded by the lock of that.
struct shard_standing {
  std::size_t load = 0;      // connections, and requests that run
  std::size_t visitors = 0;  // who calls it for other reasons
  time_point idle_since{};   // for as long as `load` is 0
  bool is_out = false;       // of the table, for good
};

/// Counted: the cluster holds it, and whoever has a seat in it.
class shard_peer {
public:
  shard_peer(std::string name, std::uint64_t n) : id(std::move(name)), number(n) {}
  shard_peer(const shard_peer&) = delete;
  shard_peer& operator=(const shard_peer&) = delete;
  virtual ~shard_peer() = default;

  friend void add_ref(shard_peer* s) noexcept { s->references_.fetch_add(1, order::relaxed); }
  friend void release(shard_peer* s) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (s->references_.fetch_sub(1, order::acq_rel) == 1) delete s;
  }

  const std::string id;
  const std::uint64_t number;  // the order in which shards were made; tells them apart
  shard_standing standing;

  /// Answers a request that has a place here. Where that accepts a WebSocket the place is the
  /// session's from then on.
  virtual task<response> visit(seat at, request asked) = 0;

  // What is said to its sockets. `limit` is for what has to go elsewhere; throws where it does not
  // arrive.
  virtual task<delivery> tell(socket_message m, exclusion but, duration limit) = 0;
  virtual task<delivery> whisper(std::string uid, socket_message m, duration limit) = 0;
  virtual void close_all(const close_info& how) = 0;

  /// By a hook of its class, whose errors it throws.
  virtual task<std::string> gossip(std::string_view text, duration limit) = 0;
  /// Its worker goes.
  virtual task<> retire() = 0;

  /// The sockets that have joined it, as far as they are in this process.
  virtual std::size_t sockets_here() const = 0;

private:
  atomic<std::uint32_t> references_{0};
};

}  // namespace troupe::detail

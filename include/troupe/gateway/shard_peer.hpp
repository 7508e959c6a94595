// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One shard of a cluster, without its class.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/members.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

class socket;

namespace detail {

/// Where a shard stands in the cluster's table. Guarded by the lock of that.
struct shard_standing {
  std::size_t load = 0;      // connections, and requests that run
  std::size_t visitors = 0;  // who calls it for other reasons
  time_point idle_since{};   // for as long as `load` is 0
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
  members sockets;

  // The hooks of the user's class, each in a turn of the shard's worker. They throw what it throws.
  virtual task<response> receive(request asked) = 0;
  virtual task<> open(const socket& s) = 0;
  virtual task<> message(const socket& s, const socket_message& m) = 0;
  /// By `on_error` where there is one and something has failed, else by `on_close`.
  virtual task<> end(const socket& s, const close_info& how, std::exception_ptr failure) = 0;
  virtual task<std::string> gossip(std::string_view text, duration limit) = 0;
  /// Its worker goes.
  virtual task<> retire() = 0;

  /// How many instances of its worker have gone. Who was opened by one that is gone is nobody's.
  std::uint64_t generation() const noexcept { return generation_.load(order::acquire); }

protected:
  /// An instance has gone, and with it what it knew of its sockets: their clients come again.
  void instance_gone() {
    generation_.fetch_add(1, order::release);
    sockets.close_all(close_info(close_code::service_restart));
  }

private:
  atomic<std::uint32_t> references_{0};
  atomic<std::uint64_t> generation_{0};
};

}  // namespace detail
}  // namespace troupe

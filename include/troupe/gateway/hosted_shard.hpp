// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A shard whose sockets are in this process, without its class.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <troupe/coro/task.hpp>
#include <troupe/gateway/members.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

class socket;

namespace detail {

class hosted_shard : public shard_peer {
public:
  using shard_peer::shard_peer;

  members sockets;

  // The hooks of the user's class, each in a turn of the shard's worker. They throw what it throws.
  virtual task<response> receive(request asked) = 0;
  virtual task<> open(const socket& s) = 0;
  virtual task<> message(const socket& s, const socket_message& m) = 0;
  /// By `on_error` where there is one and something has failed, else by `on_close`.
  virtual task<> end(const socket& s, const close_info& how, std::exception_ptr failure) = 0;

  /// How many instances of its worker have gone. Who was opened by one that is gone is nobody's.
  std::uint64_t generation() const noexcept { return generation_.load(order::acquire); }

  inline task<response> visit(seat at, request asked) final;

  task<delivery> tell(socket_message m, exclusion but, duration) final {
    co_return announce(m, but);
  }
  task<delivery> whisper(std::string uid, socket_message m, duration) final {
    delivery told;
    for (const auto& s : sockets.of(uid)) members::count(s->send(m), told);
    told.shards = 1;
    co_return told;
  }
  void close_all(const close_info& how) final { sockets.close_all(how); }
  std::size_t sockets_here() const final { return sockets.all()->size(); }

  delivery announce(const socket_message& m, const exclusion& but) const {
    delivery told;
    sockets.deliver(m, told, [&](const socket_state& s) { return but.skips(s.uid, s.number); });
    return told;
  }

protected:
  /// An instance has gone, and with it what it knew of its sockets: their clients come again.
  void instance_gone() {
    generation_.fetch_add(1, order::release);
    sockets.close_all(close_info(close_code::service_restart));
  }

private:
  atomic<std::uint64_t> generation_{0};
};

}  // namespace detail
}  // namespace troupe

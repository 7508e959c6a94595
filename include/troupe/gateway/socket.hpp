// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `socket`: one WebSocket, as shards see it.
///
/// Layer: gateway. Copying is one atomic increment.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {
struct socket_access;
}

/// A connected client, given to the hooks of its shard, which may keep it. What is sent after the
/// connection has ended goes nowhere.
///
/// Nothing here waits for a client: messages wait in a bounded box of each
/// (`gateway_options::outbox`).
///
/// Thread safety: one socket may be used by many threads at once; assigning to it is no such use.
class socket {
public:
  /// For the library.
  explicit socket(intrusive_ptr<detail::socket_state> s) noexcept : state_(std::move(s)) {}

  /// Whom `identify` has taken the client for. One id may have many sockets.
  [[nodiscard]] const std::string& uid() const noexcept { return state_->uid; }
  /// Tells the sockets of a cluster apart.
  [[nodiscard]] std::uint64_t number() const noexcept { return state_->number; }
  [[nodiscard]] const std::string& shard() const noexcept { return state_->shard->id; }
  [[nodiscard]] const std::string& cluster() const noexcept { return state_->home->name; }

  /// To this client. False: it is gone, or reads too slowly.
  bool send(const socket_message& m) const {
    return state_->send(m) == detail::outbox::fate::queued;
  }

  /// Ends it, once what waits is sent. `on_close` runs then.
  void close(close_info how = {}) const { state_->out.close(std::move(how)); }

  /// To the sockets of this shard.
  delivery announce(const socket_message& m, audience to = audience::others) const {
    return state_->shard->announce(m, excluding(to));
  }
  /// To the sockets of all shards.
  [[nodiscard]] task<delivery> broadcast(socket_message m, audience to = audience::others) const {
    return broadcast_from(state_, std::move(m), to);
  }
  /// To every socket of one id. Where there is none, `delivery::sockets` is 0.
  [[nodiscard]] task<delivery> whisper(std::string uid, socket_message m) const {
    return whisper_in(state_->home, std::move(uid), std::move(m));
  }

  friend bool operator==(const socket& a, const socket& b) noexcept {
    return a.state_.get() == b.state_.get();
  }

private:
  friend detail::socket_access;
  using state_ptr = intrusive_ptr<detail::socket_state>;

  detail::exclusion excluding(audience to) const noexcept {
    return {state_->uid, state_->number, to};
  }
  static task<delivery> broadcast_from(state_ptr from, socket_message m, audience to) {
    const detail::exclusion but = socket(from).excluding(to);
    co_return co_await from->home->broadcast(std::move(m), but);
  }
  static task<delivery> whisper_in(intrusive_ptr<detail::cluster> home, std::string uid,
                                   socket_message m) {
    co_return co_await home->whisper(std::move(uid), std::move(m));
  }

  state_ptr state_;
};

/// For the parts of the library that need what is behind a socket.
struct detail::socket_access {
  static socket_state& state_of(const socket& s) noexcept { return *s.state_; }
};

/// One shard among its peers, as its own class sees it: a parameter of the class's constructor,
/// behind a `troupe::context&` or alone.
///
/// Thread safety: as `socket`.
class shard {
public:
  /// For the library.
  shard(intrusive_ptr<detail::cluster> c, intrusive_ptr<detail::hosted_shard> s) noexcept
      : home_(std::move(c)), self_(std::move(s)) {}

  [[nodiscard]] const std::string& id() const noexcept { return self_->id; }
  [[nodiscard]] const std::string& cluster() const noexcept { return home_->name; }

  /// The sockets that have joined it, at some moment gone by.
  [[nodiscard]] std::vector<socket> sockets() const {
    const auto all = self_->sockets.all();
    std::vector<socket> found;
    found.reserve(all->size());
    for (const auto& s : *all) found.emplace_back(s);
    return found;
  }

  /// To the sockets of this shard.
  delivery announce(const socket_message& m) const { return self_->announce(m, {}); }
  /// To the sockets of all shards.
  [[nodiscard]] task<delivery> broadcast(socket_message m) const {
    return broadcast_in(home_, std::move(m));
  }
  /// To every socket of one id. Where there is none, `delivery::sockets` is 0.
  [[nodiscard]] task<delivery> whisper(std::string uid, socket_message m) const {
    return whisper_in(home_, std::move(uid), std::move(m));
  }
  /// Asks every other shard: by its `on_gossip`, in a turn of its worker. One reply from each, or
  /// the error it was answered with: `errc::no_such_method` where it has no such hook,
  /// `errc::timed_out` beyond `limit` (zero: `gateway_options::peer_limit`).
  [[nodiscard]] task<std::vector<gossip_reply>> gossip(std::string text,
                                                       duration limit = duration::zero()) const {
    return gossip_in(home_, self_, std::move(text), limit);
  }

private:
  using home_ptr = intrusive_ptr<detail::cluster>;
  using shard_ptr = intrusive_ptr<detail::hosted_shard>;

  static task<delivery> broadcast_in(home_ptr home, socket_message m) {
    co_return co_await home->broadcast(std::move(m), {});
  }
  static task<delivery> whisper_in(home_ptr home, std::string uid, socket_message m) {
    co_return co_await home->whisper(std::move(uid), std::move(m));
  }
  static task<std::vector<gossip_reply>> gossip_in(home_ptr home, shard_ptr self, std::string text,
                                                   duration limit) {
    co_return co_await home->gossip(std::move(text), self->id, limit);
  }

  home_ptr home_;
  shard_ptr self_;
};

}  // namespace troupe

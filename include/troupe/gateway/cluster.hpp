// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One cluster, as its sockets and shards see it: what is said among them, and whose place is
/// where.
///
/// Layer: gateway.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class seat;

/// Counted: the gateway holds it, each seat, and each socket.
class cluster {
public:
  cluster(std::string n, const gateway_options& o, broker& b)
      : name(std::move(n)), options(o), workers(b), where(b.runs_on()) {}
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;
  virtual ~cluster() = default;

  friend void add_ref(cluster* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(cluster* c) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }
  std::uint32_t references() const noexcept { return references_.load(order::acquire); }

  const std::string name;
  const gateway_options options;
  broker& workers;
  executor& where;

  // From a socket, from a shard, from outside. What `but` shows outlives what is said.
  virtual task<delivery> broadcast(socket_message m, exclusion but) = 0;
  /// To every socket of one id; ids are at one shard.
  virtual task<delivery> whisper(std::string uid, socket_message m) = 0;
  /// Asks all shards but `from`; one reply or error from each, in the order of their making.
  virtual task<std::vector<gossip_reply>> gossip(std::string text, std::string from,
                                                 duration limit) = 0;

  /// Who had this place is gone.
  virtual void leave(const seat& s) noexcept = 0;

private:
  atomic<std::uint32_t> references_{0};
};

/// A connection that is counted at its shard, until this goes.
class seat {
public:
  seat() noexcept = default;
  /// `n` tells the seats of a cluster apart.
  seat(intrusive_ptr<cluster> c, intrusive_ptr<shard_peer> s, std::string uid,
       std::uint64_t n) noexcept
      : home_(std::move(c)), shard_(std::move(s)), uid_(std::move(uid)), number_(n) {}
  seat(seat&&) noexcept = default;
  seat& operator=(seat&& other) noexcept {
    leave();
    home_ = std::move(other.home_);
    shard_ = std::move(other.shard_);
    uid_ = std::move(other.uid_);
    number_ = other.number_;
    has_socket_ = other.has_socket_;
    return *this;
  }
  ~seat() { leave(); }

  explicit operator bool() const noexcept { return static_cast<bool>(home_); }
  const intrusive_ptr<cluster>& home() const noexcept { return home_; }
  const intrusive_ptr<shard_peer>& shard() const noexcept { return shard_; }
  const std::string& uid() const noexcept { return uid_; }
  std::uint64_t number() const noexcept { return number_; }

  /// It is a WebSocket's, and no request's.
  bool has_socket() const noexcept { return has_socket_; }
  void give_to_socket() noexcept { has_socket_ = true; }

private:
  void leave() noexcept {
    if (!home_) return;
    home_->leave(*this);
    shard_ = nullptr;  // before its cluster
    home_ = nullptr;
  }

  intrusive_ptr<cluster> home_;  // nobody: no place
  intrusive_ptr<shard_peer> shard_;
  std::string uid_;
  std::uint64_t number_ = 0;
  bool has_socket_ = false;
};

inline socket_state::socket_state(std::string id, std::uint64_t n, intrusive_ptr<hosted_shard> at,
                                  intrusive_ptr<cluster> in, const outbox_limits& limits)
    : uid(std::move(id)), number(n), shard(std::move(at)), home(std::move(in)), out(limits) {}
inline socket_state::~socket_state() = default;

}  // namespace troupe::detail

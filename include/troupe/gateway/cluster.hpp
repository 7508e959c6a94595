// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One cluster: its shards, who is placed where, and what is said among them.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_mutex.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/routes.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class seat;

/// Counted: the gateway holds it, each seat, and each socket.
class cluster {
public:
  using shard_ptr = intrusive_ptr<shard_peer>;

  cluster(std::string n, const cluster_limits& l, const gateway_options& o, broker& b)
      : name(std::move(n)), options(o), table(l), workers(b), where(b.runs_on()) {}
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;
  virtual ~cluster() = default;

  friend void add_ref(cluster* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(cluster* c) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  const std::string name;
  const gateway_options options;
  routes table;
  broker& workers;
  executor& where;

  /// A place for a connection of `uid`, at its own shard, at one that has room, or at a new one.
  /// Throws `http_error` 503 where there is none.
  task<seat> place(std::string uid, const request& asked);

  /// For what is sent to some of a shard's sockets.
  static bool is_skipped(const socket_state& s, const socket_state* from, audience to) noexcept {
    if (from == nullptr || to == audience::everyone) return false;
    return to == audience::others ? s.uid == from->uid : &s == from;
  }

  delivery announce(const shard_peer& at, const socket_message& m, const socket_state* from,
                    audience to) const {
    delivery told;
    at.sockets.deliver(m, told, [&](const socket_state& s) { return is_skipped(s, from, to); });
    return told;
  }

  delivery broadcast(const socket_message& m, const socket_state* from, audience to) {
    delivery told;
    const visitors all(table);
    for (const shard_ptr& s : all.shards) {
      s->sockets.deliver(m, told,
                         [&](const socket_state& other) { return is_skipped(other, from, to); });
    }
    return told;
  }

  /// To every socket of one id; ids are at one shard.
  delivery whisper(std::string_view uid, const socket_message& m) const {
    delivery told;
    const shard_ptr at = table.shard_of(uid);
    if (!at) return told;
    for (const auto& s : at->sockets.of(uid)) members::count(s->send(m), told);
    told.shards = 1;
    return told;
  }

  /// Asks all shards but `from`; one reply or error from each, in the order of their making.
  task<std::vector<gossip_reply>> gossip(std::string text, const shard_peer* from, duration limit);

  std::vector<shard_ptr> shards() {
    visitors all(table);
    return all.shards;
  }

  std::uint32_t references() const noexcept { return references_.load(order::acquire); }

  void close_all(const close_info& how) {
    const visitors all(table);
    for (const shard_ptr& s : all.shards) s->sockets.close_all(how);
  }

  std::uint64_t next_socket() noexcept { return sockets_.fetch_add(1, order::relaxed) + 1; }

  /// A shard has been left by the last who was there.
  virtual void became_idle() noexcept = 0;

protected:
  virtual task<std::string> clusterize(const request& asked) = 0;
  virtual shard_ptr make_shard(std::string id, std::uint64_t number) = 0;

private:
  friend class seat;

  /// Shards that are not retired meanwhile.
  struct visitors {
    explicit visitors(routes& t) : table(t), shards(t.visit()) {}
    visitors(const visitors&) = delete;
    visitors& operator=(const visitors&) = delete;
    ~visitors() { table.let_go(shards); }

    routes& table;
    const std::vector<shard_ptr> shards;
  };

  task<> grow(const request& asked);
  static task<gossip_reply> ask(shard_ptr peer, std::string_view text, duration limit);

  atomic<std::uint32_t> references_{0};
  atomic<std::uint64_t> sockets_{0};  // how many there have been
  async_mutex growing_;               // one new shard, however many ask for it at once
  std::uint64_t shards_ = 0;          // how many there have been; guarded by `growing_`
};

/// A connection that is counted at its shard, until this goes.
class seat {
public:
  seat() noexcept = default;
  seat(intrusive_ptr<cluster> c, intrusive_ptr<shard_peer> s, std::string uid) noexcept
      : home_(std::move(c)), shard_(std::move(s)), uid_(std::move(uid)) {}
  seat(seat&&) noexcept = default;
  seat& operator=(seat&& other) noexcept {
    leave();
    home_ = std::move(other.home_);
    shard_ = std::move(other.shard_);
    uid_ = std::move(other.uid_);
    return *this;
  }
  ~seat() { leave(); }

  explicit operator bool() const noexcept { return static_cast<bool>(home_); }
  const intrusive_ptr<cluster>& home() const noexcept { return home_; }
  const intrusive_ptr<shard_peer>& shard() const noexcept { return shard_; }
  const std::string& uid() const noexcept { return uid_; }

private:
  void leave() noexcept {
    if (!home_) return;
    const intrusive_ptr<cluster> home = std::move(home_);
    if (home->table.leave(uid_, *shard_, home->where.now())) home->became_idle();
    shard_ = nullptr;
  }

  intrusive_ptr<cluster> home_;  // nobody: no place
  intrusive_ptr<shard_peer> shard_;
  std::string uid_;
};

inline task<seat> cluster::place(std::string uid, const request& asked) {
  for (;;) {
    shard_ptr to;
    const placing came = table.place(uid, to);
    if (came == placing::placed) {
      co_return seat(intrusive_ptr<cluster>(this), std::move(to), std::move(uid));
    }
    if (came == placing::full) throw http_error(503, "there are too many connections of this id");
    co_await grow(asked);
  }
}

/// Makes a shard, unless somebody else has done so meanwhile, or left one.
inline task<> cluster::grow(const request& asked) {
  const auto alone = co_await growing_.lock();
  if (table.has_room()) co_return;
  if (table.count() >= table.limits.max_shards) throw http_error(503, "there is no room left");
  std::string id = co_await clusterize(asked);
  ++shards_;
  if (id.find('/') != std::string::npos) {
    throw error(errc::bad_message, {}, "clusterize() gave an id with a slash in it");
  }
  if (id.empty()) id = std::to_string(shards_);
  const shard_ptr made = make_shard(std::move(id), shards_);
  made->standing.idle_since = where.now();
  if (!table.add(made)) {
    throw error(errc::bad_message, {}, "clusterize() gave the id of a shard that exists");
  }
}

inline task<std::vector<gossip_reply>> cluster::gossip(std::string text, const shard_peer* from,
                                                       duration limit) {
  const visitors all(table);
  std::vector<task<gossip_reply>> asked;
  for (const shard_ptr& s : all.shards) {
    if (s.get() != from) {
      asked.push_back(ask(s, text, limit == duration::zero() ? options.peer_limit : limit));
    }
  }
  co_return co_await when_all(std::move(asked));
}

inline task<gossip_reply> cluster::ask(shard_ptr peer, std::string_view text, duration limit) {
  std::string id = peer->id;
  result<std::string> answer = co_await as_result(peer->gossip(text, limit));
  co_return gossip_reply(std::move(id), std::move(answer));
}

inline socket_state::socket_state(std::string id, std::uint64_t n, intrusive_ptr<shard_peer> at,
                                  intrusive_ptr<cluster> in, const outbox_limits& limits)
    : uid(std::move(id)), number(n), shard(std::move(at)), home(std::move(in)), out(limits) {}
inline socket_state::~socket_state() = default;

}  // namespace troupe::detail

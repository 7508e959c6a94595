// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A cluster with its table: who is placed where, and at which shards what is said arrives.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_mutex.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/routes.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/worker_ends.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class routed_cluster : public cluster {
public:
  using shard_ptr = intrusive_ptr<shard_peer>;

  /// `seats`: how many there have been, in all clusters of the gateway.
  routed_cluster(std::string n, const cluster_limits& l, const gateway_options& o, broker& b,
                 atomic<std::uint64_t>& seats)
      : cluster(std::move(n), o, b), table(l), seats_(seats) {}

  routes table;

  /// A place for a connection of `uid`, at its own shard, at one that has room, or at a new one.
  /// Throws `http_error` 503 where there is none.
  task<seat> place(std::string uid, const request& asked);

  inline task<delivery> broadcast(socket_message m, exclusion but) override;
  inline task<delivery> whisper(std::string uid, socket_message m) override;
  inline task<std::vector<gossip_reply>> gossip(std::string text, std::string from,
                                                duration limit) override;
  /// To the sockets of one shard; to none where that is not there.
  task<delivery> announce(std::string_view shard, socket_message m);

  void leave(const seat& s) noexcept override {
    if (table.leave(s.uid(), *s.shard(), where.now())) became_idle();
  }

  std::vector<shard_ptr> shards() {
    visitors all(table);
    return all.shards;
  }

  void close_all(const close_info& how) {
    const visitors all(table);
    for (const shard_ptr& s : all.shards) s->close_all(how);
  }

  // --- shards that are there before their cluster is ------------------------------------------
  std::uint64_t number_for(std::uint64_t wish) noexcept;
  /// False: there is another one of this name.
  bool adopt(const shard_ptr& s);
  /// Who is at `s` already. Nobody: the id is elsewhere as well.
  seat adopt_guest(const shard_ptr& s, std::string uid, std::uint64_t number) {
    if (!table.adopt(uid, s)) return {};
    return seat(intrusive_ptr<cluster>(this), s, std::move(uid), number);
  }

protected:
  /// Retires a shard at which nobody has been since `before`. False: there is none.
  task<bool> retire_one(time_point before);

  /// A shard has been left by the last who was there.
  virtual void became_idle() noexcept = 0;
  virtual task<std::string> clusterize(const request& asked) = 0;
  virtual shard_ptr make_shard(std::string id, std::uint64_t number) = 0;

private:
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
  static task<delivery> reach(shard_ptr s, task<delivery> telling);
  static task<gossip_reply> ask(shard_ptr peer, std::string_view text, duration limit);

  atomic<std::uint64_t>& seats_;
  async_mutex growing_;              // one new shard, however many ask for it at once
  worker_ends retiring_;             // by the ids of their shards
  atomic<std::uint64_t> shards_{0};  // the highest number of one so far
};

inline task<seat> routed_cluster::place(std::string uid, const request& asked) {
  for (;;) {
    shard_ptr to;
    const placing came = table.place(uid, to);
    if (came == placing::placed) {
      co_return seat(intrusive_ptr<cluster>(this), std::move(to), std::move(uid),
                     seats_.fetch_add(1, order::relaxed) + 1);
    }
    if (came == placing::full) throw http_error(503, "there are too many connections of this id");
    co_await grow(asked);
  }
}

/// Makes a shard, unless somebody else has done so meanwhile, or left one.
inline task<> routed_cluster::grow(const request& asked) {
  const auto alone = co_await growing_.lock();
  if (table.has_room()) co_return;
  if (table.count() >= table.limits.max_shards) throw http_error(503, "there is no room left");
  std::string id = co_await clusterize(asked);
  const std::uint64_t number = shards_.fetch_add(1, order::relaxed) + 1;
  if (id.find('/') != std::string::npos) {
    throw error(errc::bad_message, {}, "clusterize() gave an id with a slash in it");
  }
  if (id.empty()) id = std::to_string(number);
  co_await retiring_.wait(id);
  const shard_ptr made = make_shard(std::move(id), number);
  made->standing.idle_since = where.now();
  if (!table.add(made)) {
    throw error(errc::bad_message, {}, "clusterize() gave the id of a shard that exists");
  }
}

/// None is made meanwhile that has its name: that waits until its worker has gone.
inline task<bool> routed_cluster::retire_one(time_point before) {
  shard_ptr idle;
  std::optional<worker_ends::ticket> going;
  {
    const auto alone = co_await growing_.lock();
    idle = table.take_idle(before);
    if (idle) going.emplace(retiring_, idle->id);  // where this throws, its worker stays
  }
  if (idle) static_cast<void>(co_await as_result(idle->retire()));
  co_return static_cast<bool>(idle);
}

inline bool routed_cluster::adopt(const shard_ptr& s) {
  s->standing.idle_since = where.now();
  if (!table.add(s)) return false;
  became_idle();  // it may stay so
  return true;
}

/// `wish`, unless there may be one of that number.
inline std::uint64_t routed_cluster::number_for(std::uint64_t wish) noexcept {
  std::uint64_t highest = shards_.load(order::relaxed);
  while (highest < wish) {
    if (shards_.compare_exchange_weak(highest, wish, order::relaxed, order::relaxed)) return wish;
  }
  return shards_.fetch_add(1, order::relaxed) + 1;
}

inline task<delivery> routed_cluster::broadcast(socket_message m, exclusion but) {
  const visitors all(table);
  std::vector<task<delivery>> telling;
  telling.reserve(all.shards.size());
  for (const shard_ptr& s : all.shards) {
    telling.push_back(reach(s, s->tell(m, but, options.peer_limit)));
  }
  std::vector<delivery> each = co_await when_all(std::move(telling));
  delivery told;
  for (delivery& d : each) told += std::move(d);
  co_return told;
}

/// One shard that cannot be reached leaves the others theirs.
inline task<delivery> routed_cluster::reach(shard_ptr s, task<delivery> telling) {
  result<delivery> told = co_await as_result(std::move(telling));
  if (told.has_value()) co_return std::move(told).value();
  delivery failed;
  failed.failures.push_back({s->id, code_of(told.error())});
  co_return failed;
}

inline task<delivery> routed_cluster::whisper(std::string uid, socket_message m) {
  const shard_ptr at = table.shard_of(uid);
  if (!at) co_return delivery();
  co_return co_await reach(at, at->whisper(std::move(uid), std::move(m), options.peer_limit));
}

inline task<delivery> routed_cluster::announce(std::string_view shard, socket_message m) {
  const shard_ptr at = table.find(shard);
  if (!at) co_return delivery();
  co_return co_await reach(at, at->tell(std::move(m), {}, options.peer_limit));
}

inline task<std::vector<gossip_reply>> routed_cluster::gossip(std::string text, std::string from,
                                                              duration limit) {
  const visitors all(table);
  std::vector<task<gossip_reply>> asked;
  for (const shard_ptr& s : all.shards) {
    if (s->id != from) {
      asked.push_back(ask(s, text, limit == duration::zero() ? options.peer_limit : limit));
    }
  }
  co_return co_await when_all(std::move(asked));
}

inline task<gossip_reply> routed_cluster::ask(shard_ptr peer, std::string_view text,
                                              duration limit) {
  std::string id = peer->id;
  result<std::string> answer = co_await as_result(peer->gossip(text, limit));
  co_return gossip_reply(std::move(id), std::move(answer));
}

}  // namespace troupe::detail

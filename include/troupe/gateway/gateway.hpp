// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `gateway<G, S>`: spreads connections over shards.
///
/// Layer: gateway. Does no input or output: transports bring requests and carry WebSockets.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/gateway_core.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/hosted_session.hpp>
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/local_shard.hpp>
#include <troupe/gateway/provide_shards.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/shard_hooks.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_session.hpp>

namespace troupe {

/// A shard of a cluster, at some moment gone by.
struct shard_info {
  std::string id;
  std::size_t connections = 0;  ///< With the requests that run, and sockets that are being opened.
  std::size_t sockets = 0;      ///< That have joined.
};

/// Gives each client a place in a cluster of shards.
///
/// `G` is the gateway's class, an actor: `static constexpr std::size_t limit`, how many connections
/// a shard takes before another one is made; `identify(const request&)`, who asks, or nothing for
/// what is no shard's business, which then goes to `receive(request)` or is answered with 404. It
/// may say `hard_limit` (for further connections of ids that a shard has; twice the `limit`),
/// `max_shards`, and `clusterize()` or `clusterize(const request&)`: the id of a new shard.
///
/// `S` is the class of shards, an actor: `receive(request)`, which accepts a WebSocket by returning
/// `request::connect()`; and any of `on_open`, `on_message`, `on_close`, `on_error`, `on_gossip`.
/// Without a `receive` it accepts WebSockets. Its constructor may take a `troupe::shard`.
///
/// There is one worker of `G` for each cluster, its key the cluster's name, and one of `S` for each
/// shard, with the key `<cluster>/<shard>`. Unless their classes have options of their own, their
/// turns interleave at awaits, so that shards that gossip with one another need not wait in a
/// circle. A broker has at most one gateway for a class of shards.
///
/// It outlives what brings it requests, and the broker outlives it.
///
/// Thread safety: all members but the destructor from any thread.
template <class G, class S>
class gateway {
public:
  explicit gateway(broker& on, const gateway_options& options = {});
  gateway(const gateway&) = delete;
  gateway& operator=(const gateway&) = delete;
  /// Closes all sockets, with `close_code::going_away`. Does not wait for them.
  ~gateway() {
    close({close_code::going_away});
    core_->clear();
  }

  /// Answers a request to the cluster of this name. Where the answer accepts a WebSocket it carries
  /// a `session`, which the transport runs. Does not throw: see `response_to`.
  [[nodiscard]] task<response> receive(std::string cluster, request asked) {
    return core::answer(core_, std::move(cluster), std::move(asked));
  }
  /// The same for the cluster whose name is empty.
  [[nodiscard]] task<response> receive(request asked) {
    return core::answer(core_, std::string(), std::move(asked));
  }

  // --- from outside, to clusters that are there; to others nothing happens ----------------------
  /// To the sockets of one shard.
  delivery announce(std::string_view cluster, std::string_view shard, const socket_message& m);
  /// To the sockets of all shards.
  [[nodiscard]] task<delivery> broadcast(std::string_view cluster, socket_message m) {
    return broadcast_in(core_->find(cluster), std::move(m));
  }
  /// To every socket of one id.
  [[nodiscard]] task<delivery> whisper(std::string_view cluster, std::string uid,
                                       socket_message m) {
    return whisper_in(core_->find(cluster), std::move(uid), std::move(m));
  }
  /// Asks all shards; see `shard::gossip`.
  [[nodiscard]] task<std::vector<gossip_reply>> gossip(std::string_view cluster, std::string text,
                                                       duration limit = duration::zero()) {
    return gossip_in(core_->find(cluster), std::move(text), limit);
  }

  /// Closes all sockets of all clusters, once what waits for them is sent. Does not wait.
  void close(const close_info& how = {});

  /// The clusters that have shards, and the shards of one.
  [[nodiscard]] std::vector<std::string> clusters() const;
  [[nodiscard]] std::vector<shard_info> shards(std::string_view cluster = {}) const;

private:
  class core;
  using core_ptr = intrusive_ptr<core>;
  using cluster_of = typename detail::gateway_core<G>::cluster_of;
  using cluster_ptr = intrusive_ptr<cluster_of>;

  static task<delivery> broadcast_in(cluster_ptr home, socket_message m) {
    if (!home) co_return delivery();
    co_return co_await home->broadcast(std::move(m), {});
  }
  static task<delivery> whisper_in(cluster_ptr home, std::string uid, socket_message m) {
    if (!home) co_return delivery();
    co_return co_await home->whisper(std::move(uid), std::move(m));
  }
  static task<std::vector<gossip_reply>> gossip_in(cluster_ptr home, std::string text,
                                                   duration limit) {
    if (!home) co_return std::vector<gossip_reply>();
    co_return co_await home->gossip(std::move(text), {}, limit);
  }

  static std::unique_ptr<S> make_shard(core& c, context& ctx);

  core_ptr core_;
};

/// Its shards are workers of this broker.
template <class G, class S>
class gateway<G, S>::core final : public detail::gateway_core<G> {
public:
  using detail::gateway_core<G>::gateway_core;

  intrusive_ptr<detail::shard_peer> make_shard(const detail::cluster& home, std::string id,
                                               std::uint64_t number) override {
    return intrusive_ptr<detail::shard_peer>(
        new detail::local_shard<S>(this->workers, home.name, std::move(id), number));
  }
};

template <class G, class S>
gateway<G, S>::gateway(broker& on, const gateway_options& options) : core_(new core(on, options)) {
  detail::check_gateway_class<G>();
  detail::check_shard_hooks<S>();
  detail::provide_interleaved<G>(
      on, [](context& ctx) { return std::unique_ptr<G>(detail::make_by_constructor<G>(ctx)); });
  detail::provide_interleaved<S>(on, [c = core_](context& ctx) { return make_shard(*c, ctx); });
}

/// Its key says where it belongs.
template <class G, class S>
std::unique_ptr<S> gateway<G, S>::make_shard(core& c, context& ctx) {
  const std::string_view key = ctx.key();
  const std::size_t slash = key.rfind('/');
  const cluster_ptr home =
      slash == std::string_view::npos ? cluster_ptr() : c.find(key.substr(0, slash));
  const auto self = home ? home->table.find(key.substr(slash + 1)) : detail::routes::shard_ptr();
  if (!self) throw error(errc::start_failed, ctx.id(), "it is no shard of a cluster");
  using hosted = intrusive_ptr<detail::hosted_shard>;
  return detail::make_shard_instance<S>(
      ctx, shard(home, hosted(static_cast<detail::hosted_shard*>(self.get()))));
}

template <class G, class S>
delivery gateway<G, S>::announce(std::string_view cluster, std::string_view shard,
                                 const socket_message& m) {
  const cluster_ptr home = core_->find(cluster);
  const auto at = home ? home->table.find(shard) : detail::routes::shard_ptr();
  if (!at) return {};
  return static_cast<const detail::hosted_shard&>(*at).announce(m, {});
}

template <class G, class S>
void gateway<G, S>::close(const close_info& how) {
  for (const cluster_ptr& c : core_->list()) c->close_all(how);
}

template <class G, class S>
std::vector<std::string> gateway<G, S>::clusters() const {
  std::vector<std::string> names;
  for (const cluster_ptr& c : core_->list()) {
    if (c->table.count() != 0) names.push_back(c->name);
  }
  return names;
}

template <class G, class S>
std::vector<shard_info> gateway<G, S>::shards(std::string_view cluster) const {
  std::vector<shard_info> found;
  const cluster_ptr home = core_->find(cluster);
  if (!home) return found;
  for (const auto& s : home->shards()) {
    found.push_back({s->id, home->table.load_of(*s), s->sockets_here()});
  }
  return found;
}

}  // namespace troupe

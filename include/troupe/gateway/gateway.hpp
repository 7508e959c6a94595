// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `gateway<G, S>`: spreads connections over shards.
///
/// Layer: gateway. Does no input or output: transports bring requests and carry WebSockets.

#include <cstddef>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/actor/recipe.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/gathered.hpp>
#include <troupe/gateway/local_shard.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/session.hpp>
#include <troupe/gateway/shard_hooks.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// A shard of a cluster, at some moment gone by.
struct shard_info {
  std::string id;
  std::size_t connections = 0;  ///< With the requests that run, and sockets that are being opened.
  std::size_t sockets = 0;      ///< That have joined.
};

/// What a request is answered with after an exception: its status and text if it is an
/// `http_error`; 503 where the worker is overloaded or gone, 504 after a time-out; else 500. Says
/// nothing of what has happened inside.
[[nodiscard]] inline response response_to(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const http_error& e) {
    return text_response(e.status(), e.what());
  } catch (const error& e) {
    if (e.code() == errc::timed_out || e.code() == errc::expired) {
      return text_response(504, "it took too long");
    }
    const bool later = e.code() == errc::mailbox_full || e.code() == errc::worker_stopped ||
                       e.code() == errc::broker_gone;
    return later ? text_response(503, "try again later") : text_response(500, "internal error");
  } catch (...) {
    return text_response(500, "internal error");
  }
}

namespace detail {

/// The clusters of one gateway, by name. Counted: the gateway holds it, each cluster, and the
/// factory of shards.
template <class G, class S>
class gateway_core {
public:
  class cluster_of;

  gateway_core(broker& b, const gateway_options& o) : workers(b), options(o) {}
  gateway_core(const gateway_core&) = delete;
  gateway_core& operator=(const gateway_core&) = delete;

  friend void add_ref(gateway_core* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(gateway_core* c) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  broker& workers;
  const gateway_options options;

  /// The cluster of this name, which is made if there is none.
  intrusive_ptr<cluster_of> open(const std::string& name) {
    auto found = find(name);
    if (found) return found;
    all fresh;
    fresh.emplace(name, intrusive_ptr<cluster_of>(new cluster_of(*this, name)));
    typename all::insert_return_type put;  // what was there first goes behind the lock
    auto node = fresh.extract(fresh.begin());
    const spin_guard guard(lock_);
    put = clusters_.insert(std::move(node));
    return put.position->second;
  }

  intrusive_ptr<cluster_of> find(std::string_view name) const noexcept {
    const spin_guard guard(lock_);
    const auto at = clusters_.find(name);
    return at == clusters_.end() ? intrusive_ptr<cluster_of>() : at->second;
  }

  /// Drops the cluster if it has no shard and nobody but the caller refers to it.
  void forget_if_unused(const cluster_of& c) noexcept {
    typename all::node_type freed;
    const spin_guard guard(lock_);
    const auto at = clusters_.find(c.name);
    if (at == clusters_.end() || at->second.get() != &c) return;
    if (c.references() == 2 && c.table.count() == 0) freed = clusters_.extract(at);
  }

  /// The gateway's own worker of a cluster that is not there need not stay: it goes when it is
  /// idle, unless it keeps itself alive.
  void let_guide_go(const std::string& name) noexcept {
    if (find(name)) return;
    try {
      workers.evict(workers.template worker<G>(name).id());
    } catch (...) {
      // For want of memory: a cleaner may have it.
    }
  }

  /// Drops all; those that are in use go with their users.
  void clear() noexcept {
    all freed;
    const spin_guard guard(lock_);
    clusters_.swap(freed);
  }

  std::vector<intrusive_ptr<cluster_of>> list() const {
    return gathered<intrusive_ptr<cluster_of>>(
        lock_, [this] { return clusters_.size(); },
        [this](auto& found) {
          for (const auto& [name, c] : clusters_) found.push_back(c);
        });
  }

private:
  using all = std::map<std::string, intrusive_ptr<cluster_of>, std::less<>>;

  atomic<std::uint32_t> references_{0};
  mutable spin_lock lock_;
  all clusters_;  // guarded by `lock_`
};

template <class G>
constexpr cluster_limits limits_of() noexcept {
  cluster_limits l;
  l.limit = static_cast<std::size_t>(G::limit);
  l.hard_limit = l.limit > (std::numeric_limits<std::size_t>::max)() / 2 ? l.limit : 2 * l.limit;
  if constexpr (requires { static_cast<std::size_t>(G::hard_limit); }) l.hard_limit = G::hard_limit;
  l.max_shards = (std::numeric_limits<std::size_t>::max)();
  if constexpr (requires { static_cast<std::size_t>(G::max_shards); }) l.max_shards = G::max_shards;
  return l;
}

/// A cluster whose gateway is of class `G` and whose shards are of class `S`.
template <class G, class S>
class gateway_core<G, S>::cluster_of final : public cluster {
public:
  cluster_of(gateway_core& core, std::string n)
      : cluster(std::move(n), limits_of<G>(), core.options, core.workers), core_(&core) {}

  void became_idle() noexcept override {
    if (retires_.exchange(true, order::acq_rel)) return;
    try {
      workers.spawn(retire_idle(intrusive_ptr<cluster_of>(this)));
    } catch (...) {
      retires_.store(false,
                     order::release);  // for want of memory: the next one to leave tries again
    }
  }

protected:
  task<std::string> clusterize([[maybe_unused]] const request& asked) override {
    if constexpr (has_clusterize<G>) {
      const proxy<G> guide = workers.template worker<G>(name);
      co_return co_await guide.template call<&gateway_calls<G>::clusterize>(asked);
    } else {
      co_return std::string();
    }
  }

  shard_ptr make_shard(std::string id, std::uint64_t number) override {
    return shard_ptr(new local_shard<S>(workers, name, std::move(id), number));
  }

private:
  static task<> retire_idle(intrusive_ptr<cluster_of> self) {
    do {
      do {
        const auto slept = co_await as_result(sleep_for(self->options.retire_after));
        if (!slept) co_return;  // the broker goes
        const time_point before = self->where.now() - self->options.retire_after;
        for (;;) {
          const shard_ptr idle = self->table.take_idle(before);
          if (!idle) break;
          static_cast<void>(co_await as_result(idle->retire()));
        }
      } while (self->table.has_idle());
      self->retires_.store(false, order::release);
      // Who came to be idle since then has seen `true`.
    } while (self->table.has_idle() && !self->retires_.exchange(true, order::acq_rel));
    self->core_->forget_if_unused(*self);
    self->core_->let_guide_go(self->name);
  }

  const intrusive_ptr<gateway_core> core_;
  atomic<bool> retires_{false};  // true: `retire_idle` runs, or is about to
};

}  // namespace detail

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
    return answer(core_, std::move(cluster), std::move(asked));
  }
  /// The same for the cluster whose name is empty.
  [[nodiscard]] task<response> receive(request asked) {
    return answer(core_, std::string(), std::move(asked));
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
  using core = detail::gateway_core<G, S>;
  using core_ptr = intrusive_ptr<core>;
  using cluster_of = typename core::cluster_of;
  using cluster_ptr = intrusive_ptr<cluster_of>;

  static task<response> answer(core_ptr c, std::string name, request asked);
  static task<response> route(core& c, std::string name, request asked);

  static task<delivery> broadcast_in(cluster_ptr home, socket_message m) {
    if (!home) co_return delivery();
    co_return home->broadcast(m, nullptr, audience::everyone);
  }
  static task<delivery> whisper_in(cluster_ptr home, std::string uid, socket_message m) {
    if (!home) co_return delivery();
    co_return home->whisper(uid, m);
  }
  static task<std::vector<gossip_reply>> gossip_in(cluster_ptr home, std::string text,
                                                   duration limit) {
    if (!home) co_return std::vector<gossip_reply>();
    co_return co_await home->gossip(std::move(text), nullptr, limit);
  }

  static std::unique_ptr<S> make_shard(core& c, context& ctx);

  core_ptr core_;
};

namespace detail {

/// Says how instances are made, unless the program has said so: as `make` does, with turns that
/// interleave where the class has no options.
template <class A, class F>
void provide_interleaved(broker& b, F make) {
  const class_request asked = request_for<A>();
  const actor_class& known = broker_access::core_of(b).class_of_workers(asked);
  if (known.current.load(order::acquire) != &asked.default_maker()) return;
  if constexpr (requires { actor_options(A::options); }) {
    b.provide<A>(recipe<A>(std::move(make)));
  } else {
    actor_options options;
    options.reentrancy = reentrancy::interleaved;
    b.provide<A>(recipe<A>(std::move(make), options));
  }
}

}  // namespace detail

template <class G, class S>
gateway<G, S>::gateway(broker& on, const gateway_options& options) : core_(new core(on, options)) {
  detail::check_gateway_class<G>();
  detail::check_shard_hooks<S>();
  detail::provide_interleaved<G>(
      on, [](context& ctx) { return std::unique_ptr<G>(detail::make_by_constructor<G>(ctx)); });
  detail::provide_interleaved<S>(on, [c = core_](context& ctx) { return make_shard(*c, ctx); });
}

/// Its key says where it belongs. No cleaner takes it: it goes when it has been idle.
template <class G, class S>
std::unique_ptr<S> gateway<G, S>::make_shard(core& c, context& ctx) {
  const std::string_view key = ctx.key();
  const std::size_t slash = key.rfind('/');
  const cluster_ptr home =
      slash == std::string_view::npos ? cluster_ptr() : c.find(key.substr(0, slash));
  const auto self = home ? home->table.find(key.substr(slash + 1)) : detail::routes::shard_ptr();
  if (!self) throw error(errc::start_failed, ctx.id(), "it is no shard of a cluster");
  ctx.keep_alive(endless);
  if constexpr (std::is_constructible_v<S, context&, shard>) {
    return std::make_unique<S>(ctx, shard(home, self));
  } else if constexpr (std::is_constructible_v<S, shard>) {
    return std::make_unique<S>(shard(home, self));
  } else {
    return std::unique_ptr<S>(detail::make_by_constructor<S>(ctx));
  }
}

template <class G, class S>
task<response> gateway<G, S>::answer(core_ptr c, std::string name, request asked) {
  try {
    co_return co_await route(*c, std::move(name), std::move(asked));
  } catch (...) {
    co_return response_to(std::current_exception());
  }
}

template <class G, class S>
task<response> gateway<G, S>::route(core& c, std::string name, request asked) {
  const proxy<G> guide = c.workers.template worker<G>(name);
  const scope_exit without_cluster([&c, &name]() noexcept { c.let_guide_go(name); });
  std::optional<std::string> uid =
      co_await guide.template call<&detail::gateway_calls<G>::identify>(asked);
  if (!uid) {
    if constexpr (detail::has_receive<G>) {
      co_return co_await guide.template call<&detail::gateway_calls<G>::receive>(std::move(asked));
    } else {
      co_return text_response(404, "not found");
    }
  }
  const cluster_ptr home = c.open(name);
  const scope_exit tidy([&c, &home]() noexcept { c.forget_if_unused(*home); });
  const bool may_connect = asked.wants_socket() && asked.connect().status == 101;
  detail::seat at = co_await home->place(std::move(*uid), asked);
  response said = co_await at.shard()->receive(std::move(asked));
  if (said.status == 101) {
    if (!may_connect) co_return text_response(500, "internal error");
    said.session = std::make_shared<socket_session>(std::move(at));
  }
  co_return said;
}

template <class G, class S>
delivery gateway<G, S>::announce(std::string_view cluster, std::string_view shard,
                                 const socket_message& m) {
  const cluster_ptr home = core_->find(cluster);
  const auto at = home ? home->table.find(shard) : detail::routes::shard_ptr();
  if (!at) return {};
  return home->announce(*at, m, nullptr, audience::everyone);
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
    found.push_back({s->id, home->table.load_of(*s), s->sockets.all()->size()});
  }
  return found;
}

}  // namespace troupe

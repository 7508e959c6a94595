// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a gateway does with a request, and the clusters that it has.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/proxy.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/routed_cluster.hpp>
#include <troupe/gateway/routes.hpp>
#include <troupe/gateway/shard_hooks.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// The clusters of one gateway of class `G`, by name, wherever their shards are. Counted: the
/// gateway holds it, each cluster, and the factory of shards.
template <class G>
class gateway_core {
public:
  class cluster_of;
  using core_ptr = intrusive_ptr<gateway_core>;

  gateway_core(broker& b, const gateway_options& o, std::uint64_t seats_before = 0)
      : workers(b), options(o), seats(seats_before) {}
  gateway_core(const gateway_core&) = delete;
  gateway_core& operator=(const gateway_core&) = delete;
  virtual ~gateway_core() = default;

  friend void add_ref(gateway_core* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(gateway_core* c) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  broker& workers;
  const gateway_options options;
  atomic<std::uint64_t> seats;  // how many there have been

  /// Does not throw, but for want of memory.
  static task<response> answer(core_ptr self, std::string name, request asked);

  /// False: the workers of class `G` are somebody else's by now.
  virtual bool owns_guides() const noexcept { return true; }

  virtual intrusive_ptr<shard_peer> make_shard(const cluster& home, std::string id,
                                               std::uint64_t number) = 0;

  /// The cluster of this name, which is made if there is none. Throws `http_error` 503 where there
  /// are `most` others.
  intrusive_ptr<cluster_of> open(const std::string& name,
                                 std::size_t most = (std::numeric_limits<std::size_t>::max)()) {
    auto found = find(name);
    if (found) return found;
    all fresh;
    fresh.emplace(name, intrusive_ptr<cluster_of>(new cluster_of(*this, name)));
    typename all::insert_return_type put;  // what was there first goes behind the lock
    auto node = fresh.extract(fresh.begin());
    all unused;  // dies behind the lock
    {
      const spin_guard guard(lock_);
      if (clusters_.size() >= most) take_unused(unused);
      if (clusters_.size() < most || clusters_.count(name) != 0) {
        put = clusters_.insert(std::move(node));
        return put.position->second;
      }
    }
    throw http_error(503, "there are too many clusters");
  }

  intrusive_ptr<cluster_of> find(std::string_view name) const noexcept {
    const spin_guard guard(lock_);
    const auto at = clusters_.find(name);
    return at == clusters_.end() ? intrusive_ptr<cluster_of>() : at->second;
  }

  /// Drops the cluster if it has no shard and nobody but the caller refers to it. False: it stays,
  /// or was none of these.
  bool forget_if_unused(const cluster_of& c) noexcept {
    typename all::node_type freed;
    const spin_guard guard(lock_);
    const auto at = clusters_.find(c.name);
    if (at == clusters_.end() || at->second.get() != &c) return false;
    if (c.references() != 2 || c.table.count() != 0) return false;
    freed = clusters_.extract(at);
    return true;
  }

  /// The gateway's own worker of a cluster that is not there need not stay: it goes when it is
  /// idle, unless it keeps itself alive.
  void let_guide_go(const std::string& name) noexcept {
    if (owns_guides() && !find(name)) evict_guide(name);
  }
  void evict_guide(const std::string& name) noexcept {
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

  static task<response> route(gateway_core& c, std::string name, request asked);

  /// Who referred to a cluster when its last shard went may have kept it. The lock is held.
  void take_unused(all& unused) noexcept {
    for (auto at = clusters_.begin(); at != clusters_.end();) {
      const auto it = at++;
      const cluster_of& c = *it->second;
      if (c.references() == 1 && c.table.count() == 0) unused.insert(clusters_.extract(it));
    }
  }

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

template <class G>
class gateway_core<G>::cluster_of final : public routed_cluster {
public:
  cluster_of(gateway_core& core, std::string n)
      : routed_cluster(std::move(n), limits_of<G>(), core.options, core.workers, core.seats),
        core_(&core) {}

protected:
  void became_idle() noexcept override {
    if (retires_.exchange(true, order::acq_rel)) return;
    try {
      workers.spawn(retire_idle(intrusive_ptr<cluster_of>(this)));
    } catch (...) {
      retires_.store(false,
                     order::release);  // for want of memory: the next one to leave tries again
    }
  }

  task<std::string> clusterize([[maybe_unused]] const request& asked) override {
    if constexpr (has_clusterize<G>) {
      const proxy<G> guide = workers.template worker<G>(name);
      co_return co_await guide.template call<&gateway_calls<G>::clusterize>(asked);
    } else {
      co_return std::string();
    }
  }

  shard_ptr make_shard(std::string id, std::uint64_t number) override {
    return core_->make_shard(*this, std::move(id), number);
  }

private:
  static task<> retire_idle(intrusive_ptr<cluster_of> self) {
    do {
      do {
        const auto slept = co_await as_result(sleep_for(self->options.retire_after));
        if (!slept) co_return;  // the broker goes
        const time_point before = self->where.now() - self->options.retire_after;
        for (;;) {
          const auto retired = co_await as_result(self->retire_one(before));
          if (!retired) co_return self->retires_.store(false, order::release);
          if (!retired.value()) break;
        }
      } while (self->table.has_idle());
      self->retires_.store(false, order::release);
      // Who came to be idle since then has seen `true`.
    } while (self->table.has_idle() && !self->retires_.exchange(true, order::acq_rel));
    if (self->core_->forget_if_unused(*self)) self->core_->let_guide_go(self->name);
  }

  const core_ptr core_;
  atomic<bool> retires_{false};  // true: `retire_idle` runs, or is about to
};

template <class G>
task<response> gateway_core<G>::answer(core_ptr self, std::string name, request asked) {
  try {
    co_return co_await route(*self, std::move(name), std::move(asked));
  } catch (...) {
    co_return response_to(std::current_exception());
  }
}

template <class G>
task<response> gateway_core<G>::route(gateway_core& c, std::string name, request asked) {
  const proxy<G> guide = c.workers.template worker<G>(name);
  const scope_exit without_cluster([&c, &name]() noexcept { c.let_guide_go(name); });
  std::optional<std::string> uid = co_await guide.template call<&gateway_calls<G>::identify>(asked);
  if (!uid) {
    if constexpr (has_receive<G>) {
      co_return co_await guide.template call<&gateway_calls<G>::receive>(std::move(asked));
    } else {
      co_return text_response(404, "not found");
    }
  }
  const intrusive_ptr<cluster_of> home = c.open(name, c.options.max_clusters);
  const scope_exit tidy([&c, &home]() noexcept { c.forget_if_unused(*home); });
  seat at = co_await home->place(std::move(*uid), asked);
  shard_peer& there = *at.shard();
  co_return co_await there.visit(std::move(at), std::move(asked));
}

}  // namespace troupe::detail

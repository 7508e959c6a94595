// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `shared_gateway<G, S>`: a gateway of many processes.
///
/// Layer: gateway. Does no input or output: transports bring requests, and a network joins the
/// processes.

#include <algorithm>
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
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/hosted_session.hpp>
#include <troupe/gateway/local_shard.hpp>
#include <troupe/gateway/provide_shards.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/shard_hooks.hpp>
#include <troupe/gateway/shared/gateway_keeper.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/relayed_session.hpp>
#include <troupe/gateway/shared/shard_host.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/shared_gateway_options.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// A shard of a cluster of many processes, at some moment gone by.
struct shared_shard_info {
  std::string id;
  std::string process;          ///< The address of the process that has it.
  std::size_t connections = 0;  ///< With the requests that run, and sockets that are being opened.
};

/// One gateway in many processes: what `gateway` is within one. Each process that makes one of the
/// same name on the same network takes part; clients come to any of them, and shards are put into
/// those that take some, where the fewest are.
///
/// One of the processes is the keeper, whether it hosts shards or not: it runs `identify` and
/// `clusterize` and knows who is where. What instances of `G` know goes with it.
/// Where it goes, another one takes its place within a lease, and learns from the others who is
/// there: clients whose process and whose shard's process are still there notice nothing. Where a
/// shard's process goes, its clients are closed with `close_code::service_restart`, and come again.
///
/// A process that cannot reach the network for a lease gives up its shards and its clients, as the
/// others have given up theirs with it.
///
/// `G` and `S` are as for `gateway`. A broker has at most one gateway for a class of shards.
/// Outlives what brings it requests; broker and network outlive it.
///
/// Thread safety: all members but the destructor from any thread.
template <class G, class S>
class shared_gateway {
public:
  /// Throws `std::invalid_argument` for a name with a slash in it and a lease below 30 ms, and what
  /// `network::open` throws.
  shared_gateway(broker& on, network& over, const std::string& name,
                 const shared_gateway_options& options = {});
  shared_gateway(const shared_gateway&) = delete;
  shared_gateway& operator=(const shared_gateway&) = delete;
  /// The process takes part no more. Does not wait for it.
  ~shared_gateway() { core_->close(); }

  /// Its name in the network.
  [[nodiscard]] const std::string& address() const noexcept { return core_->address(); }
  /// The address of the keeper; empty: none is known.
  [[nodiscard]] std::string keeper() const { return core_->keeper(); }
  /// The addresses of all processes that take part, as far as this one knows.
  [[nodiscard]] std::vector<std::string> processes() const {
    const detail::gateway_members is = core_->known();
    return std::vector<std::string>(is.all.begin(), is.all.end());
  }

  /// As `gateway::receive`. 503 where there is no keeper, 502 where the process that has the shard
  /// is lost meanwhile; the shard may have had the request then.
  [[nodiscard]] task<response> receive(std::string cluster, request asked) {
    return answer(core_, std::move(cluster), std::move(asked));
  }
  [[nodiscard]] task<response> receive(request asked) {
    return answer(core_, std::string(), std::move(asked));
  }

  // --- from outside; these throw `errc::refused` where there is no keeper, and
  // `errc::connection_lost` or `errc::timed_out` where it was asked and has not answered ----------
  /// To the sockets of one shard.
  [[nodiscard]] task<delivery> announce(std::string cluster, std::string shard, socket_message m) {
    return told(core_,
                detail::wire::announce{std::move(cluster), std::move(shard), detail::wire::of(m)});
  }
  /// To the sockets of all shards.
  [[nodiscard]] task<delivery> broadcast(std::string cluster, socket_message m) {
    return told(core_, detail::wire::broadcast{std::move(cluster), detail::wire::of(m), {}, 0, 0});
  }
  /// To every socket of one id.
  [[nodiscard]] task<delivery> whisper(std::string cluster, std::string uid, socket_message m) {
    return told(core_,
                detail::wire::whisper{std::move(cluster), std::move(uid), detail::wire::of(m)});
  }
  /// Asks all shards; see `shard::gossip`.
  [[nodiscard]] task<std::vector<gossip_reply>> gossip(std::string cluster, std::string text,
                                                       duration limit = duration::zero()) {
    return replies(core_, std::move(cluster), std::move(text), limit);
  }
  /// Closes all sockets of all clusters, in all processes. Does not wait for them.
  [[nodiscard]] task<> close_all(close_info how = {}) { return close(core_, std::move(how)); }

  /// The clusters that have shards, and the shards of one.
  [[nodiscard]] task<std::vector<std::string>> clusters() { return names(core_); }
  [[nodiscard]] task<std::vector<shared_shard_info>> shards(std::string cluster = {}) {
    return shards_of(core_, std::move(cluster));
  }

private:
  class core;
  using core_ptr = intrusive_ptr<core>;

  static task<response> answer(core_ptr c, std::string cluster, request asked);
  static task<delivery> told(core_ptr c, detail::wire::question q);
  static task<std::vector<gossip_reply>> replies(core_ptr c, std::string cluster, std::string text,
                                                 duration limit);
  static task<> close(core_ptr c, close_info how);
  static task<std::vector<std::string>> names(core_ptr c);
  static task<std::vector<shared_shard_info>> shards_of(core_ptr c, std::string cluster);

  const core_ptr core_;
};

/// The process's part: a node, the host of its shards, and the keeper while it is that.
template <class G, class S>
class shared_gateway<G, S>::core final : public detail::gateway_node {
public:
  core(broker& b, network& n, const std::string& name, const shared_gateway_options& o)
      : gateway_node(b, n, name, o), host_(*this) {}

  std::unique_ptr<S> make_instance(context& ctx);

private:
  using keeper_of = detail::gateway_keeper<G>;
  using keeper_ptr = intrusive_ptr<keeper_of>;

  class host final : public detail::shard_host {
  public:
    explicit host(core& c) noexcept : shard_host(c), core_(c) {}

    intrusive_ptr<detail::hosted_shard> make(const detail::hosted_cluster& home, std::string id,
                                             std::uint64_t number) override {
      return intrusive_ptr<detail::hosted_shard>(
          new detail::local_shard<S>(core_.workers, home.name, std::move(id), number));
    }

  private:
    core& core_;
  };

  // --- as a node --------------------------------------------------------------------------------
  task<shared_bytes> answer(std::string from, shared_bytes asked) override;
  void begin_to_keep(std::uint64_t fence) override;
  void stop_keeping() noexcept override;
  void cut_off() noexcept override { host_.clear(close_info(close_code::service_restart)); }
  bool attach(std::uint64_t session, const std::string& from) override {
    return host_.attach(session, from);
  }
  void session_dropped(std::uint64_t session) noexcept override { host_.drop(session); }
  void tidy() noexcept override {
    host_.tidy();
    if (const keeper_ptr k = keeps()) k->tidy();
  }

  // --- what it is asked -------------------------------------------------------------------------
  keeper_ptr keeps() const noexcept {
    const spin_guard guard(lock_);
    return keeper_;
  }
  keeper_ptr require_keeper() const {
    keeper_ptr k = this->may_keep() ? keeps() : keeper_ptr();
    if (!k) throw error(errc::refused, {}, "this process is not the keeper");
    return k;
  }

  task<detail::wire::said> ask(detail::wire::route q) {
    return keeper_of::route(require_keeper(), std::move(q));
  }
  task<detail::wire::told> ask(detail::wire::broadcast q) {
    return keeper_of::broadcast(require_keeper(), std::move(q));
  }
  task<detail::wire::told> ask(detail::wire::whisper q) {
    return keeper_of::whisper(require_keeper(), std::move(q));
  }
  task<detail::wire::told> ask(detail::wire::announce q) {
    return keeper_of::announce(require_keeper(), std::move(q));
  }
  task<detail::wire::replies> ask(detail::wire::gossip q) {
    return keeper_of::gossip(require_keeper(), std::move(q));
  }
  task<detail::wire::view> ask(detail::wire::look) { return keeper_of::look(require_keeper()); }
  task<detail::wire::nothing> ask(detail::wire::close_clusters q) {
    return keeper_of::close(require_keeper(), std::move(q));
  }
  task<detail::wire::nothing> ask(detail::wire::left q) {
    return keeper_of::leave(require_keeper(), std::move(q));
  }
  task<detail::wire::said> ask(detail::wire::visit q) { return host_.visit(std::move(q)); }
  task<detail::wire::told> ask(detail::wire::tell q) { return host_.tell(std::move(q)); }
  task<detail::wire::told> ask(detail::wire::whisper_at q) { return host_.whisper(std::move(q)); }
  task<detail::wire::reply> ask(detail::wire::gossip_at q) { return host_.gossip(std::move(q)); }
  task<detail::wire::nothing> ask(detail::wire::close_shard q) { return host_.close(std::move(q)); }
  task<detail::wire::nothing> ask(detail::wire::retire q) { return host_.retire(std::move(q)); }
  task<detail::wire::nothing> ask(detail::wire::disown q) { return host_.disown(q); }
  task<detail::wire::host_report> ask(detail::wire::report q) { co_return host_.report(q); }

  template <class R>
  static task<shared_bytes> pack(task<R> asking) {
    const R answer = co_await std::move(asking);
    co_return detail::wire::packed(answer);
  }

  host host_;
  mutable spin_lock lock_;  // guards all below
  keeper_ptr keeper_;
};

template <class G, class S>
task<shared_bytes> shared_gateway<G, S>::core::answer(std::string, shared_bytes asked) {
  auto q = detail::wire::unpacked<detail::wire::question>(asked);
  return std::visit([this](auto& one) { return pack(this->ask(std::move(one))); }, q);
}

template <class G, class S>
void shared_gateway<G, S>::core::begin_to_keep(std::uint64_t fence) {
  keeper_ptr fresh(new keeper_of(*this, fence));
  {
    const spin_guard guard(lock_);
    keeper_ = fresh;
  }
  try {
    this->workers.spawn(keeper_of::take_over(std::move(fresh)));
  } catch (...) {
    stop_keeping();
    throw;
  }
}

template <class G, class S>
void shared_gateway<G, S>::core::stop_keeping() noexcept {
  keeper_ptr before;
  {
    const spin_guard guard(lock_);
    before.swap(keeper_);
  }
  if (before) before->end();
}

/// Its key says where it belongs.
template <class G, class S>
std::unique_ptr<S> shared_gateway<G, S>::core::make_instance(context& ctx) {
  const std::string_view key = ctx.key();
  const std::size_t slash = key.rfind('/');
  const intrusive_ptr<detail::hosted_cluster> home =
      slash == std::string_view::npos ? nullptr : host_.find(key.substr(0, slash));
  const intrusive_ptr<detail::hosted_shard> self =
      home ? home->find(key.substr(slash + 1)) : nullptr;
  if (!self) throw error(errc::start_failed, ctx.id(), "it is no shard of a cluster");
  return detail::make_shard_instance<S>(ctx,
                                        shard(intrusive_ptr<detail::cluster>(home.get()), self));
}

// --- the gateway itself -------------------------------------------------------------------------

template <class G, class S>
shared_gateway<G, S>::shared_gateway(broker& on, network& over, const std::string& name,
                                     const shared_gateway_options& options)
    : core_(new core(on, over, name, options)) {
  detail::check_gateway_class<G>();
  detail::check_shard_hooks<S>();
  detail::provide_interleaved<G>(
      on, [](context& ctx) { return std::unique_ptr<G>(detail::make_by_constructor<G>(ctx)); });
  detail::provide_interleaved<S>(on, [c = core_](context& ctx) { return c->make_instance(ctx); });
  core_->start();
}

template <class G, class S>
task<response> shared_gateway<G, S>::answer(core_ptr c, std::string cluster, request asked) {
  using namespace detail;
  try {
    wire::question q{wire::route{std::move(cluster), wire::of(std::move(asked))}};
    auto asking = c->template ask_keeper<wire::said>(std::move(q), c->options.request_limit);
    wire::said said = co_await std::move(asking);
    const std::uint64_t session = said.session;
    std::string at = std::move(said.host);
    response r = wire::to_response(std::move(said));
    if (session != 0) {
      r.session = std::make_shared<relayed_session>(intrusive_ptr<gateway_node>(c.get()),
                                                    std::move(at), session);
    }
    co_return r;
  } catch (...) {
    co_return response_to(std::current_exception());
  }
}

template <class G, class S>
task<delivery> shared_gateway<G, S>::told(core_ptr c, detail::wire::question q) {
  auto asking = c->template ask_keeper<detail::wire::told>(std::move(q), c->options.request_limit);
  detail::wire::told told = co_await std::move(asking);
  co_return detail::wire::to_delivery(std::move(told));
}

template <class G, class S>
task<std::vector<gossip_reply>> shared_gateway<G, S>::replies(core_ptr c, std::string cluster,
                                                              std::string text, duration limit) {
  using namespace detail;
  wire::question q{wire::gossip{std::move(cluster), {}, std::move(text), limit.count()}};
  const duration peer = limit == duration::zero() ? c->options.shards.peer_limit : limit;
  constexpr duration most = (duration::max)();
  const duration there = peer > most - c->options.lease ? most : peer + c->options.lease;
  const duration way = (std::max)(c->options.request_limit, there);
  auto asking = c->template ask_keeper<wire::replies>(std::move(q), way);
  wire::replies all = co_await std::move(asking);
  std::vector<gossip_reply> made;
  for (wire::reply& r : all.all) made.push_back(wire::to_reply(std::move(r)));
  co_return made;
}

template <class G, class S>
task<> shared_gateway<G, S>::close(core_ptr c, close_info how) {
  using namespace detail;
  wire::question q{
      wire::close_clusters{static_cast<std::uint16_t>(how.code), std::move(how.reason)}};
  auto asking = c->template ask_keeper<wire::nothing>(std::move(q), c->options.request_limit);
  static_cast<void>(co_await std::move(asking));
}

template <class G, class S>
task<std::vector<std::string>> shared_gateway<G, S>::names(core_ptr c) {
  using namespace detail;
  auto asking = c->template ask_keeper<wire::view>(wire::look(), c->options.request_limit);
  wire::view seen = co_await std::move(asking);
  std::vector<std::string> all;
  for (wire::cluster_view& v : seen.clusters) all.push_back(std::move(v.name));
  co_return all;
}

template <class G, class S>
task<std::vector<shared_shard_info>> shared_gateway<G, S>::shards_of(core_ptr c,
                                                                     std::string cluster) {
  using namespace detail;
  auto asking = c->template ask_keeper<wire::view>(wire::look(), c->options.request_limit);
  wire::view seen = co_await std::move(asking);
  std::vector<shared_shard_info> all;
  for (wire::cluster_view& v : seen.clusters) {
    if (v.name != cluster) continue;
    for (wire::shard_view& s : v.shards) {
      all.push_back({std::move(s.id), std::move(s.host), static_cast<std::size_t>(s.connections)});
    }
  }
  co_return all;
}

}  // namespace troupe

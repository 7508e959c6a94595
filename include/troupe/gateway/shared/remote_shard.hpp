// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A shard in another process, as the keeper of its cluster sees it.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/relayed_session.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// A keeper's time.
struct keeper_term {
  explicit keeper_term(std::uint64_t with) noexcept : fence(with) {}

  const std::uint64_t fence;
  atomic<bool> has_ended{false};  // for good
};

/// Holds the seats of the WebSockets there, until their host says that they have left, or is gone.
class remote_shard final : public shard_peer {
public:
  /// Where a shard is.
  struct whereabouts {
    std::string host;
    std::string cluster;
    std::uint64_t mark = 0;   // by which the host knows it, maybe from another keeper
    bool knows_host = false;  // the host has told this keeper what it has
  };

  remote_shard(gateway_node& n, std::shared_ptr<const keeper_term> during, whereabouts is,
               std::string name, std::uint64_t n_th)
      : shard_peer(std::move(name), n_th),
        host(std::move(is.host)),
        node_(&n),
        during_(std::move(during)),
        cluster_(std::move(is.cluster)),
        mark_(is.mark),
        knows_host_(is.knows_host) {}

  const std::string host;

  inline task<response> visit(seat at, request asked) override;

  task<delivery> tell(socket_message m, exclusion but, duration limit) override {
    wire::question q{wire::tell{cluster_, id, wire::of(m), std::string(but.uid), but.number,
                                static_cast<std::uint8_t>(but.to)}};
    auto asking = node_->ask<wire::told>(host, std::move(q), limit);
    wire::told told = co_await std::move(asking);
    co_return wire::to_delivery(std::move(told));
  }
  task<delivery> whisper(std::string uid, socket_message m, duration limit) override {
    wire::question q{wire::whisper_at{cluster_, id, std::move(uid), wire::of(m)}};
    auto asking = node_->ask<wire::told>(host, std::move(q), limit);
    wire::told told = co_await std::move(asking);
    co_return wire::to_delivery(std::move(told));
  }
  task<std::string> gossip(std::string_view text, duration limit) override {
    wire::question q{wire::gossip_at{cluster_, id, std::string(text), limit.count()}};
    auto asking = node_->ask<wire::reply>(host, std::move(q), limit);
    wire::reply r = co_await std::move(asking);
    co_return std::move(r.text);
  }
  /// Until its host has done so, or is gone.
  task<> retire() override {
    if (is_lost()) co_return;
    auto retiring = retire_there(node_, host, {during_->fence, cluster_, id, mark_});
    co_await std::move(retiring);
  }
  void retire_now() {
    node_->workers.spawn(retire_there(node_, host, {during_->fence, cluster_, id, mark_}));
  }
  void close_all(const close_info& how) override {
    node_->workers.spawn(
        close_there(node_, host, {cluster_, id, static_cast<std::uint16_t>(how.code), how.reason}));
  }
  std::size_t sockets_here() const override { return 0; }

  /// False: it is lost, or has a seat of this number.
  [[nodiscard]] bool keep(seat s);
  /// Who had the seat has left.
  void drop(std::uint64_t session) noexcept;
  /// Its host is gone, or somebody else keeps its cluster: it is not asked any more.
  void drop_all() noexcept;

private:
  bool is_lost() const noexcept {
    const spin_guard guard(lock_);
    return lost_;
  }

  using seats = std::map<std::uint64_t, seat>;

  static task<> close_there(intrusive_ptr<gateway_node> node, std::string host,
                            wire::close_shard what) {
    auto asking = node->ask<wire::nothing>(std::move(host), wire::question(std::move(what)),
                                           node->options.request_limit);
    static_cast<void>(co_await as_result(std::move(asking)));
  }

  /// Again and again: a shard that nobody knows would stay for ever.
  static task<> retire_there(intrusive_ptr<gateway_node> node, std::string host,
                             wire::retire what) {
    while (node->knows(host)) {
      auto asking = as_result(
          node->ask<wire::nothing>(host, wire::question(what), node->options.request_limit));
      const result<wire::nothing> done = co_await std::move(asking);
      if (done.has_value() || done.code() == make_error_code(errc::refused)) co_return;
      const result<void> slept = co_await as_result(sleep_for(node->options.lease / 3));
      if (!slept.has_value()) co_return;
    }
  }

  const intrusive_ptr<gateway_node> node_;
  const std::shared_ptr<const keeper_term> during_;
  const std::string cluster_;
  const std::uint64_t mark_;
  const bool knows_host_;
  mutable spin_lock lock_;  // guards all below
  seats taken_;
  bool lost_ = false;
};

/// The seat is kept before the host is asked: its leaving may be heard of before its coming is.
inline task<response> remote_shard::visit(seat at, request asked) {
  const std::uint64_t session = at.number();
  const intrusive_ptr<shard_peer> self = at.shard();  // while it waits
  wire::question q{wire::visit{during_->fence,
                               cluster_,
                               id,
                               number,
                               mark_,
                               knows_host_,
                               {at.uid(), session},
                               wire::of(std::move(asked))}};
  const bool kept = keep(std::move(at));
  if (!kept) throw error(errc::refused, {}, "the shard is lost");
  bool stays = false;
  const scope_exit over([&]() noexcept {
    if (!stays) drop(session);
  });
  auto asking = as_result(node_->ask<wire::said>(host, std::move(q), node_->options.request_limit));
  result<wire::said> said = co_await std::move(asking);
  if (!said.has_value())
    node_->tell(host, wire::dropped{session});  // should it have come after all
  wire::said answer = std::move(said).value();
  stays = answer.session != 0;
  response r = wire::to_response(std::move(answer));
  if (stays) r.session = std::make_shared<relayed_session>(node_, host, session);
  co_return r;
}

/// The seats refer to their shard: a keeper that has ended while this one came drops it as well.
inline bool remote_shard::keep(seat s) {
  seats fresh;
  const std::uint64_t session = s.number();
  fresh.emplace(session, std::move(s));
  auto node = fresh.extract(fresh.begin());
  seats::insert_return_type put;  // what is not needed goes behind the lock
  {
    const spin_guard guard(lock_);
    if (!lost_) put = taken_.insert(std::move(node));
  }
  if (during_->has_ended.load(order::acquire)) drop_all();
  return put.inserted;
}

inline void remote_shard::drop(std::uint64_t session) noexcept {
  seats::node_type freed;  // leaves the table behind the lock
  const spin_guard guard(lock_);
  freed = taken_.extract(session);
}

inline void remote_shard::drop_all() noexcept {
  seats freed;
  {
    const spin_guard guard(lock_);
    lost_ = true;
    freed.swap(taken_);
  }
}

}  // namespace troupe::detail

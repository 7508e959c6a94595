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

#include <troupe/base/intrusive_ptr.hpp>
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
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Holds the seats of the WebSockets there, until their host says that they have left, or is gone.
class remote_shard final : public shard_peer {
public:
  /// `made_as`: its number at its host, who may know it from another keeper.
  remote_shard(gateway_node& n, std::uint64_t keeps_with, std::string at, std::string home,
               std::string name, std::uint64_t n_th, std::uint64_t made_as)
      : shard_peer(std::move(name), n_th),
        host(std::move(at)),
        node_(&n),
        fence_(keeps_with),
        cluster_(std::move(home)),
        number_there_(made_as) {}

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
  /// Does not wait for the host to do it.
  task<> retire() override {
    if (!is_lost()) retire_now();
    co_return;
  }
  void retire_now() {
    node_->workers.spawn(retire_there(node_, host, {fence_, cluster_, id, number_there_}));
  }
  void close_all(const close_info& how) override {
    node_->workers.spawn(
        close_there(node_, host, {cluster_, id, static_cast<std::uint16_t>(how.code), how.reason}));
  }
  std::size_t sockets_here() const override { return 0; }

  void keep(seat s);
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
  const std::uint64_t fence_;
  const std::string cluster_;
  const std::uint64_t number_there_;
  mutable spin_lock lock_;  // guards all below
  seats taken_;
  bool lost_ = false;
};

/// The seat is kept before the host is asked: its leaving may be heard of before its coming is.
inline task<response> remote_shard::visit(seat at, request asked) {
  const std::uint64_t session = at.number();
  const intrusive_ptr<shard_peer> self = at.shard();  // while it waits
  wire::question q{wire::visit{
      fence_, cluster_, id, number_there_, {at.uid(), session}, wire::of(std::move(asked))}};
  keep(std::move(at));
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

inline void remote_shard::keep(seat s) {
  seats fresh;
  const std::uint64_t session = s.number();
  fresh.emplace(session, std::move(s));
  const spin_guard guard(lock_);
  if (!lost_) taken_.merge(fresh);
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

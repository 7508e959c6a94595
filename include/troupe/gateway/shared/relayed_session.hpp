// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The session of a client here whose shard is elsewhere.
///
/// Layer: gateway.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/socket_relay.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/gateway/socket_transport.hpp>

namespace troupe::detail {

/// Carries messages both ways; the hooks run where the shard is. Where that is out of reach, the
/// client is told to come again.
class relayed_session final : public socket_session {
public:
  relayed_session(intrusive_ptr<gateway_node> n, std::string shard_is_at,
                  std::uint64_t session) noexcept
      : node_(std::move(n)), host(std::move(shard_is_at)), number(session) {}
  relayed_session(const relayed_session&) = delete;
  relayed_session& operator=(const relayed_session&) = delete;
  ~relayed_session() override {
    if (node_) give_up();
  }

  inline task<> run(std::shared_ptr<socket_transport> by) override;

  relayed_session* relayed() noexcept override { return this; }

  /// Somebody else runs it.
  void hand_over() noexcept { node_ = nullptr; }

private:
  using relay_ptr = std::shared_ptr<socket_relay>;

  relay_ptr attach() const noexcept;
  void give_up() const noexcept;
  static task<> carry_up(socket_transport& client, socket_relay& shard);
  static task<> carry_down(socket_transport& client, socket_relay& shard);

  intrusive_ptr<gateway_node> node_;  // nobody: it is not to be run here any more

public:
  const std::string host;
  const std::uint64_t number;
};

/// The shard must not wait for a client that does not come.
inline void relayed_session::give_up() const noexcept {
  try {
    node_->tell(host, wire::dropped{number});
  } catch (...) {
    // For want of memory: the host drops it after a while.
  }
}

inline task<> relayed_session::run(std::shared_ptr<socket_transport> by) {
  const relay_ptr shard = attach();
  if (!shard) {
    by->abort();
    co_return;
  }
  const intrusive_ptr<gateway_node> node = std::exchange(node_, nullptr);
  task<> up = carry_up(*by, *shard);
  task<> down = carry_down(*by, *shard);
  co_await when_all(std::move(up), std::move(down));
  shard->say_end();
  node->forget(*shard);
}

/// Nothing: there is no memory.
inline relayed_session::relay_ptr relayed_session::attach() const noexcept {
  relay_ptr shard;
  try {
    shard = node_->open_relay(host, number, true);
    shard->attach();
    return shard;
  } catch (...) {
    if (shard) node_->forget(*shard);
    return nullptr;
  }
}

/// Neither throws. What ends one of the two ends the other: by the relay, or by the transport.
inline task<> relayed_session::carry_up(socket_transport& client, socket_relay& shard) {
  for (;;) {
    auto reading = as_result(client.read());
    result<std::optional<socket_message>> m = co_await std::move(reading);
    if (!m.has_value()) break;
    if (!m.value()) {
      shard.say_goodbye(client.closed_by_peer());
      co_return;
    }
    auto writing = as_result(shard.write(*m.value()));
    const result<void> written = co_await std::move(writing);
    if (!written.has_value() && shard.is_open()) break;
    // Once the shard has closed it, what still comes is dropped until the client has done so too.
  }
  shard.abort();
}

inline task<> relayed_session::carry_down(socket_transport& client, socket_relay& shard) {
  for (;;) {
    auto reading = as_result(shard.read());
    result<std::optional<socket_message>> m = co_await std::move(reading);
    if (!m.has_value()) {
      co_await client.close(close_info(close_code::service_restart));
      co_return;
    }
    if (!m.value()) {
      co_await client.close(shard.closed_by_peer());
      co_return;
    }
    auto writing = as_result(client.write(*m.value()));
    const result<void> written = co_await std::move(writing);
    if (!written.has_value()) break;
  }
  shard.abort();
  client.abort();
}

}  // namespace troupe::detail

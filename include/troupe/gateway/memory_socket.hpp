// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A WebSocket in memory: for tests and simulations of shards.
///
/// Layer: gateway.

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/channel.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// A request that asks for a WebSocket, as a browser would.
[[nodiscard]] inline request socket_request(std::string target = "/") {
  request asked("GET", std::move(target));
  asked.fields.set("Connection", "Upgrade");
  asked.fields.set("Upgrade", "websocket");
  asked.fields.set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
  asked.fields.set("Sec-WebSocket-Version", "13");
  return asked;
}

/// Both ends of a connection: a transport for the server, and what a client does.
///
/// Thread safety: all members from any thread; one client reads at a time.
class memory_socket final : public socket_transport {
public:
  /// So many messages are on the way in each direction before who sends has to wait.
  explicit memory_socket(std::size_t capacity = 64) : to_server_(capacity), to_client_(capacity) {}

  // --- the client's end -------------------------------------------------------------------------
  /// False: it is closed.
  [[nodiscard]] task<bool> send(socket_message m) {
    co_return co_await to_server_.send(std::move(m));
  }
  /// The next message; nothing once it is closed, and all before that is read.
  [[nodiscard]] task<std::optional<socket_message>> receive() {
    co_return co_await to_client_.receive();
  }
  /// Says goodbye.
  void leave(close_info how = {}) noexcept {
    {
      const spin_guard guard(lock_);
      if (!by_client_) by_client_ = std::move(how);
    }
    to_server_.close();
    to_client_.close();
  }
  /// Is gone without a word.
  void vanish() noexcept { abort(); }
  /// How the server has closed it; nothing if it has not.
  [[nodiscard]] std::optional<close_info> closed_by_server() const {
    const spin_guard guard(lock_);
    return by_server_;
  }

  // --- the server's end -------------------------------------------------------------------------
  task<std::optional<socket_message>> read() override {
    std::optional<socket_message> m = co_await to_server_.receive();
    if (!m && lost()) throw error(errc::connection_lost, {}, "the client is gone");
    co_return m;
  }
  task<> write(const socket_message& m) override {
    const bool taken = co_await to_client_.send(socket_message(m));
    if (!taken) throw error(errc::connection_lost, {}, "the client is gone");
  }
  task<> close(const close_info& how) override {
    {
      const spin_guard guard(lock_);
      if (!by_server_ && !by_client_ && !lost_) by_server_ = how;
    }
    to_server_.close();
    to_client_.close();
    co_return;
  }
  close_info closed_by_peer() const override {
    const spin_guard guard(lock_);
    return by_client_.value_or(close_info(close_code::no_code));
  }
  void abort() noexcept override {
    {
      const spin_guard guard(lock_);
      lost_ = true;
    }
    to_server_.close();
    to_client_.close();
  }

private:
  bool lost() const noexcept {
    const spin_guard guard(lock_);
    return lost_;
  }

  channel<socket_message> to_server_;
  channel<socket_message> to_client_;
  mutable spin_lock lock_;  // guards all below
  std::optional<close_info> by_client_;
  std::optional<close_info> by_server_;
  bool lost_ = false;
};

}  // namespace troupe

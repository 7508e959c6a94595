// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What carries a WebSocket: the seam between gateways and the network.
///
/// Layer: gateway. Implemented by adapter/web, and in memory for tests and simulations.

#include <optional>

#include <troupe/coro/task.hpp>
#include <troupe/gateway/socket_message.hpp>

namespace troupe {

/// One open connection. Whoever has accepted it gives it to `socket_session::run`, which reads in
/// one coroutine and writes in another: at any time there is at most one `read` and at most one of
/// `write` and `close`. All but `abort` are awaited on the executor that `run` was started on.
class socket_transport {
public:
  virtual ~socket_transport() = default;

  /// None of what is awaited need heed a stop request: who is to stop is aborted.
  ///
  /// The next message; nothing once the WebSocket is closed, by whichever side. Throws where the
  /// connection is lost or the peer breaks the protocol.
  virtual task<std::optional<socket_message>> read() = 0;

  /// Returns once the connection has taken it. Throws where that is lost.
  virtual task<> write(const socket_message& m) = 0;

  /// Closes it as RFC 6455 says, within a time of its own; what still comes in is dropped, and
  /// `read` gives nothing. Does not throw.
  virtual task<> close(const close_info& how) = 0;

  /// How the peer has closed it, once `read` has given nothing.
  virtual close_info closed_by_peer() const = 0;

  /// Drops the connection: what is awaited ends soon, `read` and `write` by throwing. From any
  /// thread; again and again.
  virtual void abort() noexcept = 0;

protected:
  socket_transport() = default;
  socket_transport(const socket_transport&) = default;
  socket_transport& operator=(const socket_transport&) = default;
};

}  // namespace troupe

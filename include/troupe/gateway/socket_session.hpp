// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `socket_session`: one WebSocket from its acceptance to its end, for transports.
///
/// Layer: gateway.

#include <memory>

#include <troupe/coro/task.hpp>
#include <troupe/gateway/socket_transport.hpp>

namespace troupe {
namespace detail {
class relayed_session;
}

/// What a transport gets with a 101 (`response::session`): has the client's place in its shard, and
/// gives that back when it goes, whether the connection came about or not.
class socket_session {
public:
  virtual ~socket_session() = default;

  /// Runs the hooks of the shard and carries messages, until the WebSocket has ended. Does not
  /// throw. A stop request drops the connection. Once.
  ///
  /// `on_open` comes first; then the socket joins its shard. A hook that throws ends the connection
  /// with 1011. At the end, and also where `on_open` has thrown, exactly one of `on_error` (if
  /// there is one, and the connection was lost or a hook has thrown) and `on_close` runs, once,
  /// when the socket has left its shard; not if the instance that it was opened by is gone.
  virtual task<> run(std::shared_ptr<socket_transport> by) = 0;

  /// For the library: where the shard is in another process.
  virtual detail::relayed_session* relayed() noexcept { return nullptr; }

protected:
  socket_session() = default;
  socket_session(const socket_session&) = default;
  socket_session& operator=(const socket_session&) = default;
};

}  // namespace troupe

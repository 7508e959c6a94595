// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a web server listens, and what it takes from clients.
///
/// Layer: adapter. Plain values.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <troupe/time/clock.hpp>

namespace troupe {

struct web_options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  ///< 0: a free one; `web_server::port()` tells.
  unsigned threads = 1;    ///< Each has a loop of its own, and its share of the connections.

  std::size_t max_connections = 10'000;     ///< Beyond it, who connects is turned away.
  std::size_t header_limit = 16 * 1024;     ///< Bytes of a request's head; else 431.
  std::size_t body_limit = 1024 * 1024;     ///< Of its body; else 413.
  std::size_t message_limit = 1024 * 1024;  ///< Of a WebSocket's message; else it is closed, 1009.
  duration request_time = std::chrono::seconds(15);  ///< For all of a request to come in.
  duration idle_time = std::chrono::seconds(60);     ///< Between requests.
  duration ping_after =
      std::chrono::seconds(150);                   ///< Of a WebSocket's silence; twice: it is lost.
  duration drain_time = std::chrono::seconds(10);  ///< For what runs when the server stops.

  /// Who may open WebSockets, as browsers say in `Origin`: `https://example.org`. Empty: anybody.
  /// Clients that are no browsers and send no `Origin` may.
  std::vector<std::string> allowed_origins{};
};

}  // namespace troupe

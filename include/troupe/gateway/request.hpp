// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a client asks.
///
/// Layer: gateway. A plain value.

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/gateway/headers.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/url.hpp>

namespace troupe {

/// One request, by whatever transport it came.
struct request {
  request() = default;
  explicit request(std::string asked_method, std::string asked_target = "/",
                   shared_bytes content = {})
      : method(std::move(asked_method)),
        target(std::move(asked_target)),
        body(std::move(content)) {}

  std::string method = "GET";
  std::string target = "/";  ///< As it was sent: the path and, behind `?`, the query.
  headers fields;
  shared_bytes body;
  std::string peer;  ///< Who asks, as the transport names it: `127.0.0.1:4711`.

  [[nodiscard]] std::string_view path() const noexcept { return detail::path_of(target); }
  [[nodiscard]] std::string_view query() const noexcept { return detail::query_of(target); }
  /// A parameter of the query, decoded.
  [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const {
    return query_parameter(query(), name);
  }

  /// True if it asks for a WebSocket, well or badly.
  [[nodiscard]] bool wants_socket() const noexcept {
    return detail::lists_token(fields.get("Upgrade"), "websocket");
  }

  /// The answer that accepts a WebSocket: 101. Or, where the request is no opening handshake as RFC
  /// 6455 has it, the one that says so: 405, 426 or 400. In a shard's `receive`:
  /// `co_return asked.connect();`.
  [[nodiscard]] response connect() const;
};

namespace detail {

/// 16 bytes in base 64.
constexpr bool is_socket_key(std::string_view key) noexcept {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return key.size() == 24 && key.ends_with("==") && key.find_first_not_of(digits) == 22;
}

}  // namespace detail

inline response request::connect() const {
  if (method != "GET") {
    response refused = text_response(405, "a WebSocket is opened with GET");
    refused.fields.set("Allow", "GET");
    return refused;
  }
  if (!wants_socket() || !detail::lists_token(fields.get("Connection"), "upgrade")) {
    response refused = text_response(426, "this is a WebSocket: Upgrade: websocket is missing");
    refused.fields.set("Upgrade", "websocket");
    refused.fields.set("Connection", "Upgrade");
    return refused;
  }
  if (!detail::is_socket_key(fields.get("Sec-WebSocket-Key"))) {
    return text_response(400, "Sec-WebSocket-Key is missing or no key");
  }
  if (fields.get("Sec-WebSocket-Version") != "13") {
    response refused = text_response(400, "Sec-WebSocket-Version has to be 13");
    refused.fields.set("Sec-WebSocket-Version", "13");
    return refused;
  }
  return response(101);
}

}  // namespace troupe

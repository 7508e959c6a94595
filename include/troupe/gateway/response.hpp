// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a request is answered with.
///
/// Layer: gateway. A plain value; a response that accepts a WebSocket carries what runs it.

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/gateway/headers.hpp>

namespace troupe {

class socket_session;

/// The answer to a `request`.
struct response {
  response() = default;
  explicit response(int code) : status(code) {}
  /// With a text as its body. Nothing is said of its type.
  response(int code, shared_bytes content) : status(code), body(std::move(content)) {}
  response(int code, shared_bytes content, std::string content_type)
      : status(code), body(std::move(content)) {
    fields.set("Content-Type", std::move(content_type));
  }

  int status = 200;
  headers fields;
  shared_bytes body;

  /// For transports: what runs the WebSocket that this accepts; nobody otherwise.
  std::shared_ptr<socket_session> session;
};

/// A text that anybody can read.
[[nodiscard]] inline response text_response(int code, std::string_view text) {
  return response(code, shared_bytes(text), "text/plain; charset=utf-8");
}

/// Thrown by a handler: the request is answered with this status and this text.
class http_error : public std::runtime_error {
public:
  http_error(int status, const std::string& text) : std::runtime_error(text), status_(status) {}

  [[nodiscard]] int status() const noexcept { return status_; }

private:
  int status_;
};

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One message on a WebSocket, and how a WebSocket ends.
///
/// Layer: gateway. Plain values; a copy shares the payload.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/gateway/utf8.hpp>

namespace troupe {

/// A text, or bytes.
///
/// A client that is sent a text which is no UTF-8 has to drop the connection (RFC 6455, 8.1), so
/// there is no such text: each byte that belongs to no character is replaced by U+FFFD. That is
/// looked at once, when the message is made, however many it is sent to.
class socket_message {
public:
  socket_message() = default;
  socket_message(shared_bytes text) : payload_(readable(std::move(text))) {}
  socket_message(std::string&& text) : socket_message(shared_bytes(std::move(text))) {}
  socket_message(std::string_view text) : socket_message(shared_bytes(text)) {}
  socket_message(const std::string& text) : socket_message(std::string_view(text)) {}
  socket_message(const char* text) : socket_message(std::string_view(text)) {}

  [[nodiscard]] static socket_message binary(shared_bytes bytes) noexcept {
    socket_message made;
    made.payload_ = std::move(bytes);
    made.is_binary_ = true;
    return made;
  }

  [[nodiscard]] bool is_binary() const noexcept { return is_binary_; }
  [[nodiscard]] const shared_bytes& payload() const noexcept { return payload_; }
  [[nodiscard]] std::string_view text() const noexcept { return payload_.view(); }
  [[nodiscard]] std::size_t size() const noexcept { return payload_.size(); }

private:
  static shared_bytes readable(shared_bytes text) {
    if (is_utf8(text.view())) return text;
    return shared_bytes(to_utf8(text.view()));
  }

  shared_bytes payload_;
  bool is_binary_ = false;
};

/// Why a WebSocket is closed; RFC 6455, 7.4.1. Others, from 3000 to 4999, are the application's.
enum class close_code : std::uint16_t {
  normal = 1000,
  going_away = 1001,
  protocol_error = 1002,
  unsupported_data = 1003,
  no_code = 1005,   ///< The peer gave none. Never sent.
  abnormal = 1006,  ///< It went without a word. Never sent.
  invalid_text = 1007,
  policy_violation = 1008,
  too_big = 1009,
  internal_error = 1011,
  service_restart = 1012,
  try_again_later = 1013
};

/// How a WebSocket was closed.
struct close_info {
  close_info() = default;
  close_info(close_code why, std::string said = {}) : code(why), reason(std::move(said)) {}

  close_code code = close_code::normal;
  std::string reason;  // at most 123 bytes are sent; mended as texts are
};

}  // namespace troupe

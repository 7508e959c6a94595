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

namespace troupe {

/// A text, or bytes.
class socket_message {
public:
  socket_message() = default;
  socket_message(shared_bytes text) noexcept : payload_(std::move(text)) {}
  socket_message(std::string&& text) : payload_(std::move(text)) {}
  socket_message(std::string_view text) : payload_(text) {}
  socket_message(const std::string& text) : payload_(std::string_view(text)) {}
  socket_message(const char* text) : payload_(text) {}

  [[nodiscard]] static socket_message binary(shared_bytes bytes) {
    socket_message made(std::move(bytes));
    made.is_binary_ = true;
    return made;
  }

  [[nodiscard]] bool is_binary() const noexcept { return is_binary_; }
  [[nodiscard]] const shared_bytes& payload() const noexcept { return payload_; }
  [[nodiscard]] std::string_view text() const noexcept { return payload_.view(); }
  [[nodiscard]] std::size_t size() const noexcept { return payload_.size(); }

private:
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
  std::string reason;  // at most 123 bytes are sent
};

}  // namespace troupe

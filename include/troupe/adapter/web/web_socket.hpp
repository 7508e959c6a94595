// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A WebSocket on a connection of Beast.
///
/// Layer: adapter.

#include <utility>  // Boost 1.74 forgets it

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/websocket.hpp>

#include <troupe/adapter/web/http_message.hpp>
#include <troupe/adapter/web/web_loop.hpp>
#include <troupe/adapter/web/web_options.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/gateway/utf8.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

namespace websocket = boost::beast::websocket;

/// Belongs to one loop; `abort` may come from anywhere.
template <class Stream>
class web_socket final : public socket_transport,
                         public std::enable_shared_from_this<web_socket<Stream>> {
public:
  web_socket(web_loop& loop, Stream&& stream, const web_options& options)
      : loop_(loop), ws_(std::move(stream)) {
    websocket::stream_base::timeout times;
    times.handshake_timeout = std::chrono::seconds(10);  // the closing one as well
    times.idle_timeout = (std::min)(options.ping_after, longest_silence) * 2;
    times.keep_alive_pings = true;
    ws_.set_option(times);
    ws_.read_message_max(options.message_limit);
    ws_.auto_fragment(false);
  }

  /// Sends the 101. False: the connection is lost.
  task<bool> accept(const http_request& asked) {
    const io_result done =
        co_await io_operation([&](auto handler) { ws_.async_accept(asked, std::move(handler)); });
    co_return static_cast<bool>(done);
  }

  task<std::optional<socket_message>> read() override {
    const io_result got =
        co_await io_operation([&](auto handler) { ws_.async_read(incoming_, std::move(handler)); });
    if (got.error == websocket::error::closed) co_return std::nullopt;
    if (!got) throw error(errc::connection_lost, {}, got.error.message());
    const auto bytes = incoming_.cdata();
    shared_bytes content(std::string_view(static_cast<const char*>(bytes.data()), bytes.size()));
    incoming_.consume(bytes.size());
    if (incoming_.capacity() > kept_capacity) incoming_.shrink_to_fit();
    if (ws_.got_binary()) co_return socket_message::binary(std::move(content));
    co_return socket_message(std::move(content));
  }

  task<> write(const socket_message& m) override {
    ws_.binary(m.is_binary());
    const io_result done = co_await io_operation([&](auto handler) {
      ws_.async_write(boost::asio::buffer(m.payload().data(), m.size()), std::move(handler));
    });
    if (!done) throw error(errc::connection_lost, {}, done.error.message());
  }

  task<> close(const close_info& how) override {
    websocket::close_reason reason(sendable_code(how.code));
    const std::string mended = to_utf8(how.reason);
    const std::string_view text = beginning_of(mended);
    reason.reason.assign(text.data(), text.size());
    static_cast<void>(
        co_await io_operation([&](auto handler) { ws_.async_close(reason, std::move(handler)); }));
  }

  close_info closed_by_peer() const override {
    const websocket::close_reason& reason = ws_.reason();
    if (reason.code == websocket::close_code::none) return close_info(close_code::no_code);
    return close_info(static_cast<close_code>(reason.code),
                      std::string(reason.reason.data(), reason.reason.size()));
  }

  void abort() noexcept override {
    try {
      boost::asio::post(loop_.io(), [self = this->shared_from_this()] {
        boost::beast::get_lowest_layer(self->ws_).close();
      });
    } catch (...) {
      // For want of memory: it ends when its idle time is over.
    }
  }

private:
  /// Codes that only say what has happened are not sent, nor those that nobody has given a meaning.
  static websocket::close_code sendable_code(close_code c) noexcept {
    const auto number = static_cast<std::uint16_t>(c);
    const bool is_standard =
        (number >= 1000 && number <= 1003) || (number >= 1007 && number <= 1014);
    if (is_standard || (number >= 3000 && number <= 4999)) {
      return static_cast<websocket::close_code>(number);
    }
    const bool says_nothing = c == close_code::no_code || c == close_code::abnormal;
    return says_nothing ? websocket::close_code::normal : websocket::close_code::internal_error;
  }

  /// As much as a closing frame holds, cut between two characters.
  static std::string_view beginning_of(std::string_view reason) noexcept {
    constexpr std::size_t limit = 123;
    if (reason.size() <= limit) return reason;
    std::size_t end = limit;
    while (end != 0 && (static_cast<unsigned char>(reason[end]) & 0xC0U) == 0x80U) --end;
    return reason.substr(0, end);
  }

  static constexpr duration longest_silence = std::chrono::hours(24);

  // What a larger message has taken is given back; 10 000 that are idle hold little.
  static constexpr std::size_t kept_capacity = 4096;

  web_loop& loop_;
  websocket::stream<Stream> ws_;
  boost::beast::flat_buffer incoming_;
};

}  // namespace troupe::detail

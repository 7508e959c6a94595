// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `web_server`: HTTP/1.1 and WebSockets for gateways and plain handlers.
///
/// Layer: adapter. Uses Boost.Beast.

#include <utility>  // Boost 1.74 forgets it

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include <troupe/adapter/web/http_message.hpp>
#include <troupe/adapter/web/web_answer.hpp>
#include <troupe/adapter/web/web_loop.hpp>
#include <troupe/adapter/web/web_options.hpp>
#include <troupe/adapter/web/web_router.hpp>
#include <troupe/adapter/web/web_socket.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/gateway/headers.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;

/// A connection, as its server sees it. On its loop's thread.
class web_peer {
public:
  virtual ~web_peer() = default;
  /// From its acceptance to its end.
  virtual task<> serve() = 0;
  /// The server stops: it ends, now or when it has answered what it was asked.
  virtual void stop(bool now) noexcept = 0;
};

/// What a stream does beside carrying bytes: this one nothing. Others open it before the first
/// request, and end it before the connection is closed (web_tls.hpp).
template <class Stream>
struct web_stream {
  static constexpr bool is_secure = false;
};

/// One connection, at home on one loop.
template <class Stream>
class web_connection final : public web_peer {
public:
  web_connection(web_loop& loop, Stream stream, const web_options& options,
                 const web_router& router, const atomic<bool>& stopping)
      : loop_(loop),
        stream_(std::move(stream)),
        options_(options),
        router_(router),
        stopping_(stopping) {
    // Beast bounds heads and bodies, but not what stands between the pieces of a body.
    buffer_.max_size(options_.header_limit + (std::size_t{64} << 10));
    boost::system::error_code unknown;
    const tcp::endpoint at = beast::get_lowest_layer(stream_).socket().remote_endpoint(unknown);
    if (!unknown) peer_ = name_of(at);
  }

  /// Answers requests until either side has enough.
  task<> serve() override {
    bool again = true;
    if constexpr (web_stream<Stream>::is_secure) again = co_await open();
    while (again) {
      try {
        again = co_await serve_one();
      } catch (...) {
        again = false;  // no memory, a head that nobody can send, or a file that became shorter
      }
    }
    co_await end_politely();
  }

  void stop(bool now) noexcept override {
    if (const auto socket = socket_.lock()) {
      if (now) socket->abort();
    } else if (now || idle_) {
      lowest().close();
    }
  }

private:
  /// An address of IPv6 has colons of its own.
  static std::string name_of(const tcp::endpoint& at) {
    const std::string address = at.address().to_string();
    return (at.address().is_v6() ? '[' + address + ']' : address) + ':' + std::to_string(at.port());
  }

  /// For as long as a request may take.
  task<bool> open() {
    if (stopping_.load(detail::order::relaxed)) co_return false;
    lowest().expires_after(options_.request_time);
    idle_ = true;
    const io_result done = co_await io_operation(
        [&](auto handler) { web_stream<Stream>::open(stream_, std::move(handler)); });
    idle_ = false;
    is_open_ = static_cast<bool>(done);
    co_return is_open_;
  }

  task<bool> serve_one() {
    if (buffer_.size() == 0) {
      const bool speaks = co_await hear_something();
      if (!speaks) co_return false;
    }
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(options_.header_limit));
    parser.body_limit(options_.body_limit);
    lowest().expires_after(options_.request_time);
    io_result got = co_await io_operation([&](auto handler) {
      http::async_read_header(stream_, buffer_, parser, std::move(handler));
    });
    if (!got) co_return co_await refuse(got.error);
    const http_request& head = parser.get();
    if (is_ambiguous(head)) co_return co_await turn_away("it is framed in two ways");
    if (head.version() >= 11 && head.count(http::field::host) != 1) {
      co_return co_await turn_away("it has one Host");
    }
    request made = to_request(head, peer_);  // now: what comes behind the body is no head
    if (!parser.is_done()) {
      const bool goes_on = co_await invite(head);
      if (!goes_on) co_return false;
      got = co_await io_operation(
          [&](auto handler) { http::async_read(stream_, buffer_, parser, std::move(handler)); });
      if (!got) co_return co_await refuse(got.error);
    }
    lowest().expires_never();
    http_request asked = parser.release();
    made.body = shared_bytes(std::move(asked.body()));
    co_return co_await answer(std::move(made), asked);
  }

  /// Who waits to be told before it sends a body is told (RFC 9110, 10.1.1).
  task<bool> invite(const http_request& head) {
    const auto expected = head[http::field::expect];
    if (expected.empty() || head.version() < 11) co_return true;
    if (!equal_ignoring_case({expected.data(), expected.size()}, "100-continue")) {
      co_return co_await turn_away(text_response(417, "nobody expects that"));
    }
    if (buffer_.size() != 0) co_return true;  // it has not waited
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    const io_result done = co_await io_operation([&](auto handler) {
      asio::async_write(stream_, asio::buffer(go_on.data(), go_on.size()), std::move(handler));
    });
    co_return static_cast<bool>(done);
  }

  /// Waits for the first byte of a request.
  task<bool> hear_something() {
    if (stopping_.load(detail::order::relaxed)) co_return false;
    lowest().expires_after(options_.idle_time);
    idle_ = true;
    const io_result got = co_await io_operation([&](auto handler) {
      stream_.async_read_some(buffer_.prepare(read_size), std::move(handler));
    });
    idle_ = false;
    if (got) buffer_.commit(got.size);
    co_return static_cast<bool>(got);
  }

  /// What is no request, or too much of one.
  task<bool> refuse(boost::system::error_code why) {
    response said;
    if (why == http::error::body_limit) {
      said = text_response(413, "the body is too large");
    } else if (why == http::error::header_limit || why == http::error::buffer_overflow) {
      said = text_response(431, "the head is too large");
    } else if (why == beast::error::timeout) {
      co_return false;
    } else if (why.category() == make_error_code(http::error::bad_method).category() &&
               why != http::error::end_of_stream && why != http::error::partial_message) {
      said = text_response(400, "this is no request");
    } else {
      co_return false;
    }
    co_return co_await turn_away(std::move(said));
  }

  task<bool> turn_away(std::string_view why) { return turn_away(text_response(400, why)); }
  task<bool> turn_away(response said) {
    const http_request unknown;
    const bool written = co_await write(said, unknown, false);
    if (written) co_await hear_the_rest();
    co_return false;
  }

  /// Where two readers may see two different ends of it (RFC 9112, 6.3).
  static bool is_ambiguous(const http_request& asked) {
    if (asked.count(http::field::transfer_encoding) == 0) return false;
    return !asked.chunked() || asked.version() < 11 ||
           asked.count(http::field::content_length) != 0;
  }

  /// A connection that is closed with something unread takes back what was answered.
  task<> hear_the_rest() {
    boost::system::error_code ignored;
    if constexpr (!web_stream<Stream>::is_secure) {
      lowest().socket().shutdown(tcp::socket::shutdown_send, ignored);
    }
    lowest().expires_after(std::chrono::seconds(1));
    for (;;) {
      buffer_.clear();
      const io_result got = co_await io_operation([&](auto handler) {
        stream_.async_read_some(buffer_.prepare(read_size), std::move(handler));
      });
      if (!got) co_return;
    }
  }

  task<bool> answer(request made, const http_request& asked) {
    web_answer said;
    if (made.wants_socket() && buffer_.size() != 0) {
      said = text_response(400, "a WebSocket begins with its answer");
    } else if (made.wants_socket() && !may_open(made)) {
      said = text_response(403, "not from this origin");
    } else {
      said = co_await router_.answer(std::move(made));
    }
    if (said.status == 101) {
      if (said.session && !stopping_.load(order::relaxed)) {
        co_await carry(asked, std::move(said.session));
        co_return false;
      }
      const bool has_session = said.session != nullptr;
      said = has_session ? text_response(503, "the server stops")
                         : text_response(500, "internal error");
    }
    const bool keep_alive = asked.keep_alive() && !stopping_.load(detail::order::relaxed);
    const bool written = co_await write(said, asked, keep_alive);
    co_return written&& keep_alive;
  }

  task<bool> write(const web_answer& said, const http_request& asked, bool keep_alive) {
    http_response made = to_http(said, asked, keep_alive);
    http::response_serializer<http::span_body<const char>> serializer(made);
    const bool is_head = asked.method() == http::verb::head;
    const bool has_pieces = said.pieces != nullptr && has_body(said.status);
    const bool is_headless = is_head || has_pieces;
    if (is_headless) serializer.split(true);
    lowest().expires_after(options_.idle_time);
    const io_result done = co_await io_operation([&](auto handler) {
      if (is_headless) {
        http::async_write_header(stream_, serializer, std::move(handler));
      } else {
        http::async_write(stream_, serializer, std::move(handler));
      }
    });
    if (!done) co_return false;
    if (is_head || !has_pieces) co_return true;
    co_return co_await write_pieces(*said.pieces);
  }

  /// One piece is in memory, and each has the time that the connection may be idle.
  task<bool> write_pieces(web_body& body) {
    for (std::uint64_t left = body.size(); left != 0;) {
      lowest().expires_never();
      const shared_bytes piece = co_await body.next();
      if (piece.empty() || piece.size() > left) co_return false;
      lowest().expires_after(options_.idle_time);
      const io_result done = co_await io_operation([&](auto handler) {
        asio::async_write(stream_, asio::buffer(piece.data(), piece.size()), std::move(handler));
      });
      if (!done) co_return false;
      left -= piece.size();
    }
    co_return true;
  }

  bool may_open(const request& asked) const {
    const std::string_view origin = asked.fields.get("Origin");
    if (origin.empty() || options_.allowed_origins.empty()) return true;
    const auto& all = options_.allowed_origins;
    return std::find(all.begin(), all.end(), origin) != all.end();
  }

  task<> carry(const http_request& asked, std::shared_ptr<socket_session> session) {
    lowest().expires_never();  // the WebSocket has times of its own
    const auto by = std::make_shared<web_socket<Stream>>(loop_, std::move(stream_), options_);
    socket_ = by;
    moved_ = true;
    const bool open = co_await by->accept(asked);
    buffer_ = {};
    if (open) co_await session->run(by);
  }

  task<> end_politely() {
    if (moved_) co_return;
    if constexpr (web_stream<Stream>::is_secure) {
      if (is_open_) {
        lowest().expires_after(std::chrono::seconds(1));
        static_cast<void>(co_await io_operation(
            [&](auto handler) { web_stream<Stream>::close(stream_, std::move(handler)); }));
      }
    }
    boost::system::error_code ignored;
    lowest().socket().shutdown(tcp::socket::shutdown_send, ignored);
    lowest().close();
  }

  beast::tcp_stream& lowest() noexcept { return beast::get_lowest_layer(stream_); }

  static constexpr std::size_t read_size = 4096;

  web_loop& loop_;
  Stream stream_;
  const web_options& options_;
  const web_router& router_;
  const atomic<bool>& stopping_;
  beast::flat_buffer buffer_;
  std::string peer_;
  bool is_open_ = false;                      // of a stream that is secure
  bool idle_ = false;                         // waits for a request
  bool moved_ = false;                        // a WebSocket has the stream
  std::weak_ptr<web_socket<Stream>> socket_;  // that one
};

}  // namespace detail

/// How a server's connections are carried, if not by TCP as it is: `web_tls`.
class web_transport {
public:
  virtual ~web_transport() = default;

  /// For the library: what serves a connection that was accepted. From any thread; what it gives
  /// belongs to the loop, and the rest outlives it.
  [[nodiscard]] virtual std::unique_ptr<detail::web_peer> connect(
      detail::web_loop& loop, detail::tcp::socket accepted, const web_options& options,
      const web_router& router, const detail::atomic<bool>& stopping) = 0;
};

/// Listens from its construction to its destruction, which answers what has been asked, closes all
/// WebSockets with 1001 by their gateways, and waits, for at most `web_options::drain_time`.
///
/// Plain methods of workers may run on its threads; handlers should not block them.
///
/// Thread safety: all members from any thread.
class web_server {
public:
  /// Throws `std::system_error` where it cannot listen. `by` carries the connections; nobody: TCP
  /// as it is.
  web_server(web_router router, web_options options = {}, std::shared_ptr<web_transport> by = {});
  web_server(const web_server&) = delete;
  web_server& operator=(const web_server&) = delete;
  ~web_server();

  /// Where it listens.
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// Connections that are open.
  [[nodiscard]] std::size_t connections() const noexcept {
    return open_.load(detail::order::relaxed);
  }

private:
  using tcp = detail::tcp;
  class lane;

  task<> accept_all();
  task<> wait_for_last();
  void tell_all(bool now);

  const web_options options_;
  const web_router router_;
  const std::shared_ptr<web_transport> transport_;
  detail::atomic<bool> stopping_{false};
  detail::atomic<std::size_t> open_{0};
  std::vector<std::unique_ptr<lane>> lanes_;
  std::unique_ptr<tcp::acceptor> acceptor_;  // the first lane's
  std::uint16_t port_ = 0;
};

namespace detail {

/// Comes before the scope, whose children are at home here.
struct lane_loop {
  web_loop loop;
};

}  // namespace detail

/// One loop and its connections, which it holds until they have ended.
class web_server::lane : private detail::lane_loop, public task_scope {
public:
  explicit lane(web_server& s) : task_scope(lane_loop::loop, &lane::forget), server_(s) {}

  detail::web_loop& loop() noexcept { return lane_loop::loop; }

  task<> serve(tcp::socket peer) {
    const scope_exit leave(
        [this]() noexcept { server_.open_.fetch_sub(1, detail::order::relaxed); });
    if (server_.transport_) {
      const std::unique_ptr<detail::web_peer> connection = server_.transport_->connect(
          loop(), std::move(peer), server_.options_, server_.router_, server_.stopping_);
      co_await keep(*connection);
    } else {
      detail::web_connection<detail::beast::tcp_stream> connection(
          loop(), detail::beast::tcp_stream(std::move(peer)), server_.options_, server_.router_,
          server_.stopping_);
      co_await keep(connection);
    }
  }

  /// On the loop's thread.
  void stop(bool now) noexcept {
    for (detail::web_peer* p : peers_) p->stop(now);
  }

private:
  task<> keep(detail::web_peer& connection) {
    const auto at = peers_.insert(peers_.end(), &connection);
    const scope_exit leave([this, at]() noexcept { peers_.erase(at); });
    co_await connection.serve();
  }

  /// A connection that fails is over, and nobody else's business.
  static void forget(task_scope&, std::exception_ptr) noexcept {}

  web_server& server_;
  std::list<detail::web_peer*> peers_;  // the loop's thread's
};

inline web_server::web_server(web_router router, web_options options,
                              std::shared_ptr<web_transport> by)
    : options_(std::move(options)), router_(std::move(router)), transport_(std::move(by)) {
  const unsigned threads = (std::max)(1U, options_.threads);
  for (unsigned i = 0; i < threads; ++i) lanes_.push_back(std::make_unique<lane>(*this));
  boost::system::error_code wrong;
  const auto address = boost::asio::ip::make_address(options_.address, wrong);
  if (wrong) throw std::system_error(wrong, "web_options::address " + options_.address);
  const tcp::endpoint at(address, options_.port);
  acceptor_ = std::make_unique<tcp::acceptor>(lanes_.front()->loop().io());
  acceptor_->open(at.protocol(), wrong);
  if (!wrong) acceptor_->set_option(tcp::acceptor::reuse_address(true), wrong);
  if (!wrong) acceptor_->bind(at, wrong);
  if (!wrong) acceptor_->listen(boost::asio::socket_base::max_listen_connections, wrong);
  if (wrong) {
    throw std::system_error(
        wrong, "listening at " + options_.address + " port " + std::to_string(options_.port));
  }
  port_ = acceptor_->local_endpoint().port();
  lanes_.front()->spawn(accept_all());
}

inline web_server::~web_server() {
  stopping_.store(true, detail::order::relaxed);
  router_.close_sockets();
  tell_all(false);
  detail::block_on(wait_for_last(), &lanes_.front()->loop());
  tell_all(true);
  for (const auto& l : lanes_) l->request_stop();
  for (const auto& l : lanes_) sync_wait(l->join());
  for (const auto& l : lanes_) l->loop().finish();
}

/// For as long as it may.
inline task<> web_server::wait_for_last() {
  const executor& clock = lanes_.front()->loop();
  const time_point until = saturating_add(clock.now(), options_.drain_time);
  while (connections() != 0 && clock.now() < until)
    co_await sleep_for(std::chrono::milliseconds(2));
}

/// Runs on the first lane; connections go round.
inline task<> web_server::accept_all() {
  std::size_t turn = 0;
  while (!stopping_.load(detail::order::relaxed)) {
    lane& to = *lanes_[turn++ % lanes_.size()];
    tcp::socket peer(to.loop().io());
    const detail::io_result got = co_await detail::io_operation(
        [&](auto handler) { acceptor_->async_accept(peer, std::move(handler)); });
    if (!got) {
      if (stopping_.load(detail::order::relaxed)) break;
      co_await sleep_for(std::chrono::milliseconds(10));  // out of descriptors, maybe
      continue;
    }
    if (open_.fetch_add(1, detail::order::relaxed) >= options_.max_connections) {
      open_.fetch_sub(1, detail::order::relaxed);
      continue;  // `peer` is closed
    }
    boost::system::error_code ignored;
    peer.set_option(tcp::no_delay(true), ignored);
    try {
      to.spawn(to.serve(std::move(peer)));
    } catch (...) {
      open_.fetch_sub(1, detail::order::relaxed);  // for want of memory
    }
  }
}

inline void web_server::tell_all(bool now) {
  boost::asio::post(lanes_.front()->loop().io(), [this] {
    boost::system::error_code ignored;
    acceptor_->close(ignored);
  });
  for (const auto& l : lanes_) {
    boost::asio::post(l->loop().io(), [&l = *l, now] { l.stop(now); });
  }
}

}  // namespace troupe

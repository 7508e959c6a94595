// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `web_tls`: HTTPS and secure WebSockets, by OpenSSL.
///
/// Layer: adapter. Not part of web.hpp: it needs OpenSSL (CMake: `-DTROUPE_WEB_TLS=ON`, target
/// `troupe::web_tls`).

#include <utility>  // Boost 1.74 forgets it

#include <cstddef>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include <openssl/ssl.h>

#include <troupe/adapter/web/web_loop.hpp>
#include <troupe/adapter/web/web_options.hpp>
#include <troupe/adapter/web/web_router.hpp>
#include <troupe/adapter/web/web_server.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe {

/// Who a server is, in PEM: the text itself, or the path of a file with it.
struct tls_options {
  std::string certificate{};       ///< The server's own, and those that vouch for it.
  std::string certificate_file{};  ///< The same in a file.
  std::string key{};
  std::string key_file{};
  std::string password{};  ///< Of the key, if it is encrypted.
};

namespace detail {

// Not beast::ssl_stream, whose overloads Clang 16 cannot tell apart in a WebSocket.
using secure_stream = boost::asio::ssl::stream<boost::beast::tcp_stream>;

template <>
struct web_stream<secure_stream> {
  static constexpr bool is_secure = true;

  template <class Handler>
  static void open(secure_stream& s, Handler h) {
    s.async_handshake(boost::asio::ssl::stream_base::server, std::move(h));
  }
  template <class Handler>
  static void close(secure_stream& s, Handler h) {
    s.async_shutdown(std::move(h));
  }
};

}  // namespace detail

/// `web_server server(std::move(site), options, std::make_shared<web_tls>(tls_options{...}));`
///
/// TLS 1.2 and later, without renegotiation. The handshake has the time of a request
/// (`web_options::request_time`).
class web_tls final : public web_transport {
public:
  /// Reads the certificate and the key. Throws `std::system_error`, which says what is wrong with
  /// which of them.
  explicit web_tls(const tls_options& options) : context_(boost::asio::ssl::context::tls_server) {
    namespace ssl = boost::asio::ssl;
    context_.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                         ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                         ssl::context::no_tlsv1_1 | ssl::context::no_compression);
    SSL_CTX_set_options(context_.native_handle(), SSL_OP_NO_RENEGOTIATION);
    boost::system::error_code wrong;
    const std::string password = options.password;
    // Without it OpenSSL would ask at the terminal.
    context_.set_password_callback([password](std::size_t, auto) { return password; }, wrong);
    const std::string chain = text_of(options.certificate, options.certificate_file, "certificate");
    const std::string key = text_of(options.key, options.key_file, "key");
    if (!wrong) context_.use_certificate_chain(boost::asio::buffer(chain), wrong);
    if (wrong) throw std::system_error(wrong, "tls_options::certificate");
    context_.use_private_key(boost::asio::buffer(key), ssl::context::pem, wrong);
    if (wrong) throw std::system_error(wrong, "tls_options::key");
  }

  std::unique_ptr<detail::web_peer> connect(detail::web_loop& loop, detail::tcp::socket accepted,
                                            const web_options& options, const web_router& router,
                                            const detail::atomic<bool>& stopping) override {
    return std::make_unique<detail::web_connection<detail::secure_stream>>(
        loop, detail::secure_stream(boost::beast::tcp_stream(std::move(accepted)), context_),
        options, router, stopping);
  }

private:
  static std::string text_of(const std::string& text, const std::string& path, const char* what) {
    const std::string name = std::string("tls_options::") + what;
    if (text.empty() == path.empty()) {
      throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                              name + ": either the text or a file");
    }
    if (!text.empty()) return text;
    std::ifstream file(path, std::ios::binary);
    std::string read(std::istreambuf_iterator<char>(file), {});
    if (!file.is_open() || file.bad()) {
      throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory),
                              name + "_file " + path);
    }
    return read;
  }

  boost::asio::ssl::context context_;  // connections of all threads share it
};

}  // namespace troupe

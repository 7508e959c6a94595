// SPDX-License-Identifier: MIT
// The trusted module: it runs in the program's own process, has the network, and decides what may
// be fetched by those that have not. Names are resolved by APP_FETCH_HOSTS alone, as in
// "test.local=127.0.0.1:4711".

#include <utility>  // Boost 1.74 forgets it

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

#include "fetched.hpp"

namespace app {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = boost::asio::ip::tcp;

/// One request, for five seconds at most. Blocks.
class client {
public:
  fetched get(const tcp::endpoint& at, const std::string& host, const std::string& path) {
    stream_.expires_after(std::chrono::seconds(5));
    step([&](auto done) { stream_.async_connect(at, done); });
    http::request<http::empty_body> request(http::verb::get, path, 11);
    request.set(http::field::host, host);
    request.set(http::field::connection, "close");
    step([&](auto done) { http::async_write(stream_, request, done); });
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(1024 * 1024);
    step([&](auto done) { http::async_read(stream_, buffer, parser, done); });
    http::response<http::string_body> got = parser.release();
    const auto type = got[http::field::content_type];
    return {static_cast<int>(got.result_int()), std::string(type.data(), type.size()),
            std::move(got.body())};
  }

private:
  template <class Begin>
  void step(Begin begin) {
    boost::system::error_code failed;
    begin([&failed](const boost::system::error_code& e, std::size_t = 0) { failed = e; });
    io_.restart();
    io_.run();
    if (failed) throw std::runtime_error("fetch: " + failed.message());
  }

  boost::asio::io_context io_{1};
  beast::tcp_stream stream_{io_};
};

/// Where a host is; throws for one that nothing may be fetched from.
inline tcp::endpoint address_of(std::string_view host) {
  const char* const known = std::getenv("APP_FETCH_HOSTS");
  std::string_view rest = known != nullptr ? known : "";
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(' '));
    rest.remove_prefix((std::min)(rest.size(), one.size() + 1));
    const std::size_t equals = one.find('=');
    const std::size_t colon = one.rfind(':');
    if (one.substr(0, equals) != host || equals > colon) continue;
    const std::string address(one.substr(equals + 1, colon - equals - 1));
    const auto port = static_cast<std::uint16_t>(std::stoi(std::string(one.substr(colon + 1))));
    return {boost::asio::ip::make_address(address), port};
  }
  throw troupe::error(troupe::errc::refused, {}, "nothing is fetched from " + std::string(host));
}

}  // namespace app

class fetch {
public:
  troupe::task<app::fetched> get(std::string url) {
    constexpr std::string_view scheme = "http://";
    if (!url.starts_with(scheme)) {
      throw troupe::error(troupe::errc::refused, {}, "only http:// is fetched");
    }
    const bool is_plain =
        std::all_of(url.begin(), url.end(), [](char c) { return c > ' ' && c < 0x7f; });
    if (!is_plain) {  // a line break would begin a header field, or another request
      throw troupe::error(troupe::errc::refused, {},
                          "a URL has neither spaces nor control characters");
    }
    const std::size_t slash = url.find('/', scheme.size());
    const std::string host = url.substr(scheme.size(), slash - scheme.size());
    const std::string path = slash == std::string::npos ? "/" : url.substr(slash);
    const auto at = app::address_of(host);
    const auto work = [at, host, path] { return app::client().get(at, host, path); };
    co_return co_await troupe::offload(work);
  }
};
TROUPE_METHODS(fetch, get)
TROUPE_MODULE(fetch, "v1.0.0");

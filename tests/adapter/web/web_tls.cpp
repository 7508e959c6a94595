// SPDX-License-Identifier: MIT
#if defined(TROUPE_TEST_WEB_TLS)
// Includes Boost before anything else of its kind: 1.74 forgets <utility>.
#  include <troupe/adapter/web/web.hpp>
#  include <troupe/adapter/web/web_tls.hpp>

#  include <catch2/catch.hpp>

#  include <atomic>
#  include <chrono>
#  include <cstdint>
#  include <cstdlib>
#  include <filesystem>
#  include <fstream>
#  include <iterator>
#  include <memory>
#  include <string>
#  include <system_error>
#  include <thread>
#  include <utility>

#  include <boost/asio/ssl/host_name_verification.hpp>
#  include <boost/beast/core/buffers_to_string.hpp>
#  include <boost/beast/core/flat_buffer.hpp>
#  include <boost/beast/http.hpp>
#  include <boost/beast/websocket.hpp>

#  include <troupe.hpp>
#  include <troupe/gateway.hpp>

#  include "adapter/web/raw_client.hpp"

namespace web_tls_tests {
namespace {

using namespace std::chrono_literals;

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;

/// Certificates that the program `openssl` has made, in a directory of their own.
class certificates {
public:
  certificates() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    make("own", "");
    make("other", "");
    run("openssl pkey -in " + *this / "own.key" + " -aes256 -passout pass:sesame -out " +
        *this / "locked.key");
  }
  certificates(const certificates&) = delete;
  certificates& operator=(const certificates&) = delete;
  ~certificates() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& file) const { return (path_ / file).string(); }
  std::string text(const std::string& file) const {
    std::ifstream in(*this / file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  troupe::tls_options files() const {
    return {.certificate_file = *this / "own.pem", .key_file = *this / "own.key"};
  }

private:
  void make(const std::string& name, const std::string& more) const {
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout " +
        *this / (name + ".key") + " -out " + *this / (name + ".pem") + more);
  }
  void run(const std::string& command) const {
    REQUIRE(std::system((command + " > " + *this / "log" + " 2>&1").c_str()) == 0);
  }

  std::filesystem::path path_;
};

const certificates& made() {
  static const certificates all;
  return all;
}

struct lobby {
  static constexpr std::size_t limit = 10;
  std::string identify(const troupe::request& asked) { return asked.peer; }
};
struct room {
  void on_message(troupe::socket& s, std::string_view text) {
    s.send("you said " + std::string(text));
  }
};

struct site {
  explicit site(troupe::tls_options tls = made().files(), troupe::web_options options = {}) {
    troupe::web_router router;
    router.get("/hello",
               [](const troupe::request&) { return troupe::text_response(200, "hello"); });
    router.get("/large", [](const troupe::request&) {
      return troupe::response(200, std::string(3'000'000, 'x'), "text/plain");
    });
    router.get("/slow", [this](const troupe::request&) -> troupe::task<troupe::response> {
      started = true;
      co_await troupe::sleep_for(100ms);
      co_return troupe::text_response(200, "at last");
    });
    router.to("/room", rooms);
    server = std::make_unique<troupe::web_server>(std::move(router), std::move(options),
                                                  std::make_shared<troupe::web_tls>(tls));
  }
  std::uint16_t port() const { return server->port(); }

  std::atomic<bool> started{false};  // an answer to /slow
  troupe::broker broker{troupe::broker_options{.threads = 1}};
  troupe::gateway<lobby, room> rooms{broker};
  std::unique_ptr<troupe::web_server> server;
};

/// A client that trusts our certificate and no other. It blocks.
class client {
public:
  using stream = ssl::stream<tcp::socket>;

  explicit client(std::uint16_t port) : client(port, ssl::context::tls_client, 0) {}
  client(std::uint16_t port, ssl::context::method method, int most_version)
      : context_(method), stream_(io_, trusting(context_, most_version)) {
    stream_.set_verify_mode(ssl::verify_peer);
    stream_.set_verify_callback(ssl::host_name_verification("localhost"));
    stream_.next_layer().connect({asio::ip::make_address("127.0.0.1"), port});
    stream_.handshake(ssl::stream_base::client);
  }

  http::response<http::string_body> get(const std::string& target) {
    http::request<http::empty_body> asked(http::verb::get, target, 11);
    asked.set(http::field::host, "localhost");
    http::write(stream_, asked);
    http::response<http::string_body> answer;
    http::read(stream_, buffer_, answer);
    return answer;
  }
  stream& wire() { return stream_; }
  std::string version() { return SSL_get_version(stream_.native_handle()); }

private:
  static ssl::context& trusting(ssl::context& c, int most_version) {
    c.load_verify_file(made() / "own.pem");
    if (most_version != 0) SSL_CTX_set_max_proto_version(c.native_handle(), most_version);
    return c;
  }

  asio::io_context io_;
  ssl::context context_;
  stream stream_;
  beast::flat_buffer buffer_;
};

template <class Holds>
bool eventually(Holds holds) {
  for (int i = 0; i < 5000 && !holds(); ++i) std::this_thread::sleep_for(2ms);
  return holds();
}

}  // namespace

TEST_CASE("requests go over TLS, one after the other on a connection") {
  site s;
  client c(s.port());
  CHECK(c.version() == "TLSv1.3");
  for (int i = 0; i < 3; ++i) {
    const auto a = c.get("/hello");
    CHECK(a.result_int() == 200);
    CHECK(a.body() == "hello");
  }
  CHECK(c.get("/large").body() == std::string(3'000'000, 'x'));
  CHECK(c.get("/none").result_int() == 404);
  boost::system::error_code e;
  c.wire().shutdown(e);
  CHECK((!e || e == asio::error::eof));
  CHECK(eventually([&] { return s.server->connections() == 0; }));
}

TEST_CASE("certificate and key may be texts, and the key locked") {
  site s({.certificate = made().text("own.pem"), .key = made().text("own.key")});
  CHECK(client(s.port()).get("/hello").body() == "hello");
  site locked({.certificate_file = made() / "own.pem",
               .key_file = made() / "locked.key",
               .password = "sesame"});
  CHECK(client(locked.port()).get("/hello").body() == "hello");
}

TEST_CASE("WebSockets go over TLS") {
  site s;
  client c(s.port());
  beast::websocket::stream<client::stream&> ws(c.wire());
  ws.handshake("localhost", "/room");
  for (int i = 0; i < 3; ++i) {
    ws.write(asio::buffer(std::string("hello")));
    beast::flat_buffer heard;
    ws.read(heard);
    CHECK(beast::buffers_to_string(heard.data()) == "you said hello");
  }
  boost::system::error_code e;
  ws.close(beast::websocket::close_code::normal, e);
  CHECK(eventually([&] { return s.server->connections() == 0; }));
  CHECK(eventually([&] {
    const auto all = s.rooms.shards("");
    return all.empty() || all.front().connections == 0;
  }));
}

TEST_CASE("a WebSocket over TLS hears that the server goes") {
  site s;
  client c(s.port());
  beast::websocket::stream<client::stream&> ws(c.wire());
  ws.handshake("localhost", "/room");
  std::thread stopping([&] { s.server.reset(); });
  beast::flat_buffer heard;
  boost::system::error_code e;
  ws.read(heard, e);
  CHECK(e == beast::websocket::error::closed);
  CHECK(ws.reason().code == beast::websocket::close_code::going_away);
  stopping.join();
}

TEST_CASE("old versions are refused, TLS 1.2 is not") {
  site s;
  client twelve(s.port(), ssl::context::tls_client, TLS1_2_VERSION);
  CHECK(twelve.version() == "TLSv1.2");
  CHECK(twelve.get("/hello").body() == "hello");
  CHECK_THROWS_AS(client(s.port(), ssl::context::tls_client, TLS1_1_VERSION),
                  boost::system::system_error);
  CHECK(client(s.port()).get("/hello").body() == "hello");
}

TEST_CASE("who does not speak TLS, or nothing at all, is let go") {
  troupe::web_options options;
  options.request_time = 200ms;
  options.idle_time = 10s;
  site s(made().files(), options);
  raw_client plain(s.port());
  plain.send("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n");
  CHECK(plain.is_over());
  raw_client silent(s.port());
  CHECK(silent.is_over());
  raw_client half(s.port());
  half.send("\x16\x03\x01\x02");
  CHECK(half.is_over());
  {
    raw_client gone(s.port());
    gone.send("\x16\x03");
  }
  CHECK(eventually([&] { return s.server->connections() == 0; }));
  CHECK(client(s.port()).get("/hello").body() == "hello");
}

TEST_CASE("a server over TLS that goes answers what it was asked, and waits for nobody else") {
  troupe::web_options options;
  options.drain_time = 5s;
  options.request_time = 1h;
  site s(made().files(), options);
  raw_client silent(s.port());  // in the middle of its handshake
  client idle(s.port());
  CHECK(idle.get("/hello").body() == "hello");
  client busy(s.port());
  std::string body;
  std::thread asking([&] { body = busy.get("/slow").body(); });
  while (!s.started) std::this_thread::sleep_for(1ms);
  const auto begin = std::chrono::steady_clock::now();
  s.server.reset();
  CHECK(std::chrono::steady_clock::now() - begin < 4s);
  asking.join();
  CHECK(body == "at last");
  CHECK(silent.is_over());
}

TEST_CASE("a certificate that is none is refused by name") {
  const auto what = [](const troupe::tls_options& options) -> std::string {
    try {
      const troupe::web_tls tls(options);
    } catch (const std::system_error& e) {
      return e.what();
    }
    return "it is taken";
  };
  const std::string pem = made() / "own.pem";
  const std::string key = made() / "own.key";
  CHECK(what({}).find("tls_options::certificate: either") == 0);
  CHECK(what({.certificate_file = pem}).find("tls_options::key: either") == 0);
  CHECK(what({.certificate = "x", .certificate_file = pem, .key_file = key})
            .find("tls_options::certificate: either") == 0);
  CHECK(what({.certificate_file = "/none/at/all", .key_file = key})
            .find("tls_options::certificate_file /none/at/all: No such file") == 0);
  CHECK(what({.certificate = "nonsense", .key_file = key}).find("tls_options::certificate: ") == 0);
  CHECK(what({.certificate_file = pem, .key = "nonsense"}).find("tls_options::key: ") == 0);
  const std::string other = what({.certificate_file = pem, .key_file = made() / "other.key"});
  CHECK(other.find("tls_options::key: ") == 0);
  CHECK(other.find("mismatch") != std::string::npos);
  CHECK(what({.certificate_file = pem, .key_file = made() / "locked.key", .password = "wrong"})
            .find("tls_options::key: ") == 0);
  CHECK(what({.certificate_file = pem, .key_file = made() / "locked.key"})
            .find("tls_options::key: ") == 0);
  CHECK(what(made().files()) == "it is taken");
}

}  // namespace web_tls_tests

#endif

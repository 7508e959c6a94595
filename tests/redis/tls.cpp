// SPDX-License-Identifier: MIT
// A real server behind TLS, with certificates that the program `openssl` has made.

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

#include "redis/link_kit.hpp"
#include "redis/redis_server.hpp"
#include "redis/tcp_proxy.hpp"

namespace redis_tls_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;

/// One authority, and what it vouches for: a server called localhost, and a client.
class certificates {
public:
  certificates() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    run("openssl req -x509 " + fresh_key + "-subj /CN=authority -keyout " + *this / "ca.key" +
        " -out " + *this / "ca.pem");
    run("openssl req -x509 " + fresh_key + "-subj /CN=stranger -keyout " + *this / "other.key" +
        " -out " + *this / "other.pem");
    sign("server", "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 ");
    sign("client", "");
    run("openssl pkey -in " + *this / "client.key" + " -aes256 -passout pass:sesame -out " +
        *this / "locked.key");
  }
  certificates(const certificates&) = delete;
  certificates& operator=(const certificates&) = delete;
  ~certificates() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& file) const { return (path_ / file).string(); }

private:
  void sign(const std::string& who, const std::string& more) const {
    run("openssl req -new " + fresh_key + "-subj /CN=" + who + " " + more + "-keyout " +
        *this / (who + ".key") + " -out " + *this / (who + ".csr"));
    run("openssl x509 -req -days 2 -copy_extensions copyall -CAcreateserial -in " +
        *this / (who + ".csr") + " -CA " + *this / "ca.pem" + " -CAkey " + *this / "ca.key" +
        " -out " + *this / (who + ".pem"));
  }
  void run(const std::string& command) const {
    REQUIRE(std::system((command + " > " + *this / "log" + " 2>&1").c_str()) == 0);
  }

  const std::string fresh_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 ";
  std::filesystem::path path_;
};

const certificates& made() {
  static const certificates all;
  return all;
}

/// A server that has a port for TLS beside the other one.
struct secure_server {
  explicit secure_server(const std::string& wants_clients = "no")
      : tls_port(free_port()),
        server({"--tls-port", std::to_string(tls_port), "--tls-cert-file", made() / "server.pem",
                "--tls-key-file", made() / "server.key", "--tls-ca-cert-file", made() / "ca.pem",
                "--tls-auth-clients", wants_clients}) {}

  troupe::redis_options options(const std::string& host = "127.0.0.1") const {
    troupe::redis_options o = options_for("rediss://" + host + ":" + std::to_string(tls_port));
    o.tls.authorities_file = made() / "ca.pem";
    return o;
  }

  std::uint16_t tls_port;
  redis_server server;
};

void refuses(const troupe::redis_options& o, const std::string& words) {
  linked l(o);
  const std::string text = l.failure("PING").second;
  CHECK_THAT(text, Catch::Contains(words));
}

TEST_CASE("commands and channels go over TLS", "[redis]") {
  secure_server s;
  for (const char* const host : {"127.0.0.1", "localhost"}) {
    linked l(s.options(host));
    CHECK(l.ask("SET", "key", "value").text() == "OK");
    const std::string large(std::size_t{20} << 20, 'x');
    CHECK(l.ask("SET", "large", large).text() == "OK");
    CHECK((l.ask("GET", "large").text() == large));
    for (int i = 0; i != 1000; ++i) CHECK(l.link->tell(redis_command("RPUSH", "told", i)));
    CHECK(l.ask("LLEN", "told").integer() == 1000);
    CHECK(l.ask("DEL", "told").integer() == 1);
    troupe::async_semaphore heard{0};
    const auto listening = l.link->subscribe("c", [&](std::string_view) { heard.release(); });
    l.broker.run(l.link->subscribed());
    CHECK(l.ask("PUBLISH", "c", "x").integer() == 1);
    l.broker.run(
        [](troupe::async_semaphore& news) -> troupe::task<> { co_await news.acquire(); }(heard));
  }
}

TEST_CASE("a server that cannot prove its name is refused", "[redis]") {
  secure_server s;
  troupe::redis_options o = s.options();
  o.tls.authorities_file = made() / "other.pem";
  refuses(o, "certificate");
  o = s.options();
  o.tls.server_name = "example.org";
  refuses(o, "mismatch");
  o = s.options();
  o.tls.authorities_file.clear();  // the system knows nothing of ours
  refuses(o, "certificate");
  o.tls.verify = false;
  linked l(o);
  CHECK(l.ask("PING").text() == "PONG");
}

TEST_CASE("a server may want a certificate of its client", "[redis]") {
  secure_server s("yes");
  refuses(s.options(), s.options().url());
  troupe::redis_options o = s.options();
  o.tls.certificate_file = made() / "client.pem";
  o.tls.key_file = made() / "locked.key";
  o.tls.key_password = "sesame";
  linked l(o);
  CHECK(l.ask("PING").text() == "PONG");
}

TEST_CASE("plain and encrypted do not meet", "[redis]") {
  secure_server s;
  troupe::redis_options plain = s.options();
  plain.tls.enabled = false;
  plain.connect_limit = 500ms;
  linked l(plain);
  CHECK(l.failure("PING").first != errc{});
  troupe::redis_options secure = s.options();
  secure.port = s.server.port();
  secure.connect_limit = 500ms;
  refuses(secure, "does not answer in TLS");
}

TEST_CASE("files for TLS that cannot be read are named", "[redis]") {
  troupe::broker broker{troupe::broker_options{.threads = 1}};
  const auto refused = [&](auto change, const std::string& words) {
    troupe::redis_options o;
    o.tls.enabled = true;
    change(o.tls);
    CHECK_THROWS_WITH(redis_link(broker.runs_on(), o), Catch::Contains(words));
  };
  refused([](auto& t) { t.authorities_file = "/no/such/file"; }, "authorities_file /no/such/file");
  refused([](auto& t) { t.certificate_file = made() / "client.pem"; }, "needs a key_file");
  refused([](auto& t) { t.key_file = made() / "client.key"; }, "needs a key_file");
  const auto wrong_password = [](auto& t) {
    t.certificate_file = made() / "client.pem";
    t.key_file = made() / "locked.key";
    t.key_password = "wrong";
  };
  refused(wrong_password, "key_file");
  const auto wrong_key = [](auto& t) {
    t.certificate_file = made() / "client.pem";
    t.key_file = made() / "server.key";
  };
  refused(wrong_key, "key_file");
}

TEST_CASE("TLS through a network that breaks, and one that gives a byte at a time", "[redis]") {
  secure_server s;
  tcp_proxy proxy(s.tls_port);
  troupe::redis_options o = s.options();
  o.port = proxy.port();
  linked l(o);
  CHECK(l.ask("SET", "key", "value").text() == "OK");
  for (int i = 0; i != 3; ++i) {
    proxy.reset();
    l.wait_for_server();
    CHECK(l.ask("GET", "key").text() == "value");
  }
  proxy.set(tcp_proxy::mode::drip);
  CHECK(l.ask("GET", "key").text() == "value");
}

}  // namespace
}  // namespace redis_tls_tests

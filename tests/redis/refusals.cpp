// SPDX-License-Identifier: MIT
// Servers that one cannot work with, or not now: each says why.

#include <catch2/catch.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

#include "redis/link_kit.hpp"
#include "redis/redis_server.hpp"
#include "redis/scripted_server.hpp"

namespace redis_refusal_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;

/// A command over such a link fails so, and says this.
void refuses(const troupe::redis_options& o, errc code, const std::string& words) {
  linked l(o);
  const auto [is, text] = l.failure("SET", "key", "value");
  CHECK(is == code);
  CHECK_THAT(text, Catch::Contains(words));
}
void refuses(const std::string& url, errc code, const std::string& words) {
  refuses(options_for(url), code, words);
}

TEST_CASE("a server that does not keep what it is told is refused, unless one wants it",
          "[redis]") {
  redis_server forgets({}, false);
  refuses(forgets.url(), errc::refused, "appendonly");
  redis_server evicts({"--maxmemory-policy", "allkeys-lru"});
  refuses(evicts.url(), errc::refused, "maxmemory-policy is allkeys-lru");
  for (const redis_server* const s : {&forgets, &evicts}) {
    troupe::redis_options o = options_for(s->url());
    o.accept_volatile = true;
    linked l(o);
    CHECK(l.ask("SET", "key", "value").text() == "OK");
  }
}

TEST_CASE("passwords and users that are wrong are named", "[redis]") {
  redis_server server(
      {"--requirepass", "sesame", "--user", "reader", "on", ">sesame", "~*", "+@read"});
  const std::string at = "@127.0.0.1:" + std::to_string(server.port());
  refuses(server.url(), errc::refused, "NOAUTH");
  refuses("redis://:wrong" + at, errc::refused, "WRONGPASS");
  refuses("redis://nobody:sesame" + at, errc::refused, "WRONGPASS");
  refuses("redis://reader:sesame" + at, errc::refused, "allow +info");
  linked l("redis://:sesame" + at);
  CHECK(l.ask("PING").text() == "PONG");
  l.ask("ACL", "SETUSER", "reader", "+info", "+client");
  linked reader("redis://reader:sesame" + at);
  CHECK(reader.ask("GET", "key").is_null());
  const auto [code, text] = reader.failure("SET", "key", "value");
  CHECK(code == errc::refused);
  CHECK_THAT(text, Catch::Contains("NOPERM"));
  redis_server open;
  refuses("redis://:needless@127.0.0.1:" + std::to_string(open.port()), errc::refused,
          "without any password configured");
  refuses(open.url() + "/99", errc::refused, "DB index is out of range");
}

TEST_CASE("a replica is refused, and one that becomes one is left", "[redis]") {
  redis_server master;
  redis_server other;
  linked l(other.url());
  CHECK(l.ask("SET", "key", "value").text() == "OK");
  REQUIRE(other.said("REPLICAOF 127.0.0.1 " + std::to_string(master.port())) == "OK");
  const auto [code, text] = l.failure("SET", "key", "value");
  CHECK(code == errc::refused);
  CHECK_THAT(text, Catch::Contains("READONLY"));
  const auto [again, why] = l.failure("SET", "key", "value");
  CHECK(again == errc::refused);
  CHECK_THAT(why, Catch::Contains("its master is 127.0.0.1:" + std::to_string(master.port())));
  REQUIRE(other.said("REPLICAOF NO ONE") == "OK");
  l.wait_for_server();
  CHECK(l.ask("SET", "key", "value").text() == "OK");
}

TEST_CASE("a server that is full says so", "[redis]") {
  redis_server server;
  linked l(server.url());
  REQUIRE(server.said("CONFIG SET maxmemory 1") == "OK");
  const auto [code, text] = l.failure("SET", "key", "value");
  CHECK(code == errc::mailbox_full);
  CHECK_THAT(text, Catch::Contains("OOM"));
  REQUIRE(server.said("CONFIG SET maxmemory 0") == "OK");
  CHECK(l.ask("SET", "key", "value").text() == "OK");
}

TEST_CASE("a server that cannot write to its disk says so", "[redis]") {
  redis_server server({"--save", "3600 1"}, false);
  troupe::redis_options o = options_for(server.url());
  o.accept_volatile = true;
  linked l(o);
  CHECK(l.ask("SET", "key", "value").text() == "OK");
  std::filesystem::remove_all(server.directory());
  static_cast<void>(l.ask_raw("BGSAVE"));
  while (server.said("INFO persistence").find("rdb_last_bgsave_status:err") == std::string::npos) {
  }
  const auto [code, text] = l.failure("SET", "key", "value");
  CHECK(code == errc::refused);
  CHECK_THAT(text, Catch::Contains("MISCONF"));
}

TEST_CASE("a server that is loading its data is waited for", "[redis]") {
  redis_server server({"--rdbcompression", "no"});
  {
    linked l(server.url());
    for (int i = 0; i != 100; ++i) CHECK(l.ask("SET", i, std::string(2000, 'x')).text() == "OK");
    static_cast<void>(
        l.ask("BGREWRITEAOF"));  // from what it makes of it, it answers while it loads
    while (server.said("INFO persistence").find("aof_rewrite_in_progress:0") == std::string::npos) {
    }
  }
  server.kill();
  redis_server::words slow{"--key-load-delay", "30000", "--loading-process-events-interval-bytes",
                           "1024"};
  server.add(slow);
  server.start(false);
  linked l(server.url());
  CHECK(l.ask("DBSIZE").integer() == 100);  // three seconds of loading, and not before it is done

  server.kill();
  server.start(false);
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 1s;
  linked impatient(o);
  const auto [code, text] = impatient.failure("DBSIZE");
  CHECK(code == errc::connection_lost);
  CHECK_THAT(text, Catch::Contains("loading") || Catch::Contains("LOADING"));
}

std::string info(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

/// What a server answers whose INFO reads so, and whose CONFIG GET does not exist.
scripted_server::answers server_with(std::string about) {
  return [about](std::string_view line) -> std::string {
    if (line == "SETNAME") return "+OK\r\n";
    if (line == "server" || line == "persistence" || line == "memory" || line == "replication") {
      return info(about);
    }
    if (line == "GET") return "-NOPERM this user has no permissions to run the 'config|get'\r\n";
    if (line == "PING") return "+PONG\r\n";
    return {};
  };
}

TEST_CASE("a server that is too old is refused by its version", "[redis]") {
  scripted_server old(server_with("# Server\r\nredis_version:6.2.14\r\nrole:master\r\n"));
  refuses(old.url(), errc::refused, "is Redis 6.2.14; 7.0 or later is needed");
}

TEST_CASE("a server that does not say whether it keeps things is asked, and refused", "[redis]") {
  const std::string about = "redis_version:7.2.0\r\nrole:master\r\n";
  scripted_server hired(server_with(about));
  refuses(hired.url(), errc::refused, "does not say whether it keeps what it is told");
  scripted_server open([about](std::string_view line) -> std::string {
    if (line == "appendonly") return "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n";
    if (line == "maxmemory-policy") {
      return "*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n";
    }
    if (line == "GET") return {};
    return server_with(about)(line);
  });
  linked l(open.url());
  CHECK(l.ask("PING").text() == "PONG");
}

TEST_CASE("what is no Redis server is named for what it says", "[redis]") {
  scripted_server http(
      [](std::string_view) { return std::string("HTTP/1.1 400 Bad Request\r\n\r\n<html>"); });
  refuses(http.url(), errc::refused, "is no Redis server: it says 'HTTP/1.1 400 Bad Request'");
  scripted_server ssh([](std::string_view) { return std::string(); }, "SSH-2.0-OpenSSH_9.2\r\n");
  refuses(ssh.url(), errc::refused, "it says 'SSH-2.0-OpenSSH_9.2'");
  scripted_server mail([](std::string_view) { return std::string("+OK\r\n"); });
  refuses(mail.url(), errc::refused, "is no Redis server");
  scripted_server silent([](std::string_view) { return std::string(); });
  troupe::redis_options hurried = options_for(silent.url());
  hurried.connect_limit = 500ms;
  refuses(hurried, errc::timed_out, "does not say anything: is it Redis?");
  scripted_server rude([](std::string_view) { return std::string("END"); });
  refuses(rude.url(), errc::connection_lost, "closes connections without saying anything");
}

TEST_CASE("a host that nobody knows is named", "[redis]") {
  troupe::redis_options o;
  o.host = "host.invalid";
  o.command_limit = 300ms;
  linked l(o);
  const auto [code, text] = l.failure("PING");
  CHECK(code == errc::connection_lost);
  CHECK_THAT(text, Catch::Contains("host.invalid"));
}

TEST_CASE("a server that is too busy for another client is tried again", "[redis]") {
  redis_server server({"--maxclients", "1"});
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 1s;
  auto first = std::make_unique<linked>(server.url());
  CHECK(first->ask("PING").text() == "PONG");
  linked second(o);
  const auto [code, text] = second.failure("PING");
  CHECK(code == errc::connection_lost);
  CHECK_THAT(text, Catch::Contains("max number of clients reached"));
  first.reset();
  second.wait_for_server();
  CHECK(second.ask("PING").text() == "PONG");
}

}  // namespace
}  // namespace redis_refusal_tests

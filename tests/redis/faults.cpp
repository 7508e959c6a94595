// SPDX-License-Identifier: MIT
// A server, or a network, that goes away and comes back.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

#include "redis/link_kit.hpp"
#include "redis/redis_server.hpp"
#include "redis/tcp_proxy.hpp"

namespace redis_fault_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;
using troupe::detail::redis_event;

void pass(linked& l, troupe::duration d) {
  l.broker.run(
      [](troupe::duration time) -> troupe::task<> { co_await troupe::sleep_for(time); }(d));
}

TEST_CASE("a server that is killed and started again is found again", "[redis]") {
  redis_server server;
  std::atomic<int> connected{0};
  linked l(server.url());
  const auto listening = l.link->on_event([&](redis_event what) {
    if (what == redis_event::connected) ++connected;
  });
  CHECK(l.ask("SET", "key", "kept").text() == "OK");
  for (int i = 2; i != 5; ++i) {
    server.restart();
    l.wait_for_server();
    CHECK(l.ask("GET", "key").text() == "kept");
    CHECK(connected == i);
  }
  server.restart_empty();
  l.wait_for_server();
  CHECK(l.ask("GET", "key").is_null());
}

TEST_CASE("a command that comes while the server is away waits for it", "[redis]") {
  redis_server server;
  server.kill();
  std::atomic<int> answered{0};
  linked l(server.url());
  for (int i = 0; i != 10; ++i) {
    l.broker.spawn([](redis_link& link, std::atomic<int>& n) -> troupe::task<> {
      redis_command c("PING");
      const redis_reply r = co_await link.ask(std::move(c));
      if (r.text() == "PONG") ++n;
    }(*l.link, answered));
  }
  pass(l, 100ms);
  CHECK(answered == 0);
  server.start();
  for (int i = 0; i != 1000 && answered != 10; ++i) pass(l, 10ms);
  CHECK(answered == 10);
}

TEST_CASE("a command waits for a server no longer than its limit, and says what is wrong",
          "[redis]") {
  redis_server server;
  server.kill();
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 300ms;
  linked l(o);
  const auto [code, text] = l.failure("PING");
  CHECK(code == errc::connection_lost);
  CHECK_THAT(text, Catch::Contains("Connection refused"));
  CHECK_THAT(text, Catch::Contains(server.url()));
}

TEST_CASE("what is under way when the connection breaks fails, and is not repeated", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  linked l(proxy.url());
  CHECK(l.ask("INCR", "n").integer() == 1);
  proxy.set(tcp_proxy::mode::deaf);  // it is done, but nobody hears of it
  std::atomic<int> lost{0};
  l.broker.spawn([](redis_link& link, std::atomic<int>& n) -> troupe::task<> {
    redis_command c("INCR", "n");
    auto asking = troupe::as_result(link.ask(std::move(c)));
    const auto r = co_await std::move(asking);
    n = r.code() == errc::connection_lost ? 1 : 2;
  }(*l.link, lost));
  while (server.said("GET n") != "2") {
  }
  proxy.reset();
  proxy.set(tcp_proxy::mode::forward);
  l.wait_for_server();
  for (int i = 0; i != 1000 && lost == 0; ++i) pass(l, 10ms);
  CHECK(lost == 1);
  CHECK(l.ask("GET", "n").text() == "2");
}

TEST_CASE("a server that falls silent is given up, and looked for again", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  troupe::redis_options o = options_for(proxy.url());
  o.command_limit = 1s;
  o.connect_limit = 1s;
  linked l(o);
  CHECK(l.ask("PING").text() == "PONG");
  proxy.set(tcp_proxy::mode::hold);
  const errc silent = l.failure("PING").first;
  CHECK((silent == errc::timed_out || silent == errc::connection_lost));
  CHECK(l.failure("PING").first == errc::connection_lost);
  proxy.reset();
  proxy.set(tcp_proxy::mode::forward);
  l.wait_for_server();
  CHECK(l.ask("PING").text() == "PONG");
  CHECK(proxy.connections() >= 2);
}

TEST_CASE("a server that is slow has its answers matched to its commands", "[redis]") {
  redis_server server;
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 1s;
  linked l(o);
  CHECK(l.ask("SET", "a", "1").text() == "OK");
  server.pause();
  const errc paused = l.failure("GET", "a").first;
  CHECK((paused == errc::timed_out || paused == errc::connection_lost));
  server.go_on();
  l.wait_for_server();
  for (int i = 0; i != 100; ++i) CHECK(l.ask("ECHO", i).text() == std::to_string(i));
}

TEST_CASE("an answer that comes too late is nobody's", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  linked l(proxy.url());
  CHECK(l.ask("PING").text() == "PONG");
  proxy.set(tcp_proxy::mode::hold);
  for (int i = 0; i != 3; ++i) {
    const errc code = l.broker.run([](redis_link& link) -> troupe::task<errc> {
      redis_command c("ECHO", "late");
      auto asking = troupe::as_result(troupe::within(link.ask(std::move(c)), 20ms));
      const auto r = co_await std::move(asking);
      co_return static_cast<errc>(r.code().value());
    }(*l.link));
    CHECK(code == errc::timed_out);
  }
  proxy.set(tcp_proxy::mode::forward);
  for (int i = 0; i != 100; ++i) CHECK(l.ask("ECHO", i).text() == std::to_string(i));
  CHECK(proxy.connections() == 1);
}

TEST_CASE("bytes that come one at a time are the same bytes", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  proxy.set(tcp_proxy::mode::drip);
  linked l(proxy.url());
  // Each byte takes a turn of the proxy, and there are thousands in the greeting.
  l.wait_for_server();
  const std::string value(300, 'v');
  CHECK(l.ask("SET", "key", value).text() == "OK");
  CHECK(l.ask("GET", "key").text() == value);
}

TEST_CASE("connections that are reset again and again lose nothing but what was under way",
          "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  std::atomic<bool> ends{false};
  std::atomic<int> done{0}, lost{0}, other{0}, ended{0};
  linked l(proxy.url());
  for (int i = 0; i != 8; ++i) {
    l.broker.spawn([](redis_link& link, std::atomic<bool>& end, std::atomic<int>& good,
                      std::atomic<int>& gone, std::atomic<int>& bad,
                      std::atomic<int>& ends_too) -> troupe::task<> {
      while (!end) {
        redis_command c("INCR", "n");
        auto asking = troupe::as_result(link.ask(std::move(c)));
        const auto r = co_await std::move(asking);
        if (r.has_value()) {
          ++good;
        } else {
          ++(r.code() == errc::connection_lost ? gone : bad);
        }
      }
      ++ends_too;
    }(*l.link, ends, done, lost, other, ended));
  }
  for (int i = 0; i != 20; ++i) {
    pass(l, 30ms);
    proxy.reset();
  }
  ends = true;
  while (ended != 8) pass(l, 10ms);
  const int counted = std::stoi(server.said("GET n"));
  CHECK(other == 0);
  CHECK(done > 0);
  CHECK(counted >= done);
  CHECK(counted <= done + lost);
}

TEST_CASE("channels are subscribed again after the connection was lost", "[redis]") {
  redis_server server;
  std::atomic<int> heard{0}, subscribed{0};
  linked l(server.url());
  const auto events = l.link->on_event([&](redis_event what) {
    if (what == redis_event::subscribed) ++subscribed;
  });
  const auto listening = l.link->subscribe("c", [&](std::string_view) { ++heard; });
  const auto another = l.link->subscribe("d", [&](std::string_view) { ++heard; });
  l.broker.run(l.link->subscribed());
  CHECK(subscribed >= 1);
  const int before = subscribed;
  server.restart();
  for (int i = 0; i != 1000 && subscribed == before; ++i) pass(l, 10ms);
  CHECK(subscribed == before + 1);
  CHECK(l.ask("PUBLISH", "c", "x").integer() == 1);
  CHECK(l.ask("PUBLISH", "d", "x").integer() == 1);
  for (int i = 0; i != 1000 && heard != 2; ++i) pass(l, 10ms);
  CHECK(heard == 2);
}

TEST_CASE("channels that fall silent are given up", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  std::atomic<int> subscribed{0};
  troupe::redis_options o = options_for(proxy.url());
  o.command_limit = 500ms;
  o.connect_limit = 500ms;
  linked l(o);
  const auto events = l.link->on_event([&](redis_event what) {
    if (what == redis_event::subscribed) ++subscribed;
  });
  const auto listening = l.link->subscribe("c", [](std::string_view) {});
  l.broker.run(l.link->subscribed());
  const int before = subscribed;
  pass(l, 1500ms);  // three times as long as it would take, and it answers
  CHECK(subscribed == before);
  proxy.set(tcp_proxy::mode::hold);
  pass(l, 1500ms);
  proxy.reset();
  proxy.set(tcp_proxy::mode::forward);
  for (int i = 0; i != 1000 && subscribed == before; ++i) pass(l, 10ms);
  CHECK(subscribed > before);
}

TEST_CASE("what is told while nobody is there is bounded", "[redis]") {
  redis_server server;
  server.kill();
  troupe::redis_options o = options_for(server.url());
  o.told_commands = 10;
  o.told_bytes = 1000;
  linked l(o);
  for (int i = 0; i != 10; ++i) CHECK(l.link->tell(redis_command("RPUSH", "told", i)));
  CHECK(!l.link->tell(redis_command("RPUSH", "told", 10)));
  server.start();
  l.wait_for_server();
  CHECK(l.ask("LLEN", "told").integer() == 10);
  CHECK(!l.link->tell(redis_command("RPUSH", "told", std::string(1000, 'x'))));
  CHECK(l.link->tell(redis_command("RPUSH", "told", 11)));
  CHECK(l.ask("LLEN", "told").integer() == 11);
}

}  // namespace
}  // namespace redis_fault_tests

// SPDX-License-Identifier: MIT
// Commands and channels of a server that is there.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

#include "redis/link_kit.hpp"
#include "redis/redis_server.hpp"
#include "redis/tcp_proxy.hpp"

namespace redis_link_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;

TEST_CASE("commands are answered", "[redis]") {
  redis_server server;
  linked l(server.url());
  CHECK(l.ask("SET", "key", 42).text() == "OK");
  CHECK(l.ask("GET", "key").text() == "42");
  CHECK(l.ask("GET", "no such key").is_null());
  CHECK(l.ask("RPUSH", "list", "a", "b").integer() == 2);
  const redis_reply all = l.ask("LRANGE", "list", 0, -1);
  REQUIRE(all.size() == 2);
  CHECK(all[1].text() == "b");
  CHECK(l.ask("CLIENT", "GETNAME").text() == "troupe");
}

TEST_CASE("values are any bytes, of any size", "[redis]") {
  redis_server server;
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 60s;
  linked l(o);
  std::string bytes;
  for (int i = 0; i != 256; ++i) bytes += static_cast<char>(i);
  for (const std::string& value : {std::string(), bytes, std::string(1, '\0'), bytes + "\r\n$5"}) {
    CHECK(l.ask("SET", bytes, value).text() == "OK");
    CHECK(l.ask("GET", bytes).text() == value);
  }
  std::string large(std::size_t{64} << 20, '\0');
  for (std::size_t i = 0; i < large.size(); i += 4093) large[i] = static_cast<char>(i);
  const troupe::shared_bytes shared(std::string_view{large});
  CHECK(l.ask("SET", "large", shared).text() == "OK");
  const redis_reply back = l.ask("GET", "large");
  CHECK((back.text() == large));
}

TEST_CASE("a failure is thrown in the server's words, unless it is asked for", "[redis]") {
  redis_server server;
  linked l(server.url());
  const auto [code, text] = l.failure("GET");
  CHECK(code == errc::bad_message);
  CHECK_THAT(text, Catch::Contains("wrong number of arguments for 'get'"));
  CHECK_THAT(text, Catch::Contains(server.url()));
  CHECK(l.failure("FLY", "away").first == errc::no_such_method);
  CHECK(l.failure("EVALSHA", std::string(40, '0'), 0).first == errc::no_such_method);
  CHECK(l.failure("FCALL", "nothing", 0).first == errc::no_such_method);
  l.ask("SET", "text", "x");
  CHECK(l.failure("LPUSH", "text", "y").first == errc::bad_message);
  CHECK(l.failure("EVAL", "redis.call('SET', 'a', 'b'); error('oh no')", 0).first ==
        errc::interrupted);
  const redis_reply raw = l.ask_raw("FLY", "away");
  REQUIRE(raw.is_failure());
  CHECK_THAT(std::string(raw.text()), Catch::StartsWith("ERR unknown command"));
  CHECK(l.ask("PING").text() == "PONG");
}

troupe::task<> count_up(redis_link& link, std::string key, int n, std::atomic<int>& wrong) {
  for (int i = 0; i != n; ++i) {
    redis_command c("INCR", key);
    const redis_reply r = co_await link.ask(std::move(c));
    if (r.integer() != i + 1) ++wrong;
  }
}

TEST_CASE("many coroutines ask at once, and each gets its own answer", "[redis]") {
  redis_server server;
  std::atomic<int> wrong{0};
  linked l(server.url());
  l.broker.run([](redis_link& link, std::atomic<int>& w) -> troupe::task<> {
    troupe::task_scope scope;
    for (int i = 0; i != 100; ++i) scope.spawn(count_up(link, std::to_string(i), 100, w));
    co_await scope.join();
  }(*l.link, wrong));
  CHECK(wrong == 0);
  CHECK(l.ask("GET", "99").text() == "100");
}

TEST_CASE("ten thousand commands at once are answered, each its own", "[redis]") {
  redis_server server;
  linked l(server.url());
  constexpr int many = 10'000;
  std::vector<std::size_t> place;
  l.broker.run([](redis_link& link, std::vector<std::size_t>& at) -> troupe::task<> {
    std::vector<troupe::task<redis_reply>> all;
    for (int i = 0; i != many; ++i) {
      redis_command c("RPUSH", "list", i);
      all.push_back(link.ask(std::move(c)));
    }
    const std::vector<redis_reply> replies = co_await troupe::when_all(std::move(all));
    for (const redis_reply& r : replies) at.push_back(static_cast<std::size_t>(r.integer()));
  }(*l.link, place));
  const redis_reply list = l.ask("LRANGE", "list", 0, -1);
  REQUIRE(list.size() == many);
  REQUIRE(place.size() == many);
  int right = 0;
  for (std::size_t i = 0; i != many; ++i) {
    if (list[place[i] - 1].text() == std::to_string(i)) ++right;
  }
  CHECK(right == many);
}

TEST_CASE("what is told is done in its turn", "[redis]") {
  redis_server server;
  linked l(server.url());
  for (int i = 0; i != 1000; ++i) CHECK(l.link->tell(redis_command("RPUSH", "told", i)));
  CHECK(l.link->tell(redis_command("FLY")));  // nobody hears that it has failed
  CHECK(l.ask("LLEN", "told").integer() == 1000);
}

TEST_CASE("a password, a user and a database are used", "[redis]") {
  redis_server server({"--user", "ann", "on", ">secret", "~*", "&*", "+@all"});
  REQUIRE(server.said("ACL SETUSER default off") == "OK");
  linked l("redis://ann:secret@127.0.0.1:" + std::to_string(server.port()) + "/3");
  CHECK(l.ask("SET", "here", 1).text() == "OK");
  CHECK(l.ask("ACL", "WHOAMI").text() == "ann");
  CHECK_THAT(std::string(l.ask("CLIENT", "INFO").text()), Catch::Contains(" db=3 "));
}

/// What has come on a channel; each message wakes who waits for it.
struct heard {
  void add(std::string_view text) {
    {
      const troupe::spin_guard guard(lock);
      all.emplace_back(text);
    }
    news.release();
  }
  troupe::task<> wait_for(std::size_t n) {
    for (std::size_t i = 0; i != n; ++i) co_await news.acquire();
  }

  troupe::async_semaphore news{0};
  troupe::spin_lock lock;
  std::vector<std::string> all;
};

TEST_CASE("messages come on channels while somebody listens", "[redis]") {
  redis_server server;
  heard one, two;
  linked l(server.url());
  auto first = l.link->subscribe("one", [&](std::string_view m) { one.add(m); });
  auto second = l.link->subscribe("two", [&](std::string_view m) { two.add(m); });
  auto again = l.link->subscribe("two", [&](std::string_view m) { two.add(m); });
  l.broker.run(l.link->subscribed());
  CHECK(l.ask("PUBLISH", "one", std::string("\0x", 2)).integer() == 1);
  CHECK(l.ask("PUBLISH", "two", "a").integer() == 1);
  l.broker.run(one.wait_for(1));
  l.broker.run(two.wait_for(2));
  CHECK(one.all == std::vector<std::string>{std::string("\0x", 2)});
  CHECK(two.all == std::vector<std::string>{"a", "a"});

  second.stop();
  second.stop();
  CHECK(l.ask("PUBLISH", "two", "b").integer() == 1);
  l.broker.run(two.wait_for(1));
  CHECK(two.all.size() == 3);
  again = {};
  while (l.ask("PUBLISH", "two", "c").integer() != 0) {
  }
  first = l.link->subscribe("two", [&](std::string_view m) { two.add("again " + std::string(m)); });
  l.broker.run(l.link->subscribed());
  CHECK(l.ask("PUBLISH", "two", "d").integer() == 1);
  l.broker.run(two.wait_for(1));
  CHECK(two.all.back() == "again d");
}

TEST_CASE("messages of one link keep their order", "[redis]") {
  redis_server server;
  heard in;
  linked l(server.url());
  const auto listening = l.link->subscribe("c", [&](std::string_view m) { in.add(m); });
  l.broker.run(l.link->subscribed());
  for (int i = 0; i != 5000; ++i) CHECK(l.link->tell(redis_command("PUBLISH", "c", i)));
  l.broker.run(in.wait_for(5000));
  bool is_in_order = in.all.size() == 5000;
  for (int i = 0; i != 5000 && is_in_order; ++i) {
    is_in_order = in.all[static_cast<std::size_t>(i)] == std::to_string(i);
  }
  CHECK(is_in_order);
}

TEST_CASE("who listens may stop in the middle of it", "[redis]") {
  redis_server server;
  std::atomic<int> calls{0};
  linked l(server.url());
  troupe::detail::redis_listening listening;
  listening = l.link->subscribe("c", [&](std::string_view) {
    ++calls;
    listening.stop();
  });
  l.broker.run(l.link->subscribed());
  static_cast<void>(l.ask("PUBLISH", "c", "1"));
  while (l.ask("PUBLISH", "c", "2").integer() != 0) {
  }
  CHECK(calls == 1);
}

TEST_CASE("one that listens for connections is told at once of one that is there", "[redis]") {
  redis_server server;
  std::atomic<int> connected{0};
  linked l(server.url());
  static_cast<void>(l.ask("PING"));
  const auto listening = l.link->on_event([&](troupe::detail::redis_event what) {
    if (what == troupe::detail::redis_event::connected) ++connected;
  });
  static_cast<void>(l.ask("PING"));
  CHECK(connected == 1);
}

TEST_CASE("a stop request and a time limit end the wait for an answer", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  linked l(proxy.url());
  CHECK(l.ask("PING").text() == "PONG");
  proxy.set(tcp_proxy::mode::hold);
  const auto limited = [](redis_link& link) -> troupe::task<errc> {
    redis_command c("INCR", "n");
    auto asking = troupe::as_result(troupe::within(link.ask(std::move(c)), 50ms));
    const auto r = co_await std::move(asking);
    co_return static_cast<errc>(r.code().value());
  };
  CHECK(l.broker.run(limited(*l.link)) == errc::timed_out);
  const auto stopped = [](redis_link& link) -> troupe::task<errc> {
    redis_command c("INCR", "n");
    auto asking = troupe::as_result(link.ask(std::move(c)));
    auto first = troupe::when_any(std::move(asking), troupe::sleep_for(50ms));
    const auto done = co_await std::move(first);
    co_return done.index() == 1 ? errc{} : errc::deadlock;
  };
  CHECK(l.broker.run(stopped(*l.link)) == errc{});
  proxy.set(tcp_proxy::mode::forward);
  CHECK(l.ask("GET", "n").text() == "2");  // both were on their way
}

TEST_CASE("one that was never sent is cancelled", "[redis]") {
  redis_server server;
  server.kill();
  linked l(server.url());
  const auto code = l.broker.run([](redis_link& link) -> troupe::task<errc> {
    errc seen{};
    troupe::task_scope scope;
    scope.spawn([](redis_link& to, errc& s) -> troupe::task<> {
      redis_command c("INCR", "n");
      auto asking = troupe::as_result(to.ask(std::move(c)));
      const auto r = co_await std::move(asking);
      s = static_cast<errc>(r.code().value());
    }(link, seen));
    co_await troupe::sleep_for(20ms);
    scope.request_stop();
    co_await scope.join();
    co_return seen;
  }(*l.link));
  CHECK(code == errc::cancelled);
  server.start();
  l.wait_for_server();
  CHECK(l.ask("GET", "n").is_null());
}

TEST_CASE("a link that ends lets what is under way fail", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  std::atomic<int> begun{0}, lost{0}, other{0};
  linked l(proxy.url());
  CHECK(l.ask("PING").text() == "PONG");
  proxy.set(tcp_proxy::mode::hold);
  for (int i = 0; i != 200; ++i) {
    l.broker.spawn([](redis_link& link, std::atomic<int>& all, std::atomic<int>& good,
                      std::atomic<int>& bad) -> troupe::task<> {
      redis_command c("PING");
      auto asking = troupe::as_result(link.ask(std::move(c)));
      ++all;
      const auto r = co_await std::move(asking);
      ++(r.code() == errc::connection_lost ? good : bad);
    }(*l.link, begun, lost, other));
  }
  while (begun != 200) std::this_thread::yield();
  l.broker.run([]() -> troupe::task<> { co_await troupe::sleep_for(100ms); }());
  l.link.reset();
  while (lost + other != 200) {
    l.broker.run([]() -> troupe::task<> { co_await troupe::sleep_for(1ms); }());
  }
  CHECK(other == 0);
}

TEST_CASE("links come and go without a trace", "[redis]") {
  redis_server server;
  for (int i = 0; i != 20; ++i) {
    linked l(server.url());
    const auto listening = l.link->subscribe("c", [](std::string_view) {});
    if (i % 2 == 0) static_cast<void>(l.ask("PING"));
  }
  CHECK(server.said("PING") == "PONG");
}

TEST_CASE("options that cannot be are refused", "[redis]") {
  troupe::broker broker{troupe::broker_options{.threads = 1}};
  const auto refused = [&](auto change) {
    troupe::redis_options o;
    change(o);
    CHECK_THROWS_AS(redis_link(broker.runs_on(), o), std::invalid_argument);
  };
  refused([](auto& o) { o.host = ""; });
  refused([](auto& o) { o.port = 0; });
  refused([](auto& o) { o.name = ""; });
  refused([](auto& o) { o.name = "a{b}"; });
  refused([](auto& o) { o.client_name = "a b"; });
  refused([](auto& o) { o.user = "ann"; });
  refused([](auto& o) { o.command_limit = 0s; });
}

}  // namespace
}  // namespace redis_link_tests

// SPDX-License-Identifier: MIT
// A network over Redis: the same promises as in memory, and a gateway of several brokers on it.

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis.hpp>
#include <troupe/gateway.hpp>
#include <troupe/gateway/shared_gateway.hpp>
#include <troupe/job.hpp>
#include <troupe/net.hpp>

#include "redis/link_kit.hpp"
#include "redis/redis_server.hpp"
#include "redis/tcp_proxy.hpp"

namespace redis_network_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;
using troupe::redis_network;

/// A process: a broker, and its network, which what the broker has still to do may need.
struct place {
  explicit place(const std::string& url, const std::string& name = "test")
      : net(pool, named(url, name)) {}

  static troupe::redis_options named(const std::string& url, const std::string& name) {
    troupe::redis_options o = options_for(url);
    o.name = name;
    return o;
  }
  template <class T>
  T run(troupe::task<T> t) {
    return broker.run(std::move(t));
  }

  troupe::thread_pool pool{troupe::thread_pool_options{.threads = 2}};
  redis_network net;
  troupe::broker broker{troupe::broker_options{.on = &pool}};
};

troupe::task<std::string> next(troupe::network_endpoint& at) {
  const std::optional<troupe::network_message> m = co_await at.receive();
  co_return m ? m->from + ":" + std::string(m->body.view()) : std::string("(closed)");
}
troupe::task<> pause(troupe::duration d) { co_await troupe::sleep_for(d); }

TEST_CASE("messages go from process to process, in order", "[redis]") {
  redis_server server;
  place one(server.url()), two(server.url());
  const auto a = one.net.open("a");
  const auto b = two.net.open("b");
  one.run(one.net.ready());
  two.run(two.net.ready());
  for (int i = 0; i != 1000; ++i) a->send("b", troupe::shared_bytes(std::to_string(i)));
  a->send("nobody", "lost");
  bool is_in_order = true;
  for (int i = 0; i != 1000; ++i) {
    is_in_order = is_in_order && two.run(next(*b)) == "a:" + std::to_string(i);
  }
  CHECK(is_in_order);
  b->send("a", {});
  CHECK(one.run(next(*a)) == "b:");
  a->send("a", "to myself");
  CHECK(one.run(next(*a)) == "a:to myself");
  const std::string large(std::size_t{8} << 20, '\xfe');
  a->send("b", troupe::shared_bytes(std::string_view(large)));
  CHECK((two.run(next(*b)) == "a:" + large));
}

TEST_CASE("networks of different names have nothing in common", "[redis]") {
  redis_server server;
  place one(server.url(), "x"), two(server.url(), "y");
  const auto a = one.net.open("a");
  const auto same = two.net.open("a");
  one.run(one.net.ready());
  two.run(two.net.ready());
  same->send("a", "for y");
  a->send("a", "for x");
  CHECK(one.run(next(*a)) == "a:for x");
  CHECK(two.run(next(*same)) == "a:for y");
  CHECK(one.run(one.net.claim("n", "a", 10s)) != 0);
  CHECK(two.run(two.net.claim("n", "b", 10s)) != 0);
  CHECK(one.run(one.net.claims("")).size() == 1);
}

TEST_CASE("an address is one's own until it is closed", "[redis]") {
  redis_server server;
  place p(server.url());
  auto a = p.net.open("a");
  CHECK_THROWS_WITH(p.net.open("a"), Catch::Contains("there is an endpoint at a"));
  p.run(p.net.ready());
  a->close();
  a->close();
  a->send("a", "too late");
  CHECK(p.run(next(*a)) == "(closed)");
  CHECK(p.run(next(*a)) == "(closed)");
  const auto again = p.net.open("a");
  p.run(p.net.ready());
  again->send("a", "hello");
  CHECK(p.run(next(*again)) == "a:hello");
  a.reset();
  CHECK_THROWS_AS(p.net.open("a"), troupe::error);
}

TEST_CASE("who waits for a message is woken by the end, and misses nothing by stopping",
          "[redis]") {
  redis_server server;
  place p(server.url());
  const auto a = p.net.open("a");
  p.run(p.net.ready());
  const bool came = p.run([](troupe::network_endpoint& at) -> troupe::task<bool> {
    auto waiting = troupe::as_result(troupe::within(at.receive(), 20ms));
    const auto m = co_await std::move(waiting);
    co_return m.has_value();
  }(*a));
  CHECK(!came);
  a->send("a", "1");
  CHECK(p.run(next(*a)) == "a:1");
  const std::string last = p.run([](troupe::network_endpoint& at) -> troupe::task<std::string> {
    auto closing = [](troupe::network_endpoint& e) -> troupe::task<> {
      co_await troupe::sleep_for(20ms);
      e.close();
    }(at);
    auto both = co_await troupe::when_all(next(at), std::move(closing));
    co_return std::get<0>(both);
  }(*a));
  CHECK(last == "(closed)");
}

TEST_CASE("what is too much for an inbox is lost", "[redis]") {
  redis_server server;
  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::redis_options o = options_for(server.url());
  o.inbox = 10;
  redis_network net(broker.runs_on(), o);
  const auto a = net.open("a");
  broker.run(net.ready());
  for (int i = 0; i != 20; ++i) a->send("a", troupe::shared_bytes(std::to_string(i)));
  // Published behind them on the same connection, it is there when they are.
  broker.run(net.release("nothing", "nobody"));
  broker.run(pause(200ms));
  int got = 0;
  for (; got != 10; ++got) CHECK(broker.run(next(*a)) == "a:" + std::to_string(got));
  a->send("a", "end");
  CHECK(broker.run(next(*a)) == "a:end");
}

TEST_CASE("what is no message is dropped", "[redis]") {
  redis_server server;
  place p(server.url());
  const auto a = p.net.open("a");
  p.run(p.net.ready());
  for (const char* const sent : {"x", "abcdefgh"}) {
    CHECK(server.said("PUBLISH troupe:{test}:at:a " + std::string(sent)) == "1");
  }
  a->send("a", "good");
  CHECK(p.run(next(*a)) == "a:good");
}

TEST_CASE("a name has one holder at a time, and each a higher fence", "[redis]") {
  redis_server server;
  place p(server.url());
  const auto claim = [&](std::string name, std::string holder, troupe::duration limit) {
    return p.run(p.net.claim(std::move(name), std::move(holder), limit));
  };
  const std::uint64_t first = claim("x", "a", 10s);
  CHECK(first != 0);
  CHECK(first < std::uint64_t{1} << 32);
  CHECK(claim("x", "b", 10s) == 0);
  CHECK(claim("x", "a", 300ms) == first);
  CHECK(claim("x", "b", 10s) == 0);
  p.run(pause(400ms));
  const std::uint64_t second = claim("x", "b", 10s);
  CHECK(second > first);
  CHECK(second < first + 1000);
  CHECK(claim("x", "a", 10s) == 0);
  p.run(p.net.release("x", "a"));  // it is not a's
  CHECK(claim("x", "a", 10s) == 0);
  p.run(p.net.release("x", "b"));
  const std::uint64_t third = claim("x", "a", 100ms);
  CHECK(third > second);
  p.run(pause(200ms));
  CHECK(claim("x", "a", 10s) > third);  // it had lapsed
  CHECK(claim("forever", "a", troupe::endless) != 0);
  CHECK(claim("forever", "b", 1s) == 0);
}

TEST_CASE("names and holders are any bytes", "[redis]") {
  redis_server server;
  place p(server.url());
  const std::string odd("a\0\n \xff", 5);
  const std::uint64_t fence = p.run(p.net.claim(odd, odd, 10s));
  CHECK(fence != 0);
  CHECK(p.run(p.net.claim(odd, odd, 10s)) == fence);
  CHECK(p.run(p.net.claim(odd, "another", 10s)) == 0);
  const auto all = p.run(p.net.claims(odd));
  REQUIRE(all.size() == 1);
  CHECK(all[0].name == odd);
  CHECK(all[0].holder == odd);
  CHECK(all[0].fence == fence);
  p.run(p.net.release(odd, odd));
  CHECK(p.run(p.net.claims("")).empty());
}

TEST_CASE("claims are listed by prefix while they are held", "[redis]") {
  redis_server server;
  place p(server.url());
  for (const char* const name : {"b/1", "a/2", "a/1", "a", "a\xff", "b"}) {
    CHECK(p.run(p.net.claim(name, std::string("of ") + name, 10s)) != 0);
  }
  CHECK(p.run(p.net.claim("a/3", "short", 50ms)) != 0);
  p.run(pause(100ms));
  const auto names = [&](std::string prefix) {
    std::vector<std::string> all;
    for (const troupe::network_claim& c : p.run(p.net.claims(std::move(prefix)))) {
      CHECK(c.holder == "of " + c.name);
      all.push_back(c.name);
    }
    return all;
  };
  CHECK(names("a/") == std::vector<std::string>{"a/1", "a/2"});
  CHECK(names("a") == std::vector<std::string>{"a", "a/1", "a/2", "a\xff"});
  CHECK(names("a\xff") == std::vector<std::string>{"a\xff"});
  CHECK(names("c").empty());
  CHECK(names("").size() == 6);
}

TEST_CASE("fences rise also where the server has lost everything", "[redis]") {
  redis_server server;
  place p(server.url());
  const std::uint64_t before = p.run(p.net.claim("x", "a", 10s));
  p.run(pause(1100ms));
  server.restart_empty();
  p.run(p.net.ready());
  CHECK(p.run(p.net.claim("x", "b", 10s)) > before);
}

TEST_CASE("claims are kept when the server is killed", "[redis]") {
  redis_server server({"--appendfsync", "always"});
  place p(server.url());
  const std::uint64_t fence = p.run(p.net.claim("x", "a", 60s));
  server.restart();
  p.run(p.net.ready());
  CHECK(p.run(p.net.claim("x", "b", 60s)) == 0);
  CHECK(p.run(p.net.claim("x", "a", 60s)) == fence);
}

TEST_CASE("a network that cannot be reached says so", "[redis]") {
  redis_server server;
  server.kill();
  troupe::broker broker{troupe::broker_options{.threads = 1}};
  troupe::redis_options o = options_for(server.url());
  o.command_limit = 200ms;
  redis_network net(broker.runs_on(), o);
  const auto code_of = [&](troupe::task<> t) {
    try {
      broker.run(std::move(t));
    } catch (const troupe::error& e) {
      return static_cast<errc>(e.code().value());
    }
    return errc{};
  };
  CHECK(code_of(net.ready()) == errc::connection_lost);
  CHECK(code_of(net.release("x", "a")) == errc::connection_lost);
  CHECK(code_of([](redis_network& n) -> troupe::task<> {
          static_cast<void>(co_await n.claim("x", "a", 1s));
        }(net)) == errc::connection_lost);
  server.start();
  const auto a = net.open("a");
  for (int i = 0; i != 100 && code_of(net.ready()) != errc{}; ++i) {
  }
  a->send("a", "back");
  CHECK(broker.run(next(*a)) == "a:back");
}

TEST_CASE("a server that is silent is one that cannot be reached", "[redis]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  troupe::broker broker{troupe::broker_options{.threads = 1}};
  troupe::redis_options o = options_for(proxy.url());
  o.command_limit = 1s;
  redis_network net(broker.runs_on(), o);
  broker.run(net.ready());
  proxy.set(tcp_proxy::mode::hold);
  try {
    broker.run(net.release("x", "a"));
    FAIL("it was released");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::connection_lost);
  }
}

// --- jobs over it -------------------------------------------------------------------------------

struct sum {
  struct params {
    int a = 0, b = 0;
  };
  using result = int;
  int operator()(params p) { return p.a + p.b; }
};

TEST_CASE("jobs go from process to process, also when the server is killed meanwhile", "[redis]") {
  redis_server server({"--appendfsync", "always"});
  place here(server.url()), there(server.url());
  troupe::workspace scripts;
  scripts.add<sum>();
  troupe::client jobs{here.net, scripts};
  troupe::composer composer{there.net};
  troupe::instrument instrument{there.net, scripts, {.workers = 4}};
  const int played = here.run(
      [](troupe::client& c) -> troupe::task<int> { co_return co_await c.play<sum>(1, 2); }(jobs));
  CHECK(played == 3);
  std::vector<troupe::job_id> queued;
  for (int i = 0; i != 50; ++i) {
    queued.push_back(here.run([](troupe::client& c, int n) -> troupe::task<troupe::job_id> {
      co_return co_await c.queue<sum>({}, n, 1);
    }(jobs, i)));
    if (i == 25) server.restart();
  }
  for (int i = 0; i != 50; ++i) {
    const int result = here.run([](troupe::client& c, troupe::job_id id) -> troupe::task<int> {
      co_return co_await c.result<sum>(id);
    }(jobs, queued[static_cast<std::size_t>(i)]));
    CHECK(result == i + 1);
  }
}

// --- a gateway over it --------------------------------------------------------------------------

struct lobby {
  static constexpr std::size_t limit = 2;
  std::string identify(const troupe::request& asked) {
    return asked.parameter("id").value_or("nobody");
  }
};
struct room {
  explicit room(troupe::shard s) : here(std::move(s)) {}
  troupe::task<troupe::response> receive(troupe::request asked) {
    if (asked.wants_socket()) co_return asked.connect();
    co_return troupe::text_response(200, here.id());
  }
  void on_open(troupe::socket& s) { s.send("welcome"); }
  void on_message(troupe::socket& s, const troupe::socket_message& m) {
    s.send("heard " + std::string(m.text()));
  }
  troupe::shard here;
};
using rooms_type = troupe::shared_gateway<lobby, room>;
using wire = std::shared_ptr<troupe::memory_socket>;

troupe::task<> carry(std::shared_ptr<troupe::socket_session> s, wire w) {
  co_await s->run(std::move(w));
}

/// A process of the gateway, with a network of its own.
struct process : place {
  process(const std::string& url, const troupe::shared_gateway_options& options)
      : place(url), rooms(std::make_unique<rooms_type>(broker, net, "rooms", options)) {}

  troupe::task<int> connect(std::string id, wire client) {
    troupe::request asked = troupe::socket_request("/?id=" + id);
    troupe::response said = co_await rooms->receive("tea", std::move(asked));
    if (said.session) broker.spawn(carry(said.session, std::move(client)));
    co_return said.status;
  }
  std::string said(const wire& w) {
    return run([](wire from) -> troupe::task<std::string> {
      auto receiving = troupe::as_result(troupe::within(from->receive(), 20s));
      const auto m = co_await std::move(receiving);
      if (!m.has_value()) co_return "(nothing)";
      co_return m.value() ? std::string(m.value()->text()) : std::string("(closed)");
    }(w));
  }
  std::string say(const wire& w, std::string text) {
    run([](wire to, std::string t) -> troupe::task<> {
      static_cast<void>(co_await to->send(std::move(t)));
    }(w, std::move(text)));
    return said(w);
  }

  std::unique_ptr<rooms_type> rooms;
};

/// Until all of them see as many processes.
bool are_together(const std::vector<process*>& all, std::size_t many) {
  for (int i = 0; i != 6000; ++i) {
    bool is_so = true;
    for (const process* const p : all) {
      is_so = is_so && p->rooms->processes().size() == many && !p->rooms->keeper().empty();
    }
    if (is_so) return true;
    all.front()->run(pause(10ms));
  }
  return false;
}

TEST_CASE("a gateway of several processes lives on a Redis network", "[redis]") {
  redis_server server;
  std::vector<wire> clients;
  for (int i = 0; i != 4; ++i) clients.push_back(std::make_shared<troupe::memory_socket>());
  troupe::shared_gateway_options options;
  options.lease = 15s;  // longer than a busy machine may take to start a server
  process one(server.url(), options);
  auto two = std::make_unique<process>(server.url(), options);
  REQUIRE(are_together({&one, two.get()}, 2));
  CHECK(one.rooms->keeper() == two->rooms->keeper());

  CHECK(one.run(one.connect("ann", clients[0])) == 101);
  CHECK(two->run(two->connect("bob", clients[1])) == 101);
  CHECK(one.run(one.connect("cid", clients[2])) == 101);
  for (int i = 0; i != 3; ++i) CHECK(one.said(clients[static_cast<std::size_t>(i)]) == "welcome");
  CHECK(one.say(clients[0], "hello") == "heard hello");
  CHECK(two->say(clients[1], "hello") == "heard hello");

  const troupe::delivery all = two->run(two->rooms->broadcast("tea", std::string("to all")));
  CHECK(all.sockets == 3);
  for (int i = 0; i != 3; ++i) CHECK(one.said(clients[static_cast<std::size_t>(i)]) == "to all");
  const troupe::delivery whispered =
      two->run(two->rooms->whisper("tea", "ann", std::string("psst")));
  CHECK(whispered.sockets == 1);
  CHECK(one.said(clients[0]) == "psst");

  // The server dies and comes back: who is a member stays one, and is found again.
  server.restart();
  const auto listeners = [&] {
    const std::string heard = server.said("CLIENT LIST TYPE pubsub");
    int n = 0;
    for (std::size_t at = heard.find(" sub=1 "); at != std::string::npos; ++n) {
      at = heard.find(" sub=1 ", at + 1);
    }
    return n;
  };
  for (int i = 0; i != 2000 && listeners() != 2; ++i) one.run(pause(10ms));
  bool is_back = false;
  for (int i = 0; i != 200 && !is_back; ++i) {
    try {
      is_back = two->run(two->rooms->whisper("tea", "ann", std::string("again"))).sockets == 1;
    } catch (const troupe::error&) {
      two->run(pause(50ms));
    }
  }
  CHECK(is_back);
  CHECK(one.said(clients[0]) == "again");
  REQUIRE(are_together({&one, two.get()}, 2));

  // One goes: the other serves on.
  two->rooms.reset();
  for (int i = 0; i != 100 && one.rooms->processes().size() != 1; ++i) two->run(pause(10ms));
  two.reset();
  REQUIRE(are_together({&one}, 1));
  CHECK(one.run(one.connect("dan", clients[3])) == 101);
  CHECK(one.said(clients[3]) == "welcome");
  for (const wire& w : clients) w->leave();
}

}  // namespace
}  // namespace redis_network_tests

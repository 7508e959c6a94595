// SPDX-License-Identifier: MIT

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/net.hpp>
#include <troupe/net/exchange.hpp>

namespace network_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;

/// A network on a simulation.
struct world {
  troupe::sim_executor sim;
  troupe::memory_network net;
  troupe::broker driver{troupe::broker_options{.on = &sim}};

  explicit world(const troupe::memory_network_options& options = {}, std::uint64_t seed = 1)
      : sim(troupe::sim_options{.seed = seed}), net(sim, options) {}

  template <class T>
  T run(troupe::task<T> t) {
    return driver.run(std::move(t));
  }
  void pass(troupe::duration d) { run(sleep(d)); }
  static troupe::task<> sleep(troupe::duration d) { co_await troupe::sleep_for(d); }
};

troupe::task<std::string> next(troupe::network_endpoint& at) {
  const std::optional<troupe::network_message> m = co_await at.receive();
  co_return m ? m->from + ":" + std::string(m->body.view()) : std::string("(closed)");
}

/// What comes within a second, from the first on.
troupe::task<std::vector<int>> numbers(troupe::network_endpoint& at) {
  std::vector<int> all;
  for (;;) {
    auto waiting = troupe::as_result(troupe::within(at.receive(), 1s));
    const auto m = co_await std::move(waiting);
    if (!m.has_value() || !m.value()) co_return all;
    all.push_back(std::stoi(std::string(m.value()->body.view())));
  }
}

errc code_of(troupe::task<> t, world& w) {
  try {
    w.run(std::move(t));
  } catch (const troupe::error& e) {
    return static_cast<errc>(e.code().value());
  }
  return errc{};
}

TEST_CASE("messages go from address to address, in order", "[net]") {
  world w;
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  a->send("b", "one");
  a->send("b", "two");
  a->send("nobody", "three");
  b->send("a", "back");
  CHECK(w.run(next(*b)) == "a:one");
  CHECK(w.run(next(*b)) == "a:two");
  CHECK(w.run(next(*a)) == "b:back");
  a->send("a", "to myself");
  CHECK(w.run(next(*a)) == "a:to myself");
  b->close();
  b->close();
  CHECK(w.run(next(*b)) == "(closed)");
  a->send("b", "too late");
}

TEST_CASE("an address is one's own until it is closed", "[net]") {
  world w;
  auto a = w.net.open("a");
  try {
    static_cast<void>(w.net.open("a"));
    FAIL("two have one address");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::refused);
    CHECK(std::string(e.what()).find("there is an endpoint at a") != std::string::npos);
  }
  const auto b = w.net.open("b");
  b->send("a", "still there");
  CHECK(w.run(next(*a)) == "b:still there");
  a.reset();
  const auto again = w.net.open("a");
  b->send("a", "hello");
  CHECK(w.run(next(*again)) == "b:hello");
}

TEST_CASE("who waits for a message is woken by the end", "[net]") {
  world w;
  const auto a = w.net.open("a");
  const std::string came = w.run([](troupe::network_endpoint& at) -> troupe::task<std::string> {
    troupe::task<std::string> waiting = next(at);
    troupe::task<std::string> closing =
        [](troupe::network_endpoint& e) -> troupe::task<std::string> {
      co_await troupe::sleep_for(1s);
      e.close();
      co_return std::string();
    }(at);
    auto both = co_await troupe::when_all(std::move(waiting), std::move(closing));
    co_return std::get<0>(both);
  }(*a));
  CHECK(came == "(closed)");
}

TEST_CASE("who stops waiting misses nothing", "[net]") {
  world w({.delay = 50ms});
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  a->send("b", "1");
  const auto early = w.run([](troupe::network_endpoint& at) -> troupe::task<bool> {
    auto waiting = troupe::as_result(troupe::within(at.receive(), 1ns));
    const auto m = co_await std::move(waiting);
    co_return m.has_value();
  }(*b));
  if (!early) CHECK(w.run(next(*b)) == "a:1");
  a->send("b", "2");
  CHECK(w.run(next(*b)) == "a:2");
  b->close();
  CHECK(w.run(next(*b)) == "(closed)");
  CHECK(w.run(next(*b)) == "(closed)");
}

TEST_CASE("delays keep the order, unless they are told not to", "[net]") {
  const bool reorders = GENERATE(false, true);
  world w({.delay = 50ms, .reorders = reorders});
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  std::vector<int> sent;
  for (int i = 0; i != 100; ++i) {
    a->send("b", std::to_string(i));
    sent.push_back(i);
  }
  std::vector<int> came = w.run(numbers(*b));
  CHECK((came == sent) != reorders);
  std::sort(came.begin(), came.end());
  CHECK(came == sent);
}

TEST_CASE("messages are lost as often as the network is told", "[net]") {
  world w({.lost_per_mille = 200});
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  for (int i = 0; i != 2000; ++i) a->send("b", std::to_string(i));
  const std::size_t came = w.run(numbers(*b)).size();
  CHECK(came > 1500);
  CHECK(came < 1700);
}

TEST_CASE("what is too much for an inbox is lost", "[net]") {
  world w({.inbox = 10});
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  for (int i = 0; i != 20; ++i) a->send("b", std::to_string(i));
  CHECK(w.run(numbers(*b)).size() == 10);
}

TEST_CASE("a name has one holder at a time, and each a higher fence", "[net]") {
  world w;
  const auto first = w.run(w.net.claim("x", "a", 10s));
  CHECK(first != 0);
  CHECK(w.run(w.net.claim("x", "b", 10s)) == 0);
  CHECK(w.run(w.net.claim("x", "a", 10s)) == first);
  w.pass(9s);
  CHECK(w.run(w.net.claim("x", "a", 10s)) == first);
  w.pass(9s);
  CHECK(w.run(w.net.claim("x", "b", 10s)) == 0);
  w.pass(1s);
  const auto second = w.run(w.net.claim("x", "b", 10s));
  CHECK(second > first);
  CHECK(w.run(w.net.claim("x", "a", 10s)) == 0);

  w.run(w.net.release("x", "a"));  // it is not a's
  CHECK(w.run(w.net.claim("x", "a", 10s)) == 0);
  w.run(w.net.release("x", "b"));
  const auto third = w.run(w.net.claim("x", "a", 10s));
  CHECK(third > second);
  w.pass(11s);
  CHECK(w.run(w.net.claim("x", "a", 10s)) > third);  // it had lapsed
}

TEST_CASE("claims take their time, and who is cut off meanwhile does not know", "[net]") {
  world w({.claim_delay = 1s});
  const troupe::time_point begun = w.sim.now();
  const auto first = w.run(w.net.claim("x", "a", 10s));
  CHECK(first != 0);
  CHECK(w.sim.now() - begun == 1s);
  CHECK(w.run(w.net.claims("x")).size() == 1);
  const auto claim_and_cut = [](world& in, troupe::duration after) -> troupe::task<> {
    auto claiming = in.net.claim("y", "b", 10s);
    auto cutting = [](world& there, troupe::duration d) -> troupe::task<> {
      co_await troupe::sleep_for(d);
      there.net.cut("b");
    }(in, after);
    co_await troupe::when_all(std::move(claiming), std::move(cutting));
  };
  CHECK(code_of(claim_and_cut(w, 100ms), w) == errc::connection_lost);
  CHECK(w.run(w.net.claims("y")).empty());
  w.net.mend("b");
  CHECK(code_of(claim_and_cut(w, 700ms), w) == errc::connection_lost);
  CHECK(w.run(w.net.claims("y")).size() == 1);
  w.run(w.net.release("x", "a"));
  CHECK(w.run(w.net.claims("x")).empty());
  CHECK(w.run(w.net.claim("x", "a", 10s)) > first);
}

TEST_CASE("claims are listed by prefix while they are held", "[net]") {
  world w;
  CHECK(w.run(w.net.claim("a/2", "x", 10s)) != 0);
  CHECK(w.run(w.net.claim("a/1", "y", 20s)) != 0);
  CHECK(w.run(w.net.claim("b/1", "z", 20s)) != 0);
  auto all = w.run(w.net.claims("a/"));
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "a/1");
  CHECK(all[0].holder == "y");
  CHECK(all[1].name == "a/2");
  CHECK(all[0].fence > all[1].fence);
  w.pass(15s);
  all = w.run(w.net.claims("a/"));
  REQUIRE(all.size() == 1);
  CHECK(all[0].name == "a/1");
}

TEST_CASE("who has lost the cable reaches nobody", "[net]") {
  world w;
  const auto a = w.net.open("a");
  const auto b = w.net.open("b");
  w.net.cut("a");
  a->send("b", "1");
  b->send("a", "2");
  CHECK(code_of(
            [](world& in) -> troupe::task<> {
              static_cast<void>(co_await in.net.claim("x", "a", 1s));
            }(w),
            w) == errc::connection_lost);
  w.net.mend("a");
  a->send("b", "3");
  CHECK(w.run(numbers(*b)) == std::vector<int>{3});
  CHECK(w.run(w.net.claim("x", "a", 1s)) != 0);
}

// --- questions and answers ----------------------------------------------------------------------

/// Answers with what it was asked, in capitals or late or not at all.
struct parrot final : troupe::detail::exchange::listener {
  std::vector<std::string> heard;

  void hear(const std::string& from, const troupe::shared_bytes& said) noexcept override {
    heard.push_back(from + ":" + std::string(said.view()));
  }
  troupe::task<troupe::shared_bytes> answer(std::string from, troupe::shared_bytes asked) override {
    if (asked.view() == "at once") throw std::runtime_error("not even begun");
    return reply(std::move(from), std::move(asked));
  }
  static troupe::task<troupe::shared_bytes> reply(std::string from, troupe::shared_bytes asked) {
    const std::string text(asked.view());
    if (text == "large") {
      co_return troupe::shared_bytes(std::string(troupe::detail::exchange::max_size + 1, 'x'));
    }
    if (text == "fail") throw troupe::error(errc::too_large, {}, "of " + from);
    if (text == "throw") throw std::runtime_error("oh no");
    if (text == "number") throw 7;
    if (text == "late") co_await troupe::sleep_for(1h);
    co_return troupe::shared_bytes(text + "!");
  }
};

struct talk : world {
  troupe::detail::exchange a{net, "a"};
  troupe::detail::exchange b{net, "b"};
  parrot at_a, at_b;

  talk() {
    driver.spawn(a.run(at_a));
    driver.spawn(b.run(at_b));
  }
  ~talk() {
    a.close();
    b.close();
    pass(1s);
  }
  std::string ask(std::string text, troupe::duration limit = 10s) {
    return run([](troupe::detail::exchange& from, std::string q,
                  troupe::duration within) -> troupe::task<std::string> {
      const troupe::shared_bytes answer =
          co_await from.ask("b", troupe::shared_bytes(std::string_view(q)), within);
      co_return std::string(answer.view());
    }(a, std::move(text), limit));
  }
};

TEST_CASE("a question has an answer, or the failure of who was asked", "[net]") {
  talk t;
  CHECK(t.ask("hello") == "hello!");
  CHECK(t.ask("") == "!");
  const std::string large(1 << 20, 'x');
  CHECK(t.ask(large) == large + "!");
  try {
    t.ask("fail");
    FAIL("no error");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::too_large);
    CHECK(e.detail() == "of a");
  }
  CHECK_THROWS_WITH(t.ask("throw"), "oh no");
  CHECK_THROWS_WITH(t.ask("number"), "an exception of no known type");
  CHECK_THROWS_WITH(t.ask("at once"), "not even begun");
  try {
    t.ask("large");
    FAIL("no error");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::too_large);
  }
  CHECK_THROWS_AS(t.ask(std::string(troupe::detail::exchange::max_size + 1, 'x')), troupe::error);
  CHECK(t.ask("hello") == "hello!");
}

TEST_CASE("an answer that does not come is waited for no longer than the limit", "[net]") {
  talk t;
  try {
    t.ask("late", 5s);
    FAIL("no error");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::timed_out);
  }
  CHECK(t.ask("hello") == "hello!");  // and what comes late is nobody's
}

TEST_CASE("who asks somebody that is lost, or has ended himself, hears of it", "[net]") {
  talk t;
  const bool ends = GENERATE(false, true);
  t.driver.spawn([](talk& in, bool ending) -> troupe::task<> {
    co_await troupe::sleep_for(1s);
    in.a.lose([](const std::string& a) { return a == "nobody that was asked"; });
    if (ending) {
      in.a.close();
    } else {
      in.a.lose([](const std::string& a) { return a == "b"; });
    }
  }(t, ends));
  const troupe::time_point before = t.sim.now();
  try {
    t.ask("late", 1h);
    FAIL("no error");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::connection_lost);
  }
  CHECK(t.sim.now() - before < 2s);
  if (!ends) {
    CHECK(t.ask("hello") == "hello!");
    return;
  }
  CHECK_THROWS_AS(t.ask("hello"), troupe::error);
}

TEST_CASE("words come in order, and garbage is nobody's", "[net]") {
  talk t;
  const auto stranger = t.net.open("stranger");
  stranger->send("b", "garbage");
  stranger->send("b", {});
  for (int i = 0; i != 5; ++i) t.a.tell("b", std::to_string(i));
  CHECK(t.ask("hello") == "hello!");
  CHECK(t.at_b.heard == std::vector<std::string>{"a:0", "a:1", "a:2", "a:3", "a:4"});
}

TEST_CASE("questions over a network that loses some end, each once", "[net]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 11));
  world w({.lost_per_mille = 100, .delay = 5ms, .reorders = true}, seed);
  troupe::detail::exchange a{w.net, "a"};
  troupe::detail::exchange b{w.net, "b"};
  parrot at_a, at_b;
  w.driver.spawn(a.run(at_a));
  w.driver.spawn(b.run(at_b));
  std::vector<troupe::task<int>> all;
  for (int i = 0; i != 100; ++i) {
    all.push_back([](troupe::detail::exchange& from, int n) -> troupe::task<int> {
      const std::string text = std::to_string(n);
      auto asking =
          troupe::as_result(from.ask("b", troupe::shared_bytes(std::string_view(text)), 1s));
      const troupe::result<troupe::shared_bytes> answer = co_await std::move(asking);
      if (answer.has_value()) co_return answer.value().view() == text + "!" ? 1 : -1000;
      co_return answer.code() == errc::timed_out ? 0 : -1000;
    }(a, i));
  }
  const auto outcomes =
      w.run([](std::vector<troupe::task<int>> asked) -> troupe::task<std::vector<int>> {
        co_return co_await troupe::when_all(std::move(asked));
      }(std::move(all)));
  int answered = 0;
  for (const int o : outcomes) answered += o;
  CHECK(answered > 50);
  CHECK(answered < 100);
  a.close();
  b.close();
  w.pass(1s);
}

}  // namespace
}  // namespace network_tests

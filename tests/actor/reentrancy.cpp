// SPDX-License-Identifier: MIT
// What happens to a call whose target is above it in the same chain: refused, nested, interleaved.
// Deterministic; reentrancy_threads.cpp has the same on threads.

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace reentrancy_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::reentrancy;
using troupe::task;
using troupe::test::code_of;
using troupe::test::contains;
using troupe::test::gate;
using troupe::test::world;

}  // namespace

/// Calls other nodes as its argument says, one letter per step: the rest of the path goes along.
template <reentrancy R>
struct actor_reentrancy_node {
  using self = actor_reentrancy_node;
  explicit actor_reentrancy_node(troupe::context& c) : ctx(c) {}

  troupe::proxy<self> at(char key) { return ctx.worker<self>(std::string_view(&key, 1)); }

  task<int> go(std::string path) {
    ++turns;
    int below = 0;
    if (!path.empty()) {
      const auto next = at(path[0]);
      below = co_await next.template call<&self::go>(path.substr(1));
    }
    co_return below + 1;
  }
  task<int> go_owned(std::string path) {
    int below = 0;
    if (!path.empty()) {
      const auto next = at(path[0]);
      below = co_await next.template call<&self::go_owned>(path.substr(1)).within(1h);
    }
    co_return below + 1;
  }
  /// The last step is a call of a plain method.
  task<int> go_plain(std::string path) {
    int below = 0;
    const auto next = at(path[0]);
    if (path.size() == 1) {
      below = co_await next.template call<&self::touch>();
    } else {
      below = co_await next.template call<&self::go_plain>(path.substr(1));
    }
    co_return below + 1;
  }
  int touch() {
    overlaps += inside != 0 ? 1 : 0;
    return 100;
  }

  task<int> down(int levels) {
    int below = 0;
    if (levels > 0) below = co_await ctx.self<self>().template call<&self::down>(levels - 1);
    co_return below + 1;
  }

  /// Calls back from two branches.
  task<int> diamond() {
    const auto b = at('b');
    const auto c = at('c');
    auto [x, y] = co_await troupe::when_all(b.template call<&self::back>('a'),
                                            c.template call<&self::back>('a'));
    co_return x + y;
  }
  task<int> back(char to) {
    const auto p = at(to);
    int n = co_await p.template call<&self::slow>();
    co_return n;
  }
  /// Suspends often; notices if another turn's code runs meanwhile.
  task<int> slow() {
    overlaps += inside++ != 0 ? 1 : 0;
    for (int i = 0; i < 5; ++i) co_await troupe::yield();
    --inside;
    co_return 1;
  }

  /// Two branches call one worker that is nobody's ancestor.
  task<int> fork_to_one() {
    const auto b = at('b');
    const auto c = at('c');
    auto [x, y] = co_await troupe::when_all(b.template call<&self::back>('d'),
                                            c.template call<&self::back>('d'));
    co_return x + y;
  }

  /// A callback that waits at a gate, and beside it something of the turn's own.
  task<std::string> held_up(gate g) {
    log.clear();
    const auto b = at('b');
    auto both = co_await troupe::when_all(b.template call<&self::back_to_gate>(g), own_steps());
    static_cast<void>(both);
    co_return log;
  }
  task<> back_to_gate(gate g) {
    const auto a = at('a');
    co_await a.template call<&self::wait_at>(g);
  }
  task<> wait_at(gate g) {
    log += "in ";
    co_await g;
    log += "out ";
  }
  task<> own_steps() {
    for (int i = 0; i < 2000; ++i) {
      co_await troupe::yield();
      if (!log.ends_with("own ")) log += "own ";
    }
  }

  task<> wait(gate g) { co_await g; }
  task<int> call_back_late(gate g) {
    co_await g;
    const auto a = at('a');
    int n = co_await a.template call<&self::note>(1);
    co_return n;
  }
  task<int> through_b(gate g) {
    const auto b = at('b');
    int n = co_await b.template call<&self::call_back_late>(g);
    co_return n;
  }
  int note(int n) {
    order.push_back(n);
    return n;
  }
  std::vector<int> notes() { return order; }

  task<> fails_below() {
    const auto b = at('b');
    co_await b.template call<&self::fails_back>();
  }
  task<> fails_back() {
    const auto a = at('a');
    co_await a.template call<&self::fails>();
  }
  task<> fails() {
    co_await troupe::yield();
    throw 42;
  }

  void tell_self(int n) {
    const bool told = ctx.self<self>().template tell<&self::note>(n);
    order.push_back(told ? 0 : -1);
  }
  task<> tell_self_later(int n) {
    const bool told = ctx.self<self>().template tell<&self::note>(n);
    for (int i = 0; i < 10; ++i) co_await troupe::yield();
    order.push_back(told ? 0 : -1);
  }
  int bad() { return overlaps; }
  int count() { return turns; }

  troupe::context& ctx;
  std::string log;
  std::vector<int> order;
  int inside = 0;
  int overlaps = 0;
  int turns = 0;
  static constexpr troupe::actor_options options{.reentrancy = R};
};

namespace {

using none = actor_reentrancy_node<reentrancy::none>;
using chained = actor_reentrancy_node<reentrancy::call_chain>;
using inter = actor_reentrancy_node<reentrancy::interleaved>;

template <class A>
task<int> go(troupe::broker& broker, std::string path) {
  const auto p = broker.worker<A>("a");
  const int n = co_await p.template call<&A::go>(path);
  co_return n;
}
template <class A>
task<int> go_owned(troupe::broker& broker, std::string path) {
  const auto p = broker.worker<A>("a");
  const int n = co_await p.template call<&A::go_owned>(path).within(1h);
  co_return n;
}
template <class A>
task<int> go_plain(troupe::broker& broker, std::string path) {
  const auto p = broker.worker<A>("a");
  const int n = co_await p.template call<&A::go_plain>(path);
  co_return n;
}

task<std::string> refused(troupe::broker& broker, std::string path) {
  std::string told = "not refused";
  try {
    const int n = co_await go<none>(broker, path);
    told = std::to_string(n);
  } catch (const troupe::error& e) {
    told = e.code() == errc::deadlock ? e.what() : "another error";
  }
  co_return told;
}

/// Where the call back nests, a stranger's call waits already.
template <class A>
task<std::vector<int>> ahead_of_mailbox(troupe::broker& broker) {
  const auto p = broker.worker<A>("a");
  gate g;
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<A> a, gate at) -> task<> {
    const int n = co_await a.template call<&A::through_b>(at);
    CHECK(n == 1);
  }(p, g));
  co_await troupe::test::reached(g);
  scope.spawn([](troupe::proxy<A> a) -> task<> {
    const int n = co_await a.template call<&A::note>(2);
    CHECK(n == 2);
  }(p));
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
  g.open();
  co_await scope.join();
  auto order = co_await p.template call<&A::notes>();
  co_return order;
}

template <class A>
task<std::string> held_up(troupe::broker& broker) {
  const auto p = broker.worker<A>("a");
  gate g;
  troupe::task_scope scope;
  scope.spawn([](gate at) -> task<> {
    co_await troupe::test::reached(at);
    for (int i = 0; i < 200; ++i) co_await troupe::yield();
    at.open();
  }(g));
  std::string log = co_await p.template call<&A::held_up>(g);
  co_await scope.join();
  co_return log;
}

template <class A>
task<> two_inside(troupe::broker& broker, bool expected) {
  const auto p = broker.worker<A>("a");
  gate g;
  troupe::task_scope scope;
  scope.spawn(troupe::test::as_task(p.template call<&A::wait>(g)));
  scope.spawn(troupe::test::as_task(p.template call<&A::wait>(g)));
  for (int i = 0; i < 100; ++i) co_await troupe::yield();
  CHECK(g.arrived() == (expected ? 2 : 1));
  g.open();
  co_await scope.join();
}

template <class A>
task<std::vector<int>> tells_itself(troupe::broker& broker) {
  const auto p = broker.worker<A>("a");
  co_await p.template call<&A::tell_self>(1);
  co_await p.template call<&A::tell_self_later>(2);
  auto order = co_await p.template call<&A::notes>();
  co_return order;
}

template <class A>
task<int> catch_int(troupe::broker& broker) {
  int caught = 0;
  try {
    co_await broker.worker<A>("a").template call<&A::fails_below>();
  } catch (int i) {
    caught = i;
  }
  co_return caught;
}

}  // namespace

TEST_CASE("without reentrancy a call back is refused at once, with its name",
          "[actor][reentrancy][promise4]") {
  world w;
  for (const std::string path : {"a", "ba", "bca", "bcdefghija"}) {
    CAPTURE(path);
    const std::string told = w.run(refused(w.broker, path));
    INFO(told);
    CHECK(contains(told, "deadlock"));
    CHECK(contains(told, "actor_reentrancy_node"));
    CHECK(contains(told, "go"));
  }
  // The workers are as usable as before.
  REQUIRE(w.run(go<none>(w.broker, "bcdefghij")) == 10);
  REQUIRE(troupe::is_safe_to_retry(w.run(code_of(go<none>(w.broker, "ba")))));
}

TEST_CASE("a chain of calls may come back to its own workers", "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    for (const std::string path : {"a", "aa", "ba", "bab", "bca", "bcdefghija", "abababababab"}) {
      CAPTURE(path);
      const int expected = static_cast<int>(path.size()) + 1;
      REQUIRE(w.run(go<chained>(w.broker, path)) == expected);
      REQUIRE(w.run(go_owned<chained>(w.broker, path)) == expected);
      REQUIRE(w.run(go_plain<chained>(w.broker, path)) == expected + 99);
      REQUIRE(w.run(go<inter>(w.broker, path)) == expected);
      REQUIRE(w.run(go_owned<inter>(w.broker, path)) == expected);
      REQUIRE(w.run(go_plain<inter>(w.broker, path)) == expected + 99);
    }
  }
}

TEST_CASE("branches that call back run one after the other", "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    const auto p = w.broker.worker<chained>("a");
    REQUIRE(w.run(troupe::test::as_task(p.call<&chained::diamond>())) == 2);
    REQUIRE(w.run(troupe::test::as_task(p.call<&chained::bad>())) == 0);
  }
}

TEST_CASE("two branches that call a third worker are strangers to each other",
          "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    const auto p = w.broker.worker<chained>("a");
    REQUIRE(w.run(troupe::test::as_task(p.call<&chained::fork_to_one>())) == 2);
    const auto d = w.broker.worker<chained>("d");
    REQUIRE(w.run(troupe::test::as_task(d.call<&chained::bad>())) == 0);
    const auto q = w.broker.worker<none>("a");
    REQUIRE(w.run(troupe::test::as_task(q.call<&none::fork_to_one>())) == 2);
  }
}

TEST_CASE("turns nest up to a depth of 32, then too_deep", "[actor][reentrancy]") {
  world w;
  const auto p = w.broker.worker<chained>("a");
  REQUIRE(w.run(troupe::test::as_task(p.call<&chained::down>(31))) == 32);
  const std::error_code code = w.run(code_of(p.call<&chained::down>(32)));
  REQUIRE(code == errc::too_deep);
  REQUIRE(troupe::is_safe_to_retry(code));
  REQUIRE(w.run(troupe::test::as_task(p.call<&chained::down>(31))) == 32);
  // Interleaved turns do not nest.
  const auto i = w.broker.worker<inter>("a");
  REQUIRE(w.run(troupe::test::as_task(i.call<&inter::down>(100))) == 101);
}

TEST_CASE("a call back is admitted ahead of the mailbox", "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    REQUIRE(w.run(ahead_of_mailbox<chained>(w.broker)) == std::vector<int>{1, 2});
  }
}

TEST_CASE("a nested turn that waits holds the outer turn up until it has ended",
          "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    const std::string log = w.run(held_up<chained>(w.broker));
    INFO(log);
    CHECK(contains(log, "in out "));
    CHECK(!contains(log, "in own"));
    const std::string mixed = w.run(held_up<inter>(w.broker));
    INFO(mixed);
    CHECK(contains(mixed, "in own out"));
  }
}

TEST_CASE("interleaved turns of one worker are open at the same time", "[actor][reentrancy]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(two_inside<inter>(w.broker, true));
    w.run(two_inside<chained>(w.broker, false));
    w.run(two_inside<none>(w.broker, false));
  }
}

TEST_CASE("a worker's tell to itself runs after the turn that sent it", "[actor][reentrancy]") {
  world w;
  REQUIRE(w.run(tells_itself<chained>(w.broker)) == std::vector<int>{0, 1, 0, 2});
  REQUIRE(w.run(tells_itself<none>(w.broker)) == std::vector<int>{0, 1, 0, 2});
  REQUIRE(w.run(tells_itself<inter>(w.broker)) == std::vector<int>{0, 1, 2, 0});
}

TEST_CASE("an exception of a nested turn goes up the chain", "[actor][reentrancy]") {
  world w;
  REQUIRE(w.run(catch_int<chained>(w.broker)) == 42);
  REQUIRE(w.run(catch_int<inter>(w.broker)) == 42);
}

}  // namespace reentrancy_tests

// SPDX-License-Identifier: MIT
// Promise 4: no cycle of waiting calls hangs. Here the cycles that several chains close together:
// each is found by the call that closes it, and by no other.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace cycles_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::reentrancy;
using troupe::task;
using troupe::test::contains;
using troupe::test::gate;
using troupe::test::world;

}  // namespace

/// How the closing call is made.
enum class actor_cycles_way { plain, coroutine, owning, all, scope, any, any_owning, limited };

template <reentrancy R>
struct actor_cycles_node {
  using self = actor_cycles_node;
  using way = actor_cycles_way;
  explicit actor_cycles_node(troupe::context& c) : ctx(c) {}

  /// Holds its worker until the gate opens, then calls `next`.
  task<int> hold_and_call(gate g, std::string next, way how) {
    co_await g;
    const auto p = ctx.worker<self>(next);
    int n = 0;
    switch (how) {
      case way::plain:
        n = co_await p.template call<&self::leaf>();
        break;
      case way::coroutine:
        n = co_await p.template call<&self::leaf_later>();
        break;
      case way::owning:
        n = co_await p.template call<&self::leaf_later>().within(1h);
        break;
      case way::all: {
        auto both = co_await troupe::when_all(p.template call<&self::leaf>(), own());
        n = std::get<0>(both);
        break;
      }
      case way::scope: {
        troupe::task_scope scope;
        scope.spawn(into(n, p));
        co_await scope.join();
        break;
      }
      case way::any: {
        auto first = co_await troupe::when_any(p.template call<&self::leaf>(), soon());
        n = first.index() == 0 ? 1 : 2;
        break;
      }
      case way::any_owning: {
        auto first = co_await troupe::when_any(p.template call<&self::leaf>().within(1h), soon());
        n = first.index() == 0 ? 1 : 2;
        break;
      }
      case way::limited: {
        n = co_await troupe::within(as_task_of(p), 1h);
        break;
      }
    }
    co_return n;
  }
  int leaf() { return 1; }
  task<int> leaf_later() {
    co_await troupe::yield();
    co_return 1;
  }
  task<int> own() {
    co_await troupe::yield();
    co_return 1;
  }
  task<int> soon() {
    co_await troupe::sleep_for(1s);
    co_return 1;
  }
  static task<> into(int& n, troupe::proxy<self> p) { n = co_await p.template call<&self::leaf>(); }
  static task<int> as_task_of(troupe::proxy<self> p) {
    int n = co_await p.template call<&self::leaf>();
    co_return n;
  }

  troupe::context& ctx;
  static constexpr troupe::actor_options options{.reentrancy = R};
};

namespace {

using way = actor_cycles_way;

struct outcome {
  int values = 0;
  int deadlocks = 0;
  int others = 0;
  std::string told;
};

std::string key_of(int i) { return "w" + std::to_string(i); }

template <class A>
task<> one(troupe::broker& broker, int i, int size, gate g, way how, outcome& out) {
  const auto p = broker.worker<A>(key_of(i));
  try {
    const int n = co_await p.template call<&A::hold_and_call>(g, key_of((i + 1) % size), how);
    out.values += n != 0 ? 1 : 0;
  } catch (const troupe::error& e) {
    if (e.code() == errc::deadlock) {
      ++out.deadlocks;
      out.told = e.what();
    } else {
      ++out.others;
    }
  }
}

/// Each of `size` workers holds itself and calls the next; the last calls the first.
template <class A>
task<> ring(troupe::broker& broker, int size, way how, outcome& out) {
  gate g;
  troupe::task_scope scope;
  for (int i = 0; i < size; ++i) scope.spawn(one<A>(broker, i, size, g, how, out));
  co_await troupe::test::reached(g, static_cast<std::size_t>(size));
  g.open();
  co_await scope.join();
}

template <class A>
void check_ring(int size, way how) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(size, static_cast<int>(how), seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    outcome out;
    w.run(ring<A>(w.broker, size, how, out));
    INFO(out.told);
    REQUIRE(out.deadlocks == 1);
    REQUIRE(out.values == size - 1);
    REQUIRE(out.others == 0);
    for (int i = 0; i < size; ++i) CHECK(contains(out.told, key_of(i)));
    CHECK(contains(out.told, "hold_and_call"));
    outcome again;
    w.run(ring<A>(w.broker, size, how, again));
    REQUIRE(again.deadlocks == 1);
  }
}

using chained = actor_cycles_node<reentrancy::call_chain>;
using none = actor_cycles_node<reentrancy::none>;
using inter = actor_cycles_node<reentrancy::interleaved>;

template <class A>
void check_no_ring(int size, way how) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(size, static_cast<int>(how), seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    outcome out;
    w.run(ring<A>(w.broker, size, how, out));
    INFO(out.told);
    REQUIRE(out.deadlocks == 0);
    REQUIRE(out.values == size);
  }
}

}  // namespace

// --- starting -----------------------------------------------------------------------------------

struct actor_cycles_caller;

/// Calls its first caller back while it starts.
struct actor_cycles_starting {
  explicit actor_cycles_starting(troupe::context& c) : ctx(c) {}
  task<> on_start();
  int get() { return got; }
  task<int> get_later() { co_return got; }
  troupe::context& ctx;
  int got = 0;
};

struct actor_cycles_caller {
  explicit actor_cycles_caller(troupe::context& c) : ctx(c) {}
  task<int> start_other() {
    const auto p = ctx.worker<actor_cycles_starting>();
    int n = co_await p.call<&actor_cycles_starting::get>();
    co_return n;
  }
  task<int> start_other_later() {
    const auto p = ctx.worker<actor_cycles_starting>();
    int n = co_await p.call<&actor_cycles_starting::get_later>();
    co_return n;
  }
  task<int> start_other_owned() {
    const auto p = ctx.worker<actor_cycles_starting>();
    int n = co_await p.call<&actor_cycles_starting::get>().within(1h);
    co_return n;
  }
  task<int> start_other_in_branch() {
    const auto p = ctx.worker<actor_cycles_starting>();
    auto both = co_await troupe::when_all(p.call<&actor_cycles_starting::get>(),
                                          p.call<&actor_cycles_starting::get_later>());
    co_return std::get<0>(both);
  }
  int value() { return 5; }
  troupe::context& ctx;
};

task<> actor_cycles_starting::on_start() {
  co_await troupe::yield();
  got = co_await ctx.worker<actor_cycles_caller>().call<&actor_cycles_caller::value>();
}

TEST_CASE("a cycle that several chains close is found when it closes",
          "[actor][deadlock][promise4]") {
  for (const int size : {2, 3, 10}) {
    for (const way how : {way::plain, way::coroutine, way::all, way::scope, way::limited}) {
      check_ring<chained>(size, how);
      check_ring<none>(size, how);
    }
  }
}

TEST_CASE("a cycle of owning calls is found too", "[actor][deadlock][promise4]") {
  for (const int size : {2, 3, 10}) {
    check_ring<chained>(size, way::owning);
    check_ring<none>(size, way::owning);
  }
}

TEST_CASE("workers whose turns interleave close no cycle", "[actor][deadlock][promise4]") {
  for (const int size : {2, 3, 10}) {
    for (const way how : {way::plain, way::coroutine, way::owning, way::all, way::scope}) {
      check_no_ring<inter>(size, how);
    }
  }
}

TEST_CASE("a wait that something else may end is no edge of a cycle",
          "[actor][deadlock][promise4]") {
  for (const int size : {2, 3}) check_no_ring<chained>(size, way::any_owning);
}

TEST_CASE("a waiting call that lost a when_any is withdrawn, so that nobody hangs",
          "[actor][deadlock][promise4]") {
  for (const int size : {2, 3}) check_no_ring<chained>(size, way::any);
}

TEST_CASE("a cycle through a worker that is starting is found", "[actor][deadlock][promise4]") {
  world w;
  const auto p = w.broker.worker<actor_cycles_caller>();
  using caller = actor_cycles_caller;
  // on_start is refused the call that would close the cycle, so the worker cannot start.
  CHECK(w.run(troupe::test::code_of(p.call<&caller::start_other>())) == errc::start_failed);
  CHECK(w.run(troupe::test::code_of(p.call<&caller::start_other_later>())) == errc::start_failed);
  CHECK(w.run(troupe::test::code_of(p.call<&caller::start_other_owned>())) == errc::start_failed);
  CHECK(w.run(troupe::test::code_of(p.call<&caller::start_other_in_branch>())) ==
        errc::start_failed);
  // From outside there is no cycle.
  const auto q = w.broker.worker<actor_cycles_starting>();
  REQUIRE(w.run(troupe::test::as_task(q.call<&actor_cycles_starting::get>())) == 5);
}

}  // namespace cycles_tests

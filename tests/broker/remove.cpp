// SPDX-License-Identifier: MIT
// remove: what was queued runs, later calls reach a new instance, and who waits for his own end.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace remove_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count ledgers;

struct ledger {
  int add(int n) { return total += n; }
  task<> hold(gate* opened) { co_await opened->pass(); }
  int total = 0;
  counted me{ledgers};
};

struct fixture {
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim}};
};

}  // namespace

TEST_CASE("a removed worker starts anew with the next call", "[broker][remove]") {
  fixture f;
  auto p = f.broker.worker<ledger>("a");
  troupe::sync_wait(p.call<&ledger::add>(5));
  REQUIRE(troupe::sync_wait(f.broker.remove<ledger>("a")));
  REQUIRE(ledgers.living() == 0);
  REQUIRE_FALSE(f.broker.exists<ledger>("a"));
  REQUIRE(troupe::sync_wait(p.call<&ledger::add>(1)) == 1);
}

TEST_CASE("removing nobody gives false", "[broker][remove]") {
  fixture f;
  REQUIRE_FALSE(troupe::sync_wait(f.broker.remove<ledger>("never named")));
  auto p = f.broker.worker<ledger>("never called");
  REQUIRE_FALSE(troupe::sync_wait(f.broker.remove<ledger>("never called")));
  troupe::sync_wait(p.call<&ledger::add>(1));
  REQUIRE(troupe::sync_wait(f.broker.remove<ledger>("never called")));
  REQUIRE_FALSE(troupe::sync_wait(f.broker.remove<ledger>("never called")));
  REQUIRE(f.broker.worker_count() == 0);
}

namespace {

task<> put(troupe::proxy<ledger> p, int& got) { got = co_await p.call<&ledger::add>(1); }
task<> hold(troupe::proxy<ledger> p, gate* opened) { co_await p.call<&ledger::hold>(opened); }
task<> take_away(troupe::broker& broker, int& closed, int& ended) {
  const bool was_there = co_await broker.remove<ledger>("q");
  closed += was_there ? 1 : 0;
  ++ended;
}

task<> remove_a_busy_one(troupe::broker& broker) {
  gate opened;
  auto p = broker.worker<ledger>("q");
  int before[3] = {};
  int after[3] = {};
  int closed = 0;
  int ended = 0;
  troupe::task_scope scope;
  scope.spawn(hold(p, &opened));
  co_await until([&] { return broker.worker_count() == 1; });
  for (int& b : before) scope.spawn(put(p, b));
  co_await until([&] { return broker.workers().at(0).waiting == 3; });
  scope.spawn(take_away(broker, closed, ended));
  for (int i = 0; i < 50; ++i) co_await troupe::yield();
  for (int& a : after) scope.spawn(put(p, a));
  co_await until([&] { return broker.workers().at(0).waiting == 6; });
  CHECK(ended == 0);
  opened.open();
  co_await scope.join();
  CHECK(before[0] + before[1] + before[2] == 1 + 2 + 3);  // ran before the end
  CHECK(after[0] + after[1] + after[2] == 1 + 2 + 3);     // met a new instance
  CHECK(closed == 1);
  CHECK(ledgers.living() == 1);
}

task<> remove_many_times_at_once(troupe::broker& broker) {
  gate opened;
  auto p = broker.worker<ledger>("q");
  int closed = 0;
  int ended = 0;
  troupe::task_scope scope;
  scope.spawn(hold(p, &opened));
  co_await until([&] { return broker.worker_count() == 1; });
  for (int i = 0; i < 20; ++i) scope.spawn(take_away(broker, closed, ended));
  for (int i = 0; i < 200; ++i) co_await troupe::yield();
  opened.open();
  co_await scope.join();
  CHECK(ended == 20);
  CHECK(closed == 1);
  CHECK(ledgers.living() == 0);
}

}  // namespace

TEST_CASE("what was queued before a removal runs, what comes later meets a new instance",
          "[broker][remove]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    troupe::sim_executor sim({.seed = seed, .threads = 1 + static_cast<unsigned>(seed % 3)});
    troupe::broker broker({.on = &sim});
    sim.run(remove_a_busy_one(broker));
  }
  REQUIRE(ledgers.living() == 0);
}

TEST_CASE("of removals at the same time one has closed the worker, and all end",
          "[broker][remove]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim});
    sim.run(remove_many_times_at_once(broker));
  }
}

namespace {

instance_count suicides;

struct suicide {
  task<> remove_me(troupe::broker* b, std::string key) {
    const bool gone = co_await b->remove<suicide>(key);
    static_cast<void>(gone);
  }
  task<> remove_me_from_below(troupe::broker* b, std::string key);
  task<std::string> try_to(troupe::broker* b, std::string key) {
    const auto thrown = co_await error_of(b->remove<suicide>(key));
    co_return code_in(thrown) == errc::deadlock ? what_of(thrown) : "no deadlock";
  }
  int touch() { return ++touched; }
  int touched = 0;
  counted me{suicides};
};

struct accomplice {
  task<> remove_it(troupe::broker* b, std::string key) {
    const bool gone = co_await b->remove<suicide>(key);
    static_cast<void>(gone);
  }
  // Waits for a worker that waits for this one.
  task<> call_it(troupe::proxy<suicide> s) {
    const int n = co_await s.call<&suicide::touch>();
    static_cast<void>(n);
  }
};

task<> suicide::remove_me_from_below(troupe::broker* b, std::string key) {
  auto other = b->worker<accomplice>();
  co_await other.call<&accomplice::remove_it>(b, key);
}

// Removes the other and is removed by it.
struct duellist {
  task<> kill(troupe::broker* b, std::string whom) {
    ++ready;
    co_await until([&] { return ready == 2; });
    const bool gone = co_await b->remove<duellist>(whom);
    static_cast<void>(gone);
  }
  inline static int ready = 0;
};

}  // namespace

TEST_CASE("a turn that removes its own worker gets deadlock, and the mark stays",
          "[broker][remove]") {
  fixture f;
  auto p = f.broker.worker<suicide>("me");
  REQUIRE(troupe::sync_wait(p.call<&suicide::touch>()) == 1);
  const std::string told = troupe::sync_wait(p.call<&suicide::try_to>(&f.broker, "me"));
  REQUIRE(told.find("suicide(\"me\")") != std::string::npos);
  REQUIRE(told.find("try_to") != std::string::npos);
  f.sim.advance(0ns);
  REQUIRE(f.broker.worker_count() == 0);  // closed after the turn
  REQUIRE(troupe::sync_wait(p.call<&suicide::touch>()) == 1);
}

TEST_CASE("the deadlock of removing oneself reaches the caller", "[broker][remove]") {
  fixture f;
  auto p = f.broker.worker<suicide>("me");
  const auto direct =
      troupe::sync_wait(code_of(p.call<&suicide::remove_me>(&f.broker, std::string("me"))));
  REQUIRE(direct == errc::deadlock);
  f.sim.advance(0ns);
  const auto below = troupe::sync_wait(
      code_of(p.call<&suicide::remove_me_from_below>(&f.broker, std::string("me"))));
  REQUIRE(below == errc::deadlock);
  f.sim.advance(0ns);
  REQUIRE(f.broker.worker_count() == 1);  // the accomplice
  REQUIRE(suicides.living() == 0);
}

TEST_CASE("two workers that remove each other: one is told, nobody hangs", "[broker][remove]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim});
    duellist::ready = 0;
    auto a = broker.worker<duellist>("a");
    auto b = broker.worker<duellist>("b");
    auto both =
        sim.run(troupe::when_all(code_of(a.call<&duellist::kill>(&broker, std::string("b"))),
                                 code_of(b.call<&duellist::kill>(&broker, std::string("a")))));
    const bool first = std::get<0>(both) == errc::deadlock;
    const bool second = std::get<1>(both) == errc::deadlock;
    REQUIRE(first != second);
    sim.advance(0ns);
    REQUIRE(broker.worker_count() == 0);
  }
}

namespace {

task<> add_and_count(troupe::proxy<ledger> p, std::atomic<int>& settled) {
  const int total = co_await p.call<&ledger::add>(1);
  if (total > 0) ++settled;
}
task<> remove_again_and_again(troupe::broker& broker, int times) {
  for (int i = 0; i < times; ++i) {
    const bool closed = co_await broker.remove<ledger>("q");
    static_cast<void>(closed);
    co_await troupe::yield();
  }
}
task<> calls_and_removals(troupe::broker& broker, std::atomic<int>& settled) {
  troupe::task_scope scope;
  auto p = broker.worker<ledger>("q");
  for (int i = 0; i < 4; ++i) scope.spawn(remove_again_and_again(broker, 100));
  for (int i = 0; i < 2000; ++i) {
    scope.spawn(add_and_count(p, settled));
    if (i % 16 == 0) co_await troupe::yield();
  }
  co_await scope.join();
}

}  // namespace

TEST_CASE("removals among calls on several threads lose no call", "[broker][remove]") {
  std::atomic<int> settled{0};
  {
    troupe::broker broker({.threads = 3});
    broker.run(calls_and_removals(broker, settled));
  }
  REQUIRE(settled == 2000);
  REQUIRE(ledgers.living() == 0);
}

}  // namespace remove_tests

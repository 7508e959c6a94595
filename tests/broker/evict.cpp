// SPDX-License-Identifier: MIT
// evict: idle, busy, newborn, kept alive, unknown, closing already.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace evict_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count guests;

struct guest {
  explicit guest(troupe::context& c) : ctx(c) {}
  int add(int n) { return total += n; }
  task<> hold(gate* opened) { co_await opened->pass(); }
  void stay(troupe::duration d) { ctx.keep_alive(d); }
  void leave_when_idle() { ctx.deactivate_when_idle(); }
  troupe::context& ctx;
  int total = 0;
  counted me{guests};
};

struct slow_starter {
  explicit slow_starter(gate& g) : opened(g) {}
  task<> on_start() { co_await opened.pass(); }
  int touch() { return ++touched; }
  gate& opened;
  int touched = 0;
};

struct slow_leaver {
  slow_leaver(gate& g, int& s) : opened(g), stopped(s) {}
  task<> on_stop() {
    co_await opened.pass();
    ++stopped;
  }
  int touch() { return ++touched; }
  gate& opened;
  int& stopped;
  int touched = 0;
};

struct fixture {
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim}};
};

}  // namespace

TEST_CASE("an idle worker is evicted at once", "[broker][evict]") {
  fixture f;
  auto p = f.broker.worker<guest>("a");
  troupe::sync_wait(p.call<&guest::add>(5));
  REQUIRE(f.broker.evict(p.id()));
  f.sim.advance(0ns);
  REQUIRE_FALSE(f.broker.exists<guest>("a"));
  REQUIRE(guests.living() == 0);
  REQUIRE(troupe::sync_wait(p.call<&guest::add>(1)) == 1);
}

TEST_CASE("evicting one worker leaves the others", "[broker][evict]") {
  fixture f;
  for (const char* const key : {"a", "b", "c"}) {
    troupe::sync_wait(f.broker.worker<guest>(key).call<&guest::add>(1));
  }
  REQUIRE(f.broker.evict(f.broker.worker<guest>("b").id()));
  f.sim.advance(0ns);
  REQUIRE(f.broker.exists<guest>("a"));
  REQUIRE_FALSE(f.broker.exists<guest>("b"));
  REQUIRE(f.broker.exists<guest>("c"));
}

TEST_CASE("an unknown worker is not evicted", "[broker][evict]") {
  fixture f;
  REQUIRE_FALSE(f.broker.evict(troupe::worker_id("nobody", "at all")));
  auto never_called = f.broker.worker<guest>("x");
  REQUIRE_FALSE(f.broker.evict(never_called.id()));
  troupe::sync_wait(never_called.call<&guest::add>(1));
  REQUIRE(f.broker.evict(never_called.id()));
  f.sim.advance(0ns);
  REQUIRE_FALSE(f.broker.evict(never_called.id()));
}

namespace {

task<> evict_a_busy_one(troupe::broker& broker) {
  gate opened;
  auto p = broker.worker<guest>("busy");
  int first = 0;
  int second = 0;
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<guest> g, gate* o) -> task<> { co_await g.call<&guest::hold>(o); }(
                                                      p, &opened));
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn([](troupe::proxy<guest> g, int& got) -> task<> {
    got = co_await g.call<&guest::add>(1);
  }(p, first));
  scope.spawn([](troupe::proxy<guest> g, int& got) -> task<> {
    got = co_await g.call<&guest::add>(1);
  }(p, second));
  co_await until([&] { return broker.workers().at(0).waiting == 2; });

  CHECK(broker.evict(p.id()));
  CHECK(broker.evict(p.id()));  // closing already
  CHECK(broker.exists<guest>("busy"));
  opened.open();
  co_await scope.join();
  CHECK(first + second == 1 + 2);  // what waited ran on the same instance
  co_await until([&] { return broker.worker_count() == 0; });
}

task<> evict_a_newborn(troupe::broker& broker, gate& opened) {
  auto p = broker.worker<slow_starter>("new");
  int got = 0;
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<slow_starter> s, int& g) -> task<> {
    g = co_await s.call<&slow_starter::touch>();
  }(p, got));
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  CHECK_FALSE(broker.evict(p.id()));
  CHECK_FALSE(broker.exists<slow_starter>("new"));
  opened.open();
  co_await scope.join();
  CHECK(got == 1);
  const int next = co_await p.call<&slow_starter::touch>();
  CHECK(next == 2);  // it was not closed
}

task<> evict_while_it_stops(troupe::broker& broker, gate& opened, int& stopped) {
  auto p = broker.worker<slow_leaver>("x");
  const int one = co_await p.call<&slow_leaver::touch>();
  CHECK(one == 1);
  CHECK(broker.evict(p.id()));
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  CHECK(broker.evict(p.id()));  // on_stop is suspended: it is closing already
  int anew = 0;
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<slow_leaver> s, int& g) -> task<> {
    g = co_await s.call<&slow_leaver::touch>();
  }(p, anew));
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  CHECK(broker.evict(p.id()));
  opened.open();
  co_await scope.join();
  CHECK(anew == 1);  // a new instance
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  const int again = co_await p.call<&slow_leaver::touch>();
  CHECK(again == 2);  // which the evictions before its time did not concern
  CHECK(stopped == 1);
}

}  // namespace

TEST_CASE("a busy worker is evicted when its mailbox runs dry", "[broker][evict]") {
  fixture f;
  f.sim.run(evict_a_busy_one(f.broker));
  REQUIRE(guests.living() == 0);
}

TEST_CASE("a worker that is being created is not evicted", "[broker][evict]") {
  gate opened;
  fixture f;
  f.broker.provide<slow_starter>([&](troupe::context&) { return slow_starter(opened); });
  f.sim.run(evict_a_newborn(f.broker, opened));
}

TEST_CASE("an eviction during on_stop does not reach the next instance", "[broker][evict]") {
  gate opened;
  int stopped = 0;
  fixture f;
  f.broker.provide<slow_leaver>([&](troupe::context&) { return slow_leaver(opened, stopped); });
  f.sim.run(evict_while_it_stops(f.broker, opened, stopped));
}

TEST_CASE("a worker that is kept alive is not evicted before its time", "[broker][evict]") {
  fixture f;
  auto p = f.broker.worker<guest>("kept");
  troupe::sync_wait(p.call<&guest::stay>(10s));
  REQUIRE_FALSE(f.broker.evict(p.id()));
  f.sim.advance(9s);
  REQUIRE_FALSE(f.broker.evict(p.id()));
  f.sim.advance(2s);
  REQUIRE(f.broker.evict(p.id()));
}

TEST_CASE("keeping a worker alive ends with its instance", "[broker][evict]") {
  fixture f;
  auto p = f.broker.worker<guest>("kept");
  troupe::sync_wait(p.call<&guest::stay>(1h));
  REQUIRE(troupe::sync_wait(f.broker.remove<guest>("kept")));
  troupe::sync_wait(p.call<&guest::add>(1));
  REQUIRE(f.broker.evict(p.id()));
}

TEST_CASE("a worker that deactivates itself goes when its mailbox is dry", "[broker][evict]") {
  fixture f;
  auto p = f.broker.worker<guest>("self");
  troupe::sync_wait(p.call<&guest::add>(1));
  troupe::sync_wait(p.call<&guest::leave_when_idle>());
  f.sim.advance(0ns);
  REQUIRE(f.broker.worker_count() == 0);
  REQUIRE(troupe::sync_wait(p.call<&guest::add>(1)) == 1);
  f.sim.advance(0ns);
  REQUIRE(f.broker.worker_count() == 1);
}

TEST_CASE("an evicted worker's cell is found again by its proxy and by its key",
          "[broker][evict]") {
  fixture f;
  auto p = f.broker.worker<guest>("a");
  for (int i = 0; i < 100; ++i) {
    REQUIRE(troupe::sync_wait(p.call<&guest::add>(1)) == 1);
    REQUIRE(troupe::sync_wait(f.broker.worker<guest>("a").call<&guest::add>(1)) == 2);
    REQUIRE(f.broker.evict(p.id()));
    f.sim.advance(0ns);
  }
  REQUIRE(guests.living() == 0);
}

}  // namespace evict_tests

// SPDX-License-Identifier: MIT
// A new instance behind the same proxies; and how long a worker may take to go.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace reload_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;
using troupe::test::code_of;

struct module {
  explicit module(troupe::context& c) : version(c.version()) {}
  int count() { return ++counted; }
  std::uint64_t made_as() const { return version; }
  task<int> take(troupe::duration d) {
    co_await troupe::sleep_for(d);
    co_return ++counted;
  }
  task<> sleep_on() {
    for (;;) co_await troupe::sleep_for(1h);
  }
  std::uint64_t version;
  int counted = 0;
};

task<> note(int& out, troupe::proxy<module> p, troupe::duration d) {
  out = co_await p.call<&module::take>(d);
}
task<> note_count(int& out, troupe::proxy<module> p) { out = co_await p.call<&module::count>(); }

task<> reload_while_running(troupe::broker& broker) {
  const auto p = broker.worker<module>("m");
  const int first = co_await p.call<&module::count>();
  CHECK(first == 1);
  int running = 0;
  int waiting = 0;
  int later = 0;
  troupe::task_scope scope;
  scope.spawn(note(running, p, 1s));
  co_await troupe::sleep_for(1ms);
  scope.spawn(note_count(waiting, p));
  co_await troupe::sleep_for(1ms);
  co_await broker.reload<module>("m");
  CHECK(running == 2);  // the old turn has finished first
  scope.spawn(note_count(later, p));
  co_await scope.join();
  CHECK(waiting == 1);  // what waited went to the next instance, in order
  CHECK(later == 2);
}

/// What waits was brought into order before: by the end of the turn before the running one.
task<> reload_in_the_second_turn(troupe::broker& broker) {
  const auto p = broker.worker<module>("m");
  int first = 0;
  int running = 0;
  int waiting = 0;
  int last = 0;
  troupe::task_scope scope;
  scope.spawn(note(first, p, 1s));
  co_await troupe::sleep_for(1ms);
  scope.spawn(note(running, p, 1s));
  co_await troupe::sleep_for(1ms);
  scope.spawn(note_count(waiting, p));
  co_await troupe::sleep_for(1ms);
  scope.spawn(note_count(last, p));
  co_await troupe::sleep_for(1500ms);
  CHECK(first == 1);
  co_await broker.reload<module>("m");
  CHECK(running == 2);
  co_await scope.join();
  CHECK(waiting == 1);
  CHECK(last == 2);
}

}  // namespace

TEST_CASE("a reload goes before all that waits, however long that has waited", "[broker][reload]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim});
    sim.run(reload_in_the_second_turn(broker));
    CHECK(broker.stats().created == 2);
  }
}

TEST_CASE("a reload ends the turn and hands the queue to a new instance", "[broker][reload]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  sim.run(reload_while_running(broker));
  CHECK(broker.stats().created == 2);
}

TEST_CASE("an idle worker is reloaded at once, and its factory sees the version",
          "[broker][reload]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<module>();
  CHECK(sync_wait(p.call<&module::count>()) == 1);
  CHECK(sync_wait(p.call<&module::made_as>()) == 0);
  sync_wait(broker.reload<module>());
  CHECK_FALSE(broker.exists<module>());
  CHECK(sync_wait(p.call<&module::count>()) == 1);
  CHECK(sync_wait(p.call<&module::made_as>()) == 1);
  sync_wait(broker.reload<module>("nobody"));
  CHECK(sync_wait(p.call<&module::made_as>()) == 1);
}

TEST_CASE("all workers of a class are reloaded, and no others", "[broker][reload]") {
  struct other {
    int count() { return ++counted; }
    int counted = 0;
  };
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  for (const char* key : {"a", "b", "c"}) {
    CHECK(sync_wait(broker.worker<module>(key).call<&module::count>()) == 1);
  }
  CHECK(sync_wait(broker.worker<other>().call<&other::count>()) == 1);
  sync_wait(broker.reload_all<module>());
  CHECK(broker.worker_count() == 1);
  CHECK(sync_wait(broker.worker<other>().call<&other::count>()) == 2);
  CHECK(sync_wait(broker.worker<module>("b").call<&module::made_as>()) == 1);
}

namespace {

task<> stuck(troupe::proxy<module> p, std::error_code& out) {
  out = co_await code_of(p.call<&module::sleep_on>());
}
task<> queued(troupe::proxy<module> p, std::error_code& out) {
  out = co_await code_of(p.call<&module::count>());
}

task<> remove_stuck(troupe::broker& broker, const troupe::sim_executor& sim) {
  const auto p = broker.worker<module>();
  std::error_code running;
  std::error_code waiting;
  troupe::task_scope scope;
  scope.spawn(stuck(p, running));
  co_await troupe::sleep_for(1ms);
  scope.spawn(queued(p, waiting));
  co_await troupe::sleep_for(1ms);
  const auto begin = sim.now();
  const bool removed = co_await broker.remove<module>();
  CHECK(removed);
  CHECK(sim.now() - begin == 5s);
  co_await scope.join();
  CHECK(running == errc::interrupted);
  CHECK(waiting == errc::worker_stopped);
}

}  // namespace

TEST_CASE("a removal takes no longer than the drain limit", "[broker][remove]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 5s});
  sim.run(remove_stuck(broker, sim));
}

}  // namespace reload_tests

// SPDX-License-Identifier: MIT
// Owning calls: they settle by their deadline whatever the worker does, and say whether the
// method ran.

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace within_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::code_of;
using troupe::test::gate;
using troupe::test::world;

/// Tells how many are alive.
class counted {
public:
  static inline int alive = 0;
  counted() { ++alive; }
  counted(const counted&) { ++alive; }
  counted(counted&&) noexcept { ++alive; }
  ~counted() { --alive; }
  counted& operator=(const counted&) = delete;
};

}  // namespace

struct actor_within_target {
  using self = actor_within_target;
  explicit actor_within_target(troupe::context& c) : ctx(c) {}

  task<int> wait(gate g) {
    ++started;
    co_await g;
    ++ended;
    co_return 7;
  }
  task<> wait_and_fail(gate g) {
    co_await g;
    throw std::runtime_error("too late");
  }
  /// Heeds stop requests, and says how it ended.
  task<int> sleep() {
    ++started;
    try {
      co_await troupe::sleep_for(1h);
    } catch (const troupe::error& e) {
      stopped += e.code() == errc::cancelled ? 1 : 0;
      throw;
    }
    co_return 1;
  }
  task<int> sleep_short(troupe::duration d) {
    co_await troupe::sleep_for(d);
    co_return 2;
  }
  task<int> take(counted) {
    co_await troupe::yield();
    co_return 3;
  }
  int plain() { return ++plains; }
  void keep(counted) { ++plains; }
  int plain_count() { return plains; }
  int started_count() { return started; }
  int ended_count() { return ended; }
  int stopped_count() { return stopped; }

  // --- a worker that is called back through an owning call --------------------------------------
  /// Calls b, which calls back here; says in which order things went on.
  task<std::string> outer(gate g) {
    log.clear();
    const auto b = ctx.worker<self>("b");
    const std::error_code code = co_await code_of(b.call<&self::back>(g).within(1s));
    log += code == errc::timed_out ? "timed-out " : "? ";
    co_return log;
  }
  task<> back(gate g) {
    const auto a = ctx.worker<self>("a");
    co_await a.call<&self::nested>(g);
  }
  task<> nested(gate g) {
    log += "nested ";
    co_await g;
    log += "nested-ended ";
  }
  /// Calls back when the caller above has gone on, and this was asked to stop.
  task<> back_late(gate g) {
    co_await g;
    const auto a = ctx.worker<self>("a");
    late = co_await code_of(a.call<&self::plain>());
  }
  task<std::error_code> outer_late(gate g) {
    const auto b = ctx.worker<self>("b");
    std::error_code code = co_await code_of(b.call<&self::back_late>(g).within(1s));
    co_return code;
  }
  std::error_code late_code() { return late; }

  troupe::context& ctx;
  std::string log;
  int started = 0;
  int ended = 0;
  int stopped = 0;
  int plains = 0;
  std::error_code late;
};

namespace {

using target = actor_within_target;
using proxy = troupe::proxy<target>;

std::size_t waiting(const troupe::broker& broker) {
  std::size_t sum = 0;
  for (const troupe::worker_info& w : broker.workers()) sum += w.waiting;
  return sum;
}

task<> runs_on(world& w) {
  const proxy p = w.broker.worker<target>();
  gate g;
  const troupe::time_point start = w.sim.now();
  const std::error_code code = co_await code_of(p.call<&target::wait>(g).within(50ms));
  CHECK(code == errc::timed_out);
  CHECK(!troupe::is_safe_to_retry(code));
  CHECK(w.sim.now() - start == 50ms);
  // Another call waits behind it, and never starts.
  const std::error_code second = co_await code_of(p.call<&target::plain>().within(50ms));
  CHECK(second == errc::expired);
  CHECK(troupe::is_safe_to_retry(second));
  CHECK(w.sim.now() - start == 100ms);
  CHECK(waiting(w.broker) == 0);
  g.open();
  const int ended = co_await p.call<&target::ended_count>();
  CHECK(ended == 1);
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> in_time(world& w) {
  const proxy p = w.broker.worker<target>();
  const int at_once = co_await p.call<&target::plain>().within(1s);
  CHECK(at_once == 1);
  const int slept = co_await p.call<&target::sleep_short>(500ms).within(1s);
  CHECK(slept == 2);
  const std::error_code late = co_await code_of(p.call<&target::sleep_short>(1500ms).within(1s));
  CHECK(late == errc::timed_out);
}

task<> limit_in_the_past(world& w) {
  const proxy p = w.broker.worker<target>();
  for (const troupe::duration d : {0ns, -1000000000ns}) {
    const std::error_code code = co_await code_of(p.call<&target::sleep>().within(d));
    const bool by_time = code == errc::timed_out || code == errc::expired;
    CHECK(by_time);
  }
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> asked_to_stop(world& w) {
  const proxy p = w.broker.worker<target>();
  const std::error_code code = co_await code_of(p.call<&target::sleep>().within(1s));
  CHECK(code == errc::timed_out);
  const int stopped = co_await p.call<&target::stopped_count>();
  CHECK(stopped == 1);
}

/// Many calls time out behind a turn that does not end: what they hold is given back while it
/// goes on.
task<> memory_given_back(world& w) {
  const proxy p = w.broker.worker<target>();
  gate g;
  troupe::task_scope scope;
  scope.spawn([](proxy q, gate at) -> task<> {
    const int n = co_await q.call<&target::wait>(at);
    CHECK(n == 7);
  }(p, g));
  co_await troupe::test::reached(g);
  std::vector<task<std::error_code>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(code_of(p.call<&target::take>(counted()).within(1s)));
    all.push_back(code_of(p.call<&target::keep>(counted()).within(2s)));
  }
  const auto codes = co_await troupe::when_all(std::move(all));
  for (const std::error_code& c : codes) CHECK(c == errc::expired);
  CHECK(counted::alive == 0);
  CHECK(waiting(w.broker) == 0);
  g.open();
  co_await scope.join();
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> stop_while_waiting(world& w) {
  const proxy p = w.broker.worker<target>();
  gate g;
  troupe::task_scope holding;
  holding.spawn([](proxy q, gate at) -> task<> {
    const int n = co_await q.call<&target::wait>(at);
    CHECK(n == 7);
  }(p, g));
  co_await troupe::test::reached(g);
  std::error_code code;
  const auto call = [](proxy q, std::error_code& c) -> task<> {
    c = co_await code_of(q.call<&target::plain>().within(1h));
  };
  troupe::task_scope scope;
  scope.spawn(call(p, code));
  co_await troupe::test::until([&] { return waiting(w.broker) == 1; });
  scope.request_stop();
  co_await scope.join();
  CHECK(code == errc::cancelled);
  CHECK(troupe::is_safe_to_retry(code));
  CHECK(waiting(w.broker) == 0);
  g.open();
  co_await holding.join();
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> stop_while_running(world& w) {
  const proxy p = w.broker.worker<target>();
  std::error_code code;
  const auto call = [](proxy q, std::error_code& c) -> task<> {
    c = co_await code_of(q.call<&target::sleep>().within(2h));
  };
  troupe::task_scope scope;
  scope.spawn(call(p, code));
  for (int i = 0; i < 100; ++i) co_await troupe::yield();
  scope.request_stop();
  co_await scope.join();
  CHECK(code == errc::interrupted);
  const int stopped = co_await p.call<&target::stopped_count>();
  CHECK(stopped == 1);
}

task<> stop_before(world& w) {
  const proxy p = w.broker.worker<target>();
  std::error_code code;
  const auto call = [](proxy q, std::error_code& c) -> task<> {
    c = co_await code_of(q.call<&target::plain>().within(1h));
  };
  troupe::task_scope scope;
  scope.request_stop();
  scope.spawn(call(p, code));
  co_await scope.join();
  CHECK(code == errc::cancelled);
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

/// A stop request, and a result in spite of it.
task<> result_after_stop(world& w) {
  const proxy p = w.broker.worker<target>();
  gate g;
  int value = 0;
  const auto call = [](proxy q, gate at, int& v) -> task<> {
    v = co_await q.call<&target::wait>(at).within(1h);
  };
  troupe::task_scope scope;
  scope.spawn(call(p, g, value));
  co_await troupe::test::reached(g);
  scope.request_stop();
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
  CHECK(value == 0);
  g.open();
  co_await scope.join();
  CHECK(value == 7);
}

task<> called_back(world& w) {
  const proxy a = w.broker.worker<target>("a");
  gate g;
  troupe::task_scope scope;
  std::string log;
  const auto call = [](proxy p, gate at, std::string& l) -> task<> {
    l = co_await p.call<&target::outer>(at);
  };
  const troupe::time_point start = w.sim.now();
  scope.spawn(call(a, g, log));
  co_await troupe::test::reached(g);
  co_await troupe::sleep_for(5s);
  CHECK(log.empty());  // the nested turn holds the outer one up
  g.open();
  co_await scope.join();
  CHECK(log == "nested nested-ended timed-out ");
  CHECK(w.sim.now() - start >= 5s);
}

task<> called_back_late(world& w) {
  const proxy a = w.broker.worker<target>("a");
  gate g;
  const std::error_code code = co_await a.call<&target::outer_late>(g);
  CHECK(code == errc::timed_out);
  g.open();
  const proxy b = w.broker.worker<target>("b");
  const std::error_code late = co_await b.call<&target::late_code>();
  const bool not_run = late == errc::cancelled || late == errc::expired;
  CHECK(not_run);
  const int plains = co_await a.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> nested_limits(world& w) {
  const proxy p = w.broker.worker<target>();
  const troupe::time_point start = w.sim.now();
  gate g;
  // The limit of the chain holds for an owning call below it.
  const auto below = [](proxy q, gate at) -> task<int> {
    int n = co_await q.call<&target::wait>(at).within(1h);
    co_return n;
  };
  const std::error_code code = co_await code_of(troupe::within(below(p, g), 2s));
  CHECK(code == errc::timed_out);
  CHECK(w.sim.now() - start == 2s);
  g.open();
}

task<> dead_after_timeout(world& w) {
  const proxy p = w.broker.worker<target>("k");
  gate g;
  const std::error_code code = co_await code_of(p.call<&target::wait_and_fail>(g).within(1s));
  CHECK(code == errc::timed_out);
  g.open();
  const int plains = co_await p.call<&target::plain_count>();
  CHECK(plains == 0);
}

task<> free_form(world& w) {
  const proxy p = w.broker.worker<target>();
  gate g;
  const std::error_code code = co_await code_of(troupe::within(p.call<&target::wait>(g), 1s));
  CHECK(code == errc::timed_out);
  g.open();
  const int n = co_await troupe::within(p.call<&target::plain>(), 1s);
  CHECK(n == 1);
}

void in_every_order(task<> (*scenario)(world&)) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(scenario(w));
  }
  REQUIRE(counted::alive == 0);
}

}  // namespace

TEST_CASE("a call with a limit settles on time while its method goes on", "[actor][within]") {
  in_every_order(&runs_on);
}

TEST_CASE("a call with a limit gives what comes in time", "[actor][within]") {
  in_every_order(&in_time);
}

TEST_CASE("a limit that has passed runs nothing that takes longer", "[actor][within]") {
  in_every_order(&limit_in_the_past);
}

TEST_CASE("a method whose call has timed out is asked to stop", "[actor][within]") {
  in_every_order(&asked_to_stop);
}

TEST_CASE("calls that time out in the mailbox give their memory back at once", "[actor][within]") {
  in_every_order(&memory_given_back);
}

TEST_CASE("a stop request withdraws an owning call that waits", "[actor][within][stop]") {
  in_every_order(&stop_while_waiting);
}

TEST_CASE("a stop request reaches the method of an owning call", "[actor][within][stop]") {
  in_every_order(&stop_while_running);
}

TEST_CASE("an owning call made after a stop request does not start", "[actor][within][stop]") {
  in_every_order(&stop_before);
}

TEST_CASE("a method that does not heed a stop still gives its result", "[actor][within][stop]") {
  in_every_order(&result_after_stop);
}

TEST_CASE("a call that has timed out goes on only after the turn that called back",
          "[actor][within][reentrancy]") {
  in_every_order(&called_back);
}

TEST_CASE("a call back that comes after the time out does not start",
          "[actor][within][reentrancy]") {
  in_every_order(&called_back_late);
}

TEST_CASE("a limit above shortens the limit of an owning call", "[actor][within]") {
  in_every_order(&nested_limits);
}

TEST_CASE("troupe::within of a call is the call's own limit", "[actor][within]") {
  in_every_order(&free_form);
}

TEST_CASE("what a method throws after its call has timed out is a dead letter", "[actor][within]") {
  world w;
  w.run(dead_after_timeout(w));
  REQUIRE(w.dead.size() == 1);
  REQUIRE(w.dead[0].key == "k");
  REQUIRE(w.dead[0].method == "wait_and_fail");
  REQUIRE(troupe::test::text_of(w.dead[0].error) == "too late");
}

}  // namespace within_tests

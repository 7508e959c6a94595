// SPDX-License-Identifier: MIT
// terminate and the end of a broker: everything drains, within its limit, and nothing is left open.

#include <troupe/broker/broker.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace terminate_tests {
namespace {

using namespace std::chrono_literals;
using troupe::as_result;
using troupe::errc;
using troupe::result;
using troupe::task;
using namespace troupe::test;

instance_count instances;

struct clerk {
  int add(int n) { return total += n; }
  task<int> add_later(int n) {
    co_await troupe::yield();
    co_return total += n;
  }
  task<> hold(gate* opened) { co_await opened->pass(); }
  task<> hold_on(gate* opened) { co_await opened->pass_all_the_same(); }
  task<> sleep(troupe::duration d) { co_await troupe::sleep_for(d); }
  int total = 0;
  counted me{instances};
};

struct stubborn_starter {
  task<> on_start() { co_await troupe::sleep_for(1h); }
  int touch() { return 1; }
  counted me{instances};
};

struct deaf_starter {
  explicit deaf_starter(gate& g) : opened(g) {}
  task<> on_start() { co_await opened.pass_all_the_same(); }
  int touch() { return 1; }
  gate& opened;
};

struct settled {
  std::atomic<int> values{0};
  std::atomic<int> stopped{0};
  std::atomic<int> gone{0};
  std::atomic<int> other{0};
  int all() const { return values + stopped + gone + other; }
  void count(std::error_code code) {
    if (!code) {
      ++values;
    } else if (code == errc::worker_stopped) {
      ++stopped;
    } else if (code == errc::broker_gone) {
      ++gone;
    } else {
      ++other;
    }
  }
};

task<> call_once(troupe::proxy<clerk> p, int i, settled& s) {
  std::error_code code;
  if (i % 3 == 0) {
    code = co_await code_of(p.call<&clerk::add>(1));
  } else if (i % 3 == 1) {
    code = co_await code_of(p.call<&clerk::add_later>(1));
  } else {
    code = co_await code_of(p.call<&clerk::add>(1).within(1h));
  }
  s.count(code);
}

}  // namespace

TEST_CASE("terminate closes all workers, and the broker stays usable", "[broker][terminate]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  for (int round = 0; round < 3; ++round) {
    for (const char* const key : {"a", "b", "c"}) {
      REQUIRE(troupe::sync_wait(broker.worker<clerk>(key).call<&clerk::add>(1)) == 1);
    }
    REQUIRE(broker.worker_count() == 3);
    troupe::sync_wait(broker.terminate());
    REQUIRE(broker.worker_count() == 0);
    REQUIRE(instances.living() == 0);
  }
}

TEST_CASE("terminating an empty broker is nothing", "[broker][terminate]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  troupe::broker broker({.on = &sim});
  troupe::sync_wait(broker.terminate());
  auto p = broker.worker<clerk>();
  troupe::sync_wait(broker.terminate());
  REQUIRE(sim.now() == start);
}

namespace {

task<> terminate_with_calls(troupe::broker& broker, int calls, settled& s) {
  troupe::task_scope scope;
  for (int i = 0; i < calls; ++i) {
    scope.spawn(call_once(broker.worker<clerk>(std::to_string(i % 7)), i, s));
  }
  co_await troupe::yield();
  co_await broker.terminate();
  co_await scope.join();
  const int anew = co_await broker.worker<clerk>("0").call<&clerk::add>(0);
  CHECK(anew >= 0);
}

}  // namespace

TEST_CASE("terminate with thousands of calls in flight settles each of them once",
          "[broker][terminate]") {
  settled s;
  {
    troupe::broker broker({.threads = 3});
    broker.run(terminate_with_calls(broker, 6000, s));
  }
  REQUIRE(s.all() == 6000);
  REQUIRE(s.values == 6000);  // what was queued ran; what came later met a new instance
  REQUIRE(instances.living() == 0);
}

namespace {

task<> call_and_note(troupe::proxy<clerk> p, std::error_code& code) {
  code = co_await code_of(p.call<&clerk::add>(1));
}
task<> call_in_time_and_note(troupe::proxy<clerk> p, std::error_code& code) {
  code = co_await code_of(p.call<&clerk::add>(1).within(24h));
}
task<> sleep_and_note(troupe::proxy<clerk> p, std::error_code& code) {
  code = co_await code_of(p.call<&clerk::sleep>(10h));
}

task<> terminate_past_the_limit(troupe::broker& broker, dead_letters& dead) {
  auto p = broker.worker<clerk>("slow");
  std::error_code running;
  std::error_code waiting;
  std::error_code waiting_in_time;
  troupe::task_scope scope;
  scope.spawn(sleep_and_note(p, running));
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn(call_and_note(p, waiting));
  scope.spawn(call_in_time_and_note(p, waiting_in_time));
  co_await until([&] { return broker.workers().at(0).waiting == 2; });
  CHECK(p.tell<&clerk::add>(1));
  co_await broker.terminate();
  co_await scope.join();
  CHECK(running == errc::interrupted);  // it was asked to stop, and heeded that
  CHECK(waiting == errc::worker_stopped);
  CHECK(waiting_in_time == errc::worker_stopped);
  CHECK(dead.count() == 1);
  CHECK(dead.at(0).reason == "worker stopped");
}

}  // namespace

TEST_CASE("after the drain limit what has not started is refused, and turns are asked to stop",
          "[broker][terminate]") {
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 5s, .on_dead_letter = dead.collector()});
  const troupe::time_point start = sim.now();
  sim.run(terminate_past_the_limit(broker, dead));
  REQUIRE(sim.now() - start == 5s);
  REQUIRE(broker.worker_count() == 0);
  REQUIRE(instances.living() == 0);
}

TEST_CASE("the end of a broker keeps to the drain limit too", "[broker][terminate]") {
  std::error_code running;
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  {
    troupe::broker broker({.on = &sim, .drain_limit = 5s});
    auto p = broker.worker<clerk>("slow");
    broker.spawn(sleep_and_note(p, running));
    sim.advance(0s);
    REQUIRE(p.tell<&clerk::add>(1));
  }
  // What was spawned is asked to stop at once, and the stop is passed on to the turn.
  REQUIRE(running == errc::interrupted);
  REQUIRE(sim.now() == start);
  REQUIRE(instances.living() == 0);
}

TEST_CASE("a call that waits for an on_start is refused after the drain limit",
          "[broker][terminate]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  std::error_code code;
  {
    troupe::broker broker({.on = &sim, .drain_limit = 5s});
    REQUIRE(broker.worker<stubborn_starter>().tell<&stubborn_starter::touch>());
    sim.advance(0s);
    code = troupe::sync_wait([](troupe::broker& b) -> task<std::error_code> {
      troupe::task_scope scope;
      std::error_code waiting;
      scope.spawn([](troupe::broker& br, std::error_code& c) -> task<> {
        c = co_await code_of(br.worker<stubborn_starter>().call<&stubborn_starter::touch>());
      }(b, waiting));
      co_await troupe::yield();
      co_await b.terminate();
      co_await scope.join();
      co_return waiting;
    }(broker));
  }
  REQUIRE((code == errc::worker_stopped || code == errc::start_failed));
  REQUIRE(sim.now() - start == 5s);
  REQUIRE(instances.living() == 0);
}

namespace {

task<> touch_and_note(troupe::proxy<deaf_starter> p, std::error_code& code) {
  code = co_await code_of(p.call<&deaf_starter::touch>());
}

task<> terminate_a_deaf_start(troupe::broker& broker, gate& opened) {
  auto p = broker.worker<deaf_starter>();
  std::error_code codes[5];
  troupe::task_scope scope;
  for (std::error_code& code : codes) scope.spawn(touch_and_note(p, code));
  for (int i = 0; i < 50; ++i) co_await troupe::yield();
  troupe::task_scope closing;
  closing.spawn(broker.terminate());
  for (int i = 0; i < 50; ++i) co_await troupe::yield();
  closing.request_stop();  // the limit is reached
  co_await until(
      [&] { return std::ranges::all_of(codes, [](auto c) { return c == errc::worker_stopped; }); });
  const result<void> closed = co_await as_result(closing.join());
  CHECK(closed.code() == errc::cancelled);
  opened.open();
  co_await scope.join();
  co_await until([&] { return broker.worker_count() == 0; });
}

}  // namespace

TEST_CASE("all calls that wait for an on_start which heeds no stop are refused at the limit",
          "[broker][terminate]") {
  gate opened;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 1h});
  broker.provide<deaf_starter>([&](troupe::context&) { return deaf_starter(opened); });
  sim.run(terminate_a_deaf_start(broker, opened));
}

namespace {

task<> hold_with_gate(troupe::proxy<clerk> p, gate* g, std::error_code& code) {
  code = co_await code_of(p.call<&clerk::hold_on>(g));
}

task<> stop_waiting_for_the_end(troupe::broker& broker, gate& opened) {
  auto p = broker.worker<clerk>("deaf");
  std::error_code running;
  std::error_code waiting;
  troupe::task_scope scope;
  scope.spawn(hold_with_gate(p, &opened, running));
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn(call_and_note(p, waiting));
  co_await until([&] { return broker.workers().at(0).waiting == 1; });
  troupe::task_scope closing;
  closing.spawn(broker.terminate());
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
  closing.request_stop();
  co_await until([&] { return waiting == errc::worker_stopped; });
  const result<void> closed = co_await as_result(closing.join());
  CHECK(closed.code() == errc::cancelled);
  CHECK(broker.worker_count() == 1);  // it still runs
  opened.open();
  co_await scope.join();
  CHECK_FALSE(running);
  co_await until([&] { return broker.worker_count() == 0; });
}

}  // namespace

TEST_CASE("a terminate that is asked to stop refuses what has not started, and waits no longer",
          "[broker][terminate]") {
  gate opened;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 1h});
  const troupe::time_point start = sim.now();
  sim.run(stop_waiting_for_the_end(broker, opened));
  REQUIRE(sim.now() == start);
}

TEST_CASE("workers that drain may create workers, and those go too", "[broker][terminate]") {
  struct parent {
    explicit parent(troupe::context& c) : ctx(c) {}
    task<> on_stop() {
      const int n =
          co_await ctx.worker<clerk>("child of " + std::string(ctx.key())).call<&clerk::add>(1);
      static_cast<void>(n);
      ctx.worker<clerk>("told by " + std::string(ctx.key())).tell<&clerk::add>(1);
    }
    ~parent() { ctx.worker<clerk>("told at the last").tell<&clerk::add>(1); }
    int touch() { return 1; }
    troupe::context& ctx;
    counted me{instances};
  };
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    {
      troupe::sim_executor sim({.seed = seed, .threads = 1 + static_cast<unsigned>(seed % 3)});
      troupe::broker broker({.on = &sim});
      for (const char* const key : {"a", "b"}) {
        REQUIRE(troupe::sync_wait(broker.worker<parent>(key).call<&parent::touch>()) == 1);
      }
    }
    REQUIRE(instances.living() == 0);
  }
  for (int i = 0; i < 30; ++i) {
    {
      troupe::broker broker({.threads = 2});
      for (const char* const key : {"a", "b"}) {
        REQUIRE(troupe::sync_wait(broker.worker<parent>(key).call<&parent::touch>()) == 1);
      }
    }
    REQUIRE(instances.living() == 0);
  }
}

TEST_CASE("a turn that terminates its broker gets deadlock, and the broker is emptied",
          "[broker][terminate]") {
  struct arsonist {
    task<> burn(troupe::broker* b) { co_await b->terminate(); }
  };
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  REQUIRE(troupe::sync_wait(broker.worker<clerk>().call<&clerk::add>(1)) == 1);
  const auto code = sim.run(code_of(broker.worker<arsonist>().call<&arsonist::burn>(&broker)));
  REQUIRE(code == errc::deadlock);
  sim.advance(0s);
  REQUIRE(broker.worker_count() == 0);
}

TEST_CASE("terminates at the same time all end", "[broker][terminate]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  REQUIRE(troupe::sync_wait(broker.worker<clerk>().call<&clerk::add>(1)) == 1);
  sim.run([](troupe::broker& b) -> task<> {
    troupe::task_scope scope;
    for (int i = 0; i < 10; ++i) scope.spawn(b.terminate());
    co_await scope.join();
  }(broker));
  REQUIRE(broker.worker_count() == 0);
}

// --- a limit that holds though nobody waits ------------------------------------------------------

namespace {

task<> remove_for_a_while(troupe::broker& broker, std::string key, std::error_code& code) {
  code = co_await code_of(broker.remove<clerk>(key));
}

task<> give_up_a_remove(troupe::broker& broker) {
  auto p = broker.worker<clerk>("slow");
  std::error_code running;
  std::error_code waiting;
  std::error_code removing;
  troupe::task_scope scope;
  scope.spawn(sleep_and_note(p, running));
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn(call_and_note(p, waiting));
  co_await until([&] { return broker.workers().at(0).waiting == 1; });
  troupe::task_scope closing;
  closing.spawn(remove_for_a_while(broker, "slow", removing));
  for (int i = 0; i < 50; ++i) co_await troupe::yield();
  closing.request_stop();
  co_await closing.join();
  CHECK(removing == errc::cancelled);
  CHECK_FALSE(waiting);
  co_await scope.join();
  CHECK(running == errc::interrupted);
  CHECK(waiting == errc::worker_stopped);
}

task<> terminate_then_begin_anew(troupe::broker& broker) {
  auto slow = broker.worker<clerk>("slow");
  auto quick = broker.worker<clerk>("quick");
  std::error_code old_turn;
  std::error_code new_turn;
  troupe::task_scope scope;
  scope.spawn(sleep_and_note(slow, old_turn));
  const int n = co_await quick.call<&clerk::add>(1);
  CHECK(n == 1);
  co_await until([&] { return broker.worker_count() == 2; });
  troupe::task_scope closing;
  closing.spawn(broker.terminate());
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn([](troupe::proxy<clerk> p, std::error_code& code) -> task<> {
    code = co_await code_of(p.call<&clerk::sleep>(1min));
  }(quick, new_turn));
  co_await closing.join();
  co_await scope.join();
  CHECK(old_turn == errc::interrupted);
  CHECK_FALSE(new_turn);  // of an instance that nobody has asked to close
}

}  // namespace

TEST_CASE("who waits for a removal may give up, and the limit holds all the same",
          "[broker][terminate]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 5s});
  const troupe::time_point start = sim.now();
  sim.run(give_up_a_remove(broker));
  REQUIRE(sim.now() - start == 5s);
}

TEST_CASE("the limit is for those that close, not for their successors", "[broker][terminate]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .drain_limit = 5s});
  sim.run(terminate_then_begin_anew(broker));
}

// --- from inside one of the workers that close ---------------------------------------------------

namespace {

struct outcome {
  std::atomic<int> ended{0};
  std::atomic<int> deadlocks{0};
  std::atomic<int> others{0};
  void note(std::error_code code) {
    if (code == errc::deadlock) {
      ++deadlocks;
    } else {
      ++others;
    }
    ++ended;
  }
};

/// Ends all workers, itself among them, in each way it can.
struct rebel {
  explicit rebel(troupe::context& c) : ctx(c) {}
  void in_a_task(troupe::broker* b, outcome* o) { ctx.spawn(end_all(b, o)); }
  task<> in_when_any(troupe::broker* b, outcome* o) {
    co_await troupe::when_any(end_all(b, o), troupe::sleep_for(1ms));
  }
  task<> ask(std::string whom) {
    static_cast<void>(co_await ctx.worker<rebel>(whom).call<&rebel::touch>());
  }
  int touch() { return 1; }

  static task<> end_all(troupe::broker* b, outcome* o) {
    o->note(co_await code_of(b->terminate()));
  }

  troupe::context& ctx;
  counted me{instances};
};

}  // namespace
}  // namespace terminate_tests

template <>
inline constexpr bool troupe::enable_sendable<terminate_tests::outcome*> = true;

namespace terminate_tests {
namespace {

task<> rebel_beside_a_busy_one(troupe::broker& broker, outcome& o) {
  gate opened;
  std::error_code holding;
  std::error_code waiting;
  auto p = broker.worker<clerk>("busy");
  troupe::task_scope scope;
  scope.spawn(hold_with_gate(p, &opened, holding));
  co_await until([&] { return broker.worker_count() == 1; });
  scope.spawn(call_and_note(p, waiting));
  co_await until([&] { return broker.workers().at(0).waiting == 1; });
  co_await broker.worker<rebel>().call<&rebel::in_a_task>(&broker, &o);
  co_await until([&] { return o.ended == 1; });
  opened.open();
  co_await scope.join();
  CHECK_FALSE(holding);
  CHECK_FALSE(waiting);  // it had its time
  co_await until([&] { return broker.worker_count() == 0; });
}

task<> rebels_of_all_kinds(troupe::broker& broker, outcome& o, int count) {
  troupe::task_scope scope;
  for (int i = 0; i < count; ++i) {
    const auto p = broker.worker<rebel>(std::to_string(i % 5));
    if (i % 3 == 0) {
      scope.spawn([](troupe::proxy<rebel> r, troupe::broker* b, outcome* out) -> task<> {
        static_cast<void>(co_await code_of(r.call<&rebel::in_a_task>(b, out)));
      }(p, &broker, &o));
    } else if (i % 3 == 1) {
      scope.spawn([](troupe::proxy<rebel> r, troupe::broker* b, outcome* out) -> task<> {
        static_cast<void>(co_await code_of(r.call<&rebel::in_when_any>(b, out)));
      }(p, &broker, &o));
    } else {
      scope.spawn([](troupe::proxy<rebel> r, std::string whom) -> task<> {
        static_cast<void>(co_await code_of(r.call<&rebel::ask>(whom)));
      }(p, std::to_string((i + 1) % 5)));
    }
    if (i % 4 == 0) co_await troupe::yield();
  }
  co_await scope.join();
}

}  // namespace

TEST_CASE("a worker's task that terminates the broker gets deadlock, and the others drain",
          "[broker][terminate]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    outcome o;
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim});
    const troupe::time_point start = sim.now();
    sim.run(rebel_beside_a_busy_one(broker, o));
    REQUIRE(o.deadlocks == 1);
    REQUIRE(sim.now() == start);
  }
  REQUIRE(instances.living() == 0);
}

TEST_CASE("workers that terminate the broker from inside end on several threads",
          "[broker][terminate]") {
  outcome o;
  for (int round = 0; round < 20; ++round) {
    troupe::broker broker({.threads = 3, .drain_limit = 100ms});
    broker.run(rebels_of_all_kinds(broker, o, 60));
  }
  REQUIRE(o.others == 0);
  REQUIRE(o.deadlocks > 0);
  REQUIRE(instances.living() == 0);
}

}  // namespace terminate_tests

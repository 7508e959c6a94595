// SPDX-License-Identifier: MIT
// context::after and context::every: turns at their time, which keep no worker alive.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace timers_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count instances;
instance_count functions;

struct clock_maker {
  explicit clock_maker(troupe::context& c) : ctx(c) {}
  void once(troupe::duration d) {
    ctx.after(d, [this, alive = std::make_unique<counted>(functions)] { ++fired; });
  }
  void again(troupe::duration d) {
    ctx.every(d, [this, alive = std::make_unique<counted>(functions)] { ++fired; });
  }
  void slowly(troupe::duration d) {
    ctx.every(d, [this]() -> task<> {
      ++fired;
      inside = true;
      co_await troupe::sleep_for(1s);
      inside = false;
    });
  }
  void badly(troupe::duration d) {
    ctx.every(d, [this] {
      ++fired;
      throw std::runtime_error("in the timer");
    });
  }
  void badly_later(troupe::duration d) {
    ctx.after(d, [this]() -> task<> {
      ++fired;
      co_await troupe::yield();
      throw std::runtime_error("in the timer's task");
    });
  }
  void close_by_timer(troupe::duration d) {
    ctx.after(d, [this] { ctx.deactivate_when_idle(); });
  }
  void chain(int n) {
    ++fired;
    if (n > 0) ctx.after(1s, [this, n] { chain(n - 1); });
  }
  int get() {
    overlapped = overlapped || inside;
    return fired;
  }
  bool had_overlap() const { return overlapped; }
  task<> hold(troupe::duration d) { co_await troupe::sleep_for(d); }
  troupe::context& ctx;
  int fired = 0;
  bool inside = false;
  bool overlapped = false;
  counted me{instances};
};

struct fixture {
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim, .on_dead_letter = dead.collector()}};
  troupe::proxy<clock_maker> p = broker.worker<clock_maker>("c");
  int fired() { return troupe::sync_wait(p.call<&clock_maker::get>()); }
  ~fixture() { troupe::sync_wait(broker.terminate()); }
};

}  // namespace

TEST_CASE("after runs once, at its time", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::once>(5s));
  f.sim.advance(4s);
  REQUIRE(f.fired() == 0);
  f.sim.advance(1s + 10ms);
  REQUIRE(f.fired() == 1);
  f.sim.advance(1h);
  REQUIRE(f.fired() == 1);
  REQUIRE(functions.living() == 0);
}

TEST_CASE("every runs again and again", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::again>(1s));
  f.sim.advance(100s + 500ms);
  const int fired = f.fired();
  REQUIRE(fired >= 95);
  REQUIRE(fired <= 100);
}

TEST_CASE("a timer's turn is a turn: nothing else runs meanwhile", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::slowly>(100ms));
  for (int i = 0; i < 50; ++i) {
    f.sim.advance(130ms);
    f.fired();
  }
  REQUIRE(f.fired() >= 3);
  REQUIRE_FALSE(troupe::sync_wait(f.p.call<&clock_maker::had_overlap>()));
}

TEST_CASE("a timer waits for the turn that runs", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::once>(1s));
  const auto start = f.sim.now();
  troupe::sync_wait(f.p.call<&clock_maker::hold>(10s));
  REQUIRE(f.sim.now() - start == 10s);
  REQUIRE(f.fired() == 1);
}

TEST_CASE("what a timer throws is a dead letter, and every goes on", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::badly>(1s));
  f.sim.advance(3s + 500ms);
  REQUIRE(f.dead.count() == 3);
  REQUIRE(f.dead.at(0).method == "timer");
  REQUIRE(f.dead.at(0).error == "in the timer");
  troupe::sync_wait(f.p.call<&clock_maker::badly_later>(100ms));
  f.sim.advance(200ms);
  REQUIRE(f.dead.at(f.dead.count() - 1).error == "in the timer's task");
}

TEST_CASE("timers end with the worker, and do not make it anew", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::again>(1s));
  troupe::sync_wait(f.p.call<&clock_maker::once>(10s));
  f.sim.advance(2s + 500ms);
  REQUIRE(troupe::sync_wait(f.broker.remove<clock_maker>("c")));
  REQUIRE(functions.living() == 0);
  f.sim.advance(1h);
  REQUIRE(f.broker.worker_count() == 0);
  REQUIRE(instances.living() == 0);
  REQUIRE(f.fired() == 0);
}

TEST_CASE("a timer does not keep its worker from being evicted", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::again>(1s));
  REQUIRE(f.broker.evict(f.p.id()));
  f.sim.advance(10s);
  REQUIRE(f.broker.worker_count() == 0);
  REQUIRE(functions.living() == 0);
}

TEST_CASE("a worker may close itself by a timer", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::close_by_timer>(5s));
  f.sim.advance(4s);
  REQUIRE(f.broker.worker_count() == 1);
  f.sim.advance(2s);
  REQUIRE(f.broker.worker_count() == 0);
}

TEST_CASE("a timer may start the next one", "[broker][timers]") {
  fixture f;
  troupe::sync_wait(f.p.call<&clock_maker::chain>(10));
  f.sim.advance(20s);
  REQUIRE(f.fired() == 11);
}

TEST_CASE("a hundred timers of one worker all fire", "[broker][timers]") {
  fixture f;
  for (int i = 0; i < 100; ++i) {
    troupe::sync_wait(f.p.call<&clock_maker::once>(std::chrono::milliseconds(i * 7)));
  }
  f.sim.advance(1s);
  REQUIRE(f.fired() == 100);
  REQUIRE(functions.living() == 0);
}

TEST_CASE("timers that fire while their worker is removed do no harm", "[broker][timers]") {
  for (int i = 0; i < 100; ++i) {
    troupe::broker broker({.threads = 2});
    auto p = broker.worker<clock_maker>("c");
    broker.run([](troupe::broker& b, troupe::proxy<clock_maker> q) -> task<> {
      for (int k = 0; k < 20; ++k) {
        co_await q.call<&clock_maker::once>(std::chrono::microseconds(k * 20));
        co_await q.call<&clock_maker::again>(std::chrono::microseconds(50));
      }
      co_await troupe::sleep_for(200us);
      const bool gone = co_await b.remove<clock_maker>("c");
      CHECK(gone);
    }(broker, p));
  }
  REQUIRE(instances.living() == 0);
  REQUIRE(functions.living() == 0);
}

}  // namespace timers_tests

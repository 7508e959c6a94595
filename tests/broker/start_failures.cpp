// SPDX-License-Identifier: MIT
// Constructors, factories, on_start and on_stop that throw.

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
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace start_failures_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count instances;
int failures_left = 0;
bool fails() { return failures_left > 0 && failures_left-- > 0; }

struct fragile_constructor {
  fragile_constructor() {
    if (fails()) throw std::runtime_error("born badly");
  }
  int touch() { return 1; }
  counted me{instances};
};

struct fragile_start {
  void on_start() {
    if (fails()) throw std::runtime_error("started badly");
  }
  int touch() { return 1; }
  task<int> touch_later() {
    co_await troupe::yield();
    co_return 2;
  }
  counted me{instances};
};

struct fragile_slow_start {
  task<> on_start() {
    co_await troupe::sleep_for(1s);
    if (fails()) throw std::runtime_error("started badly after a while");
  }
  int touch() { return 1; }
  task<int> touch_later() {
    co_await troupe::yield();
    co_return 2;
  }
  counted me{instances};
};

struct made_by_factory {
  int touch() { return 1; }
  counted me{instances};
};

struct fragile_stop {
  void on_stop() { throw std::runtime_error("stopped badly"); }
  int touch() { return ++touched; }
  int touched = 0;
  counted me{instances};
};
struct fragile_slow_stop {
  task<> on_stop() {
    co_await troupe::sleep_for(1s);
    throw std::runtime_error("stopped badly after a while");
  }
  int touch() { return ++touched; }
  int touched = 0;
  counted me{instances};
};

void check_failure(const std::exception_ptr& thrown, const std::string& why) {
  REQUIRE(code_in(thrown) == errc::start_failed);
  REQUIRE(troupe::is_safe_to_retry(code_in(thrown)));
  REQUIRE(nested_in(thrown) == why);
}

template <class A>
void check_retry(const std::string& why) {
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    auto p = broker.worker<A>("x");
    failures_left = 2;
    check_failure(troupe::sync_wait(error_of(p.template call<&A::touch>())), why);
    REQUIRE(broker.worker_count() == 0);
    REQUIRE_FALSE(broker.exists<A>("x"));
    check_failure(troupe::sync_wait(error_of(p.template call<&A::touch>().within(1h))), why);
    REQUIRE(troupe::sync_wait(p.template call<&A::touch>()) == 1);
    REQUIRE(broker.worker_count() == 1);
    REQUIRE(troupe::sync_wait(broker.remove<A>("x")));
    failures_left = 1;
    check_failure(troupe::sync_wait(error_of(broker.load<A>("x"))), why);
    troupe::sync_wait(broker.load<A>("x"));
    REQUIRE(instances.living() == 1);
  }
  REQUIRE(instances.living() == 0);
}

}  // namespace

TEST_CASE("a throwing constructor fails the call, and the next call tries again",
          "[broker][start]") {
  check_retry<fragile_constructor>("born badly");
}

TEST_CASE("a throwing on_start fails the call, and the next call tries again", "[broker][start]") {
  check_retry<fragile_start>("started badly");
}

TEST_CASE("an on_start that throws after a while does the same", "[broker][start]") {
  check_retry<fragile_slow_start>("started badly after a while");
}

TEST_CASE("a throwing factory fails the call, and the next call tries again", "[broker][start]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<made_by_factory>([](troupe::context&) {
    if (fails()) throw std::runtime_error("no parts");
    return std::make_unique<made_by_factory>();
  });
  auto p = broker.worker<made_by_factory>();
  failures_left = 1;
  check_failure(troupe::sync_wait(error_of(p.call<&made_by_factory::touch>())), "no parts");
  REQUIRE(troupe::sync_wait(p.call<&made_by_factory::touch>()) == 1);
}

TEST_CASE("the worker that failed to start is named", "[broker][start]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  failures_left = 1;
  try {
    troupe::sync_wait(broker.worker<fragile_start>("me").call<&fragile_start::touch>());
    FAIL("it started");
  } catch (const troupe::error& e) {
    REQUIRE(e.worker() == broker.worker<fragile_start>("me").id());
  }
}

namespace {

template <class A>
task<> note_code(troupe::proxy<A> p, std::vector<std::string>& told, int kind) {
  std::exception_ptr thrown;
  if (kind % 3 == 0) {
    thrown = co_await error_of(p.template call<&A::touch>());
  } else if (kind % 3 == 1) {
    thrown = co_await error_of(p.template call<&A::touch_later>());
  } else {
    thrown = co_await error_of(p.template call<&A::touch>().within(1h));
  }
  told.push_back(thrown ? what_of(thrown) + " <- " + nested_in(thrown) : "value");
}

template <class A>
task<> many_wait_for_a_start(troupe::broker& broker, int callers, std::vector<std::string>& told) {
  auto p = broker.worker<A>("x");
  troupe::task_scope scope;
  for (int i = 0; i < callers; ++i) scope.spawn(note_code<A>(p, told, i));
  co_await scope.join();
}

}  // namespace

TEST_CASE("all who wait for a start that fails are told the same", "[broker][start]") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    std::vector<std::string> told;
    dead_letters dead;
    {
      troupe::sim_executor sim({.seed = seed});
      troupe::broker broker({.on = &sim, .on_dead_letter = dead.collector()});
      failures_left = 1;
      // The first starts it; a tell waits with the calls.
      REQUIRE(broker.worker<fragile_slow_start>("x").tell<&fragile_slow_start::touch>());
      sim.run(many_wait_for_a_start<fragile_slow_start>(broker, 50, told));
    }
    REQUIRE(told.size() == 50);
    for (const std::string& t : told) {
      REQUIRE(t.find("worker failed to start") != std::string::npos);
      REQUIRE(t.find("<- started badly after a while") != std::string::npos);
    }
    REQUIRE(dead.count() == 1);
    REQUIRE(dead.at(0).reason == "worker failed to start");
    REQUIRE(instances.living() == 0);
  }
}

TEST_CASE("a failed start drops the last reference to its worker safely", "[broker][start]") {
  for (int i = 0; i < 300; ++i) {
    troupe::broker broker({.threads = 2});
    failures_left = 1;
    broker.run([](troupe::broker& b) -> task<> {
      const auto code =
          co_await code_of(b.worker<fragile_start>("x").call<&fragile_start::touch>());
      CHECK(code == errc::start_failed);
    }(broker));
  }
}

// --- on_stop -----------------------------------------------------------------------------------

TEST_CASE("a throwing on_stop is a dead letter, and the worker goes all the same",
          "[broker][stop]") {
  dead_letters dead;
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim, .on_dead_letter = dead.collector()});
    auto p = broker.worker<fragile_stop>("a");
    REQUIRE(troupe::sync_wait(p.call<&fragile_stop::touch>()) == 1);
    REQUIRE(troupe::sync_wait(broker.remove<fragile_stop>("a")));
    REQUIRE(instances.living() == 0);
    REQUIRE(dead.count() == 1);
    REQUIRE(dead.at(0).method == "on_stop");
    REQUIRE(dead.at(0).error == "stopped badly");
    REQUIRE(troupe::sync_wait(p.call<&fragile_stop::touch>()) == 1);
    auto q = broker.worker<fragile_slow_stop>("b");
    REQUIRE(troupe::sync_wait(q.call<&fragile_slow_stop::touch>()) == 1);
    troupe::sync_wait(broker.terminate());
    REQUIRE(dead.count() == 3);
    REQUIRE(troupe::sync_wait(q.call<&fragile_slow_stop::touch>()) == 1);
  }
  REQUIRE(dead.count() == 4);
  REQUIRE(instances.living() == 0);
}

// --- a start that fails after it has begun something
// -----------------------------------------------

namespace {

std::string journal;

task<> begun(instance_count& tasks) {
  const counted me(tasks);
  gate never;
  co_await never.pass();
}

instance_count tasks;

struct ambitious {
  explicit ambitious(troupe::context& ctx, bool in_constructor) : ctx_(ctx) {
    if (in_constructor) {
      begin();
      throw std::runtime_error("gave up in the constructor");
    }
  }
  void on_start() {
    begin();
    throw std::runtime_error("gave up in on_start");
  }
  void begin() {
    ctx_.spawn(begun(tasks));
    ctx_.after(1ms, [this] { ++fired; });
    ctx_.every(1ms, [this] { ++fired; });
    const auto token = ctx_.stop_token();
  }
  int touch() { return 1; }
  troupe::context& ctx_;
  int fired = 0;
  counted me{instances};
};

struct ambitious_coroutine {
  explicit ambitious_coroutine(troupe::context& c) : ctx(c) {}
  task<> on_start() {
    ctx.spawn(begun(tasks));
    ctx.every(1ms, [this] { ++fired; });
    co_await troupe::sleep_for(10ms);
    throw std::runtime_error("gave up in the coroutine");
  }
  int touch() { return 1; }
  troupe::context& ctx;
  int fired = 0;
  counted me{instances};
};

}  // namespace

TEST_CASE("what an instance has begun ends where its start fails", "[broker][start]") {
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    for (const bool in_constructor : {true, false}) {
      broker.provide<ambitious>([in_constructor](troupe::context& ctx) {
        return std::make_unique<ambitious>(ctx, in_constructor);
      });
      const auto thrown =
          troupe::sync_wait(error_of(broker.worker<ambitious>().call<&ambitious::touch>()));
      check_failure(thrown, in_constructor ? "gave up in the constructor" : "gave up in on_start");
      REQUIRE(tasks.living() == 0);
      sim.advance(1s);
    }
    const auto thrown = troupe::sync_wait(
        error_of(broker.worker<ambitious_coroutine>().call<&ambitious_coroutine::touch>()));
    check_failure(thrown, "gave up in the coroutine");
    REQUIRE(tasks.living() == 0);
    sim.advance(1s);
  }
  REQUIRE(tasks.made > 0);
  REQUIRE(instances.living() == 0);
}

}  // namespace start_failures_tests

// SPDX-License-Identifier: MIT
// What a worker may ask of its surroundings: who it is, others, tasks, timers, memory, its end.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <memory_resource>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/actor/methods.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace context_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

// Two classes that hold each other's proxies while the other one is incomplete.
struct ping;
struct pong;

}  // namespace
}  // namespace context_tests

TROUPE_METHODS(context_tests::ping, serve, hits)

TROUPE_METHODS(context_tests::pong, serve, hits)

namespace context_tests {
namespace {

struct ping {
  explicit ping(troupe::context& c) : other(c.worker<pong>(c.key())) {}
  task<int> serve(int rallies);
  int hits() const { return count; }
  troupe::proxy<pong> other;
  int count = 0;
};
struct pong {
  explicit pong(troupe::context& c) : other(c.worker<ping>(c.key())) {}
  task<int> serve(int rallies) {
    ++count;
    if (rallies == 0) co_return 0;
    co_return 1 + co_await other->serve(rallies - 1);
  }
  int hits() const { return count; }
  troupe::proxy<ping> other;
  int count = 0;
};
task<int> ping::serve(int rallies) {
  ++count;
  if (rallies == 0) co_return 0;
  co_return 1 + co_await other->serve(rallies - 1);
}

struct counter {
  int add(int n) { return total += n; }
  int total = 0;
};

instance_count instances;

struct asking {
  explicit asking(troupe::context& c)
      : ctx(c), key_at_start(c.key()), id_at_start(c.id()), helper(c.worker<counter>("helper")) {
    c.worker<counter>("told").tell<&counter::add>(1);
  }
  std::string key() const { return std::string(ctx.key()); }
  std::string id() const { return to_string(ctx.id()); }
  bool same() const { return ctx.id() == id_at_start && ctx.key() == key_at_start; }
  bool tell_from_plain(int n) { return ctx.worker<counter>("told").tell<&counter::add>(n); }
  bool tell_myself() { return ctx.self<asking>().tell<&asking::note>(); }
  void note() { ++notes; }
  int noted() const { return notes; }
  task<int> ask_helper() { co_return co_await helper.call<&counter::add>(1); }
  troupe::context& ctx;
  std::string key_at_start;
  troupe::worker_id id_at_start;
  troupe::proxy<counter> helper;
  int notes = 0;
  counted me{instances};
};

struct fixture {
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim, .on_dead_letter = dead.collector()}};
};

}  // namespace

TEST_CASE("a worker is told who it is", "[broker][context]") {
  fixture f;
  auto p = f.broker.worker<asking>("a \"key\"");
  REQUIRE(troupe::sync_wait(p.call<&asking::key>()) == "a \"key\"");
  REQUIRE(troupe::sync_wait(p.call<&asking::id>()) == to_string(p.id()));
  REQUIRE(troupe::sync_wait(p.call<&asking::same>()));
  REQUIRE(troupe::sync_wait(f.broker.worker<asking>().call<&asking::key>()).empty());
}

TEST_CASE("constructors and plain methods reach other workers", "[broker][context]") {
  fixture f;
  auto p = f.broker.worker<asking>("x");
  REQUIRE(troupe::sync_wait(p.call<&asking::tell_from_plain>(10)));
  REQUIRE(troupe::sync_wait(p.call<&asking::ask_helper>()) == 1);
  REQUIRE(troupe::sync_wait(p.call<&asking::tell_myself>()));
  f.sim.advance(0s);
  REQUIRE(troupe::sync_wait(p.call<&asking::noted>()) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("told").call<&counter::add>(0)) == 11);
}

TEST_CASE("two classes may hold each other's proxies", "[broker][context]") {
  fixture f;
  auto p = f.broker.worker<ping>("table");
  REQUIRE(f.sim.run([](troupe::proxy<ping> q) -> task<int> {
    co_return co_await q->serve(20);
  }(p)) == 20);
  REQUIRE(troupe::sync_wait(p->hits()) == 11);
  REQUIRE(troupe::sync_wait(f.broker.worker<pong>("table")->hits()) == 10);
  REQUIRE(troupe::sync_wait(f.broker.remove<ping>("table")));
  REQUIRE(troupe::sync_wait(f.broker.worker<pong>("table")->serve(1)) == 1);
}

// --- spawn ---------------------------------------------------------------------------------------

namespace {

std::string journal;

struct spawner {
  explicit spawner(troupe::context& c) : ctx(c) {}
  ~spawner() { journal += "gone "; }
  void begin() { ctx.spawn(work(ctx.self<spawner>())); }
  void begin_failing() {
    ctx.spawn([]() -> task<> {
      co_await troupe::yield();
      throw std::runtime_error("in the task");
    }());
  }
  static task<> work(troupe::proxy<spawner> self) {
    for (int i = 0; i < 3; ++i) {
      co_await troupe::sleep_for(1s);
      co_await self.call<&spawner::step>();
    }
    const auto stopped = co_await error_of(troupe::sleep_for(24h));
    journal += code_in(stopped) == errc::cancelled ? "stopped " : "slept ";
    co_await troupe::yield();
    journal += "ended ";
  }
  void step() { ++steps; }
  int get() const { return steps; }
  bool stop_asked() const { return ctx.stop_token().stop_requested(); }
  task<> on_stop() {
    journal += ctx.stop_token().stop_requested() ? "stop " : "stop unasked ";
    co_await troupe::yield();
  }
  troupe::context& ctx;
  int steps = 0;
};

}  // namespace

TEST_CASE("what a worker has spawned runs beside it, and is stopped and awaited before on_stop",
          "[broker][context]") {
  journal.clear();
  fixture f;
  auto p = f.broker.worker<spawner>("s");
  troupe::sync_wait(p.call<&spawner::begin>());
  f.sim.advance(10s);
  REQUIRE(troupe::sync_wait(p.call<&spawner::get>()) == 3);
  REQUIRE_FALSE(troupe::sync_wait(p.call<&spawner::stop_asked>()));
  REQUIRE(troupe::sync_wait(f.broker.remove<spawner>("s")));
  REQUIRE(journal == "stopped ended stop gone ");
  REQUIRE(f.dead.count() == 0);
}

TEST_CASE("an error of what a worker has spawned is a dead letter of that worker",
          "[broker][context]") {
  fixture f;
  auto p = f.broker.worker<spawner>("s");
  troupe::sync_wait(p.call<&spawner::begin_failing>());
  f.sim.advance(1s);
  REQUIRE(f.dead.count() == 1);
  REQUIRE(f.dead.at(0).method == "spawn");
  REQUIRE(f.dead.at(0).to == to_string(p.id()));
  REQUIRE(f.dead.at(0).error == "in the task");
  REQUIRE(f.broker.exists<spawner>("s"));
}

namespace {

// What it spawned calls it while it is being closed.
struct clingy {
  explicit clingy(troupe::context& c) : ctx(c) {}
  void begin(std::string* told) { ctx.spawn(cling(ctx.self<clingy>(), told)); }
  static task<> cling(troupe::proxy<clingy> self, std::string* told) {
    const auto stopped = co_await error_of(troupe::sleep_for(24h));
    *told += what_of(stopped) + "; ";
    const auto thrown = co_await error_of(self.call<&clingy::touch>());
    *told += what_of(thrown);
  }
  int touch() { return 1; }
  troupe::context& ctx;
};

}  // namespace

TEST_CASE("what a worker has spawned may call it at the end without a hang", "[broker][context]") {
  std::string told;
  {
    fixture f;
    auto p = f.broker.worker<clingy>("c");
    troupe::sync_wait(p.call<&clingy::begin>(&told));
    REQUIRE(troupe::sync_wait(f.broker.remove<clingy>("c")));
  }
  REQUIRE(told.find("cancelled") != std::string::npos);
}

// --- memory --------------------------------------------------------------------------------------

namespace {

struct hoarder {
  explicit hoarder(troupe::context& c) : kept(&c.memory()) {}
  std::size_t keep(std::size_t n) {
    kept.resize(n);
    return kept.size();
  }
  std::pmr::vector<char> kept;
};

}  // namespace

TEST_CASE("a worker may keep its data in memory that is counted for it", "[broker][context]") {
  fixture f;
  auto p = f.broker.worker<hoarder>();
  REQUIRE(troupe::sync_wait(p.call<&hoarder::keep>(100'000u)) == 100'000);
  REQUIRE(troupe::sync_wait(f.broker.remove<hoarder>()));
}

}  // namespace context_tests

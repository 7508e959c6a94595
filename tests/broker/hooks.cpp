// SPDX-License-Identifier: MIT
// on_start and on_stop: their order among calls, coroutines or not, and what they may call.

#include <troupe/broker/broker.hpp>

#include <stdexcept>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace hooks_tests {
namespace {

using troupe::errc;
using troupe::task;
using namespace troupe::test;

std::string journal;

struct plain_hooks {
  plain_hooks() { journal += "made "; }
  ~plain_hooks() { journal += "gone "; }
  void on_start() { journal += "start "; }
  void on_stop() { journal += "stop "; }
  void note(std::string word) { journal += word + ' '; }
  task<> note_later(std::string word) {
    co_await troupe::yield();
    journal += word + ' ';
  }
};

struct coroutine_hooks {
  coroutine_hooks() { journal += "made "; }
  ~coroutine_hooks() { journal += "gone "; }
  task<> on_start() {
    co_await troupe::yield();
    co_await troupe::yield();
    journal += "start ";
  }
  task<> on_stop() {
    co_await troupe::yield();
    co_await troupe::yield();
    journal += "stop ";
  }
  void note(std::string word) { journal += word + ' '; }
  task<> note_later(std::string word) {
    co_await troupe::yield();
    journal += word + ' ';
  }
};

// A coroutine that ends without ever waiting.
struct prompt_hooks {
  task<> on_start() {
    journal += "start ";
    co_return;
  }
  task<> on_stop() {
    journal += "stop ";
    co_return;
  }
  void note(std::string word) { journal += word + ' '; }
};

// A hook that is no coroutine but may say so.
struct lazy_hooks {
  task<> on_start() { return {}; }
  task<> on_stop() { return {}; }
  int touch() { return 1; }
};

template <class A>
void run_calls_and_remove() {
  journal.clear();
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto p = broker.worker<A>("x");
  troupe::sync_wait(troupe::when_all(p.template call<&A::note>(std::string("one")),
                                     p.template call<&A::note_later>(std::string("two")),
                                     p.template call<&A::note>(std::string("three"))));
  REQUIRE(troupe::sync_wait(broker.remove<A>("x")));
}

}  // namespace

TEST_CASE("plain hooks run before the first call and after the last", "[broker][hooks]") {
  run_calls_and_remove<plain_hooks>();
  REQUIRE(journal == "made start one two three stop gone ");
}

TEST_CASE("hooks that are coroutines run before the first call and after the last",
          "[broker][hooks]") {
  run_calls_and_remove<coroutine_hooks>();
  REQUIRE(journal == "made start one two three stop gone ");
}

TEST_CASE("hooks that are coroutines and never wait run all the same", "[broker][hooks]") {
  journal.clear();
  {
    troupe::broker broker({.threads = 1});
    auto p = broker.worker<prompt_hooks>();
    troupe::sync_wait(p.call<&prompt_hooks::note>(std::string("call")));
    REQUIRE(p.tell<&prompt_hooks::note>(std::string("tell")));
  }
  REQUIRE(journal == "start call tell stop ");
}

TEST_CASE("a hook may give an empty task", "[broker][hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  REQUIRE(troupe::sync_wait(broker.worker<lazy_hooks>().call<&lazy_hooks::touch>()) == 1);
  REQUIRE(troupe::sync_wait(broker.remove<lazy_hooks>()));
}

TEST_CASE("hooks run for an eviction, a termination and the end of the broker", "[broker][hooks]") {
  journal.clear();
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    auto p = broker.worker<coroutine_hooks>();
    troupe::sync_wait(p.call<&coroutine_hooks::note>(std::string("1")));
    REQUIRE(broker.evict(p.id()));
    sim.advance(troupe::duration::zero());
    troupe::sync_wait(p.call<&coroutine_hooks::note>(std::string("2")));
    troupe::sync_wait(broker.terminate());
    troupe::sync_wait(p.call<&coroutine_hooks::note>(std::string("3")));
  }
  REQUIRE(journal == "made start 1 stop gone made start 2 stop gone made start 3 stop gone ");
}

TEST_CASE("a tell that creates the worker runs after on_start", "[broker][hooks]") {
  journal.clear();
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    REQUIRE(broker.worker<coroutine_hooks>().tell<&coroutine_hooks::note>(std::string("told")));
  }
  REQUIRE(journal == "made start told stop gone ");
}

// --- hooks that call others
// ------------------------------------------------------------------------

namespace {

struct registry_actor {
  int enrol(const std::string& who) {
    enrolled += who + ' ';
    return ++count;
  }
  std::string list() const { return enrolled; }
  std::string enrolled;
  int count = 0;
};

struct member {
  explicit member(troupe::context& c) : ctx(c), registry(c.worker<registry_actor>()) {}
  task<> on_start() { number = co_await registry.call<&registry_actor::enrol>("+" + name()); }
  task<> on_stop() {
    const int n = co_await registry.call<&registry_actor::enrol>("-" + name());
    static_cast<void>(n);
  }
  int my_number() const { return number; }
  std::string name() const { return std::string(ctx.key()); }
  troupe::context& ctx;
  troupe::proxy<registry_actor> registry;
  int number = 0;
};

// A calls B, whose on_start calls A, which waits for B.
struct late;
struct early {
  explicit early(troupe::context& c) : ctx(c) {}
  task<int> ask_late();
  int touch() { return 1; }
  troupe::context& ctx;
};
struct late {
  explicit late(troupe::context& c) : ctx(c) {}
  task<> on_start() {
    auto a = ctx.worker<early>("a");
    touched = co_await a.call<&early::touch>();
  }
  int get() const { return touched; }
  troupe::context& ctx;
  int touched = 0;
};
task<int> early::ask_late() {
  auto b = ctx.worker<late>("b");
  co_return co_await b.call<&late::get>();
}

// A removes B, whose on_stop calls A.
struct widow;
struct killer {
  explicit killer(troupe::context& c) : ctx(c) {}
  task<int> kill(troupe::broker* broker);
  int touch() { return 1; }
  troupe::context& ctx;
};
struct widow {
  explicit widow(troupe::context& c) : ctx(c) {}
  task<> on_stop() {
    auto a = ctx.worker<killer>("a");
    const int n = co_await a.call<&killer::touch>();
    static_cast<void>(n);
  }
  int touch() { return 1; }
  troupe::context& ctx;
};
task<int> killer::kill(troupe::broker* broker) {
  const bool gone = co_await broker->remove<widow>("b");
  co_return gone ? 1 : 0;
}

// on_start and on_stop that call themselves.
struct narcissus {
  explicit narcissus(troupe::context& c) : ctx(c) {}
  task<> on_start() {
    auto me = ctx.self<narcissus>();
    seen = co_await me.call<&narcissus::touch>();
  }
  int touch() { return 41; }
  int get() const { return seen; }
  troupe::context& ctx;
  int seen = 0;
};

}  // namespace

TEST_CASE("on_start and on_stop may call other workers", "[broker][hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  REQUIRE(troupe::sync_wait(broker.worker<member>("x").call<&member::my_number>()) == 1);
  REQUIRE(troupe::sync_wait(broker.worker<member>("y").call<&member::my_number>()) == 2);
  REQUIRE(troupe::sync_wait(broker.remove<member>("x")));
  auto registry = broker.worker<registry_actor>();
  REQUIRE(troupe::sync_wait(registry.call<&registry_actor::list>()) == "+x +y -x ");
}

TEST_CASE("at the end of the broker on_stop may still call, even who is gone already",
          "[broker][hooks]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim});
    for (const char* const key : {"1", "2", "3", "4"}) {
      REQUIRE(troupe::sync_wait(broker.worker<member>(key).call<&member::my_number>()) > 0);
    }
  }
}

TEST_CASE("on_start that calls the worker that waits for it is a deadlock, by name",
          "[broker][hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto a = broker.worker<early>("a");
  const auto thrown = sim.run(error_of(a.call<&early::ask_late>()));
  REQUIRE(code_in(thrown) == errc::start_failed);
  const std::string nested = nested_in(thrown);
  REQUIRE(nested.find("deadlock") != std::string::npos);
  REQUIRE(nested.find("ask_late") != std::string::npos);
  REQUIRE(nested.find("on_start") != std::string::npos);
}

TEST_CASE("the same through when_all, a time limit, and a line of others", "[broker][hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto a = broker.worker<early>("a");
  auto b = broker.worker<late>("b");
  auto results =
      sim.run(troupe::when_all(code_of(a.call<&early::ask_late>()), code_of(b.call<&late::get>())));
  REQUIRE(
      (std::get<0>(results) == errc::start_failed || std::get<0>(results) == std::error_code()));
  auto timed = a.call<&early::ask_late>().within(std::chrono::hours(1));
  const auto thrown = sim.run(error_of(std::move(timed)));
  REQUIRE((!thrown || code_in(thrown) == errc::start_failed));
}

TEST_CASE("on_stop that calls the worker that waits for the removal is a deadlock",
          "[broker][hooks]") {
  int stops_refused = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    dead_letters dead;
    troupe::sim_executor sim({.seed = seed});
    troupe::broker broker({.on = &sim, .on_dead_letter = dead.collector()});
    REQUIRE(troupe::sync_wait(broker.worker<widow>("b").call<&widow::touch>()) == 1);
    const auto thrown = sim.run(error_of(broker.worker<killer>("a").call<&killer::kill>(&broker)));
    // Whoever closes the circle is refused: the call in on_stop, or the wait for the removal.
    if (thrown) {
      REQUIRE(code_in(thrown) == errc::deadlock);
      REQUIRE(dead.count() == 0);
      continue;
    }
    ++stops_refused;
    REQUIRE(dead.count() == 1);
    REQUIRE(dead.at(0).method == "on_stop");
    REQUIRE(dead.at(0).error.find("deadlock") != std::string::npos);
  }
  REQUIRE(stops_refused > 0);
}

TEST_CASE("on_start may call its own worker: the turn nests", "[broker][hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto p = broker.worker<narcissus>();
  REQUIRE(sim.run([](troupe::proxy<narcissus> n) -> task<int> {
    co_return co_await n.call<&narcissus::get>();
  }(p)) == 41);
}

}  // namespace hooks_tests

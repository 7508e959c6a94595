// SPDX-License-Identifier: MIT
// run, run_until_signal, spawn, whose threads a broker uses, and proxies that outlive their broker.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace run_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count instances;

struct counter {
  int add(int n) { return total += n; }
  task<int> add_later(int n) {
    co_await troupe::yield();
    co_return total += n;
  }
  int total = 0;
  counted me{instances};
};

struct linked {
  explicit linked(troupe::context& c) : ctx(c) {}
  task<> meet(troupe::proxy<linked> other) {
    friend_ = other;
    const int n = co_await friend_.call<&linked::touch>();
    static_cast<void>(n);
  }
  task<int> touch_friend() { co_return co_await friend_.call<&linked::touch>(); }
  int touch() { return 1; }
  troupe::context& ctx;
  troupe::proxy<linked> friend_;
  counted me{instances};
};

task<int> forty_two() { co_return 42; }
task<std::unique_ptr<int>> move_only() { co_return std::make_unique<int>(7); }
task<> fail() {
  throw std::runtime_error("mine");
  co_return;
}
task<int> sum_of_calls(troupe::broker& broker) {
  auto p = broker.worker<counter>("k");
  const int a = co_await p.call<&counter::add>(1);
  const int b = co_await p.call<&counter::add_later>(1);
  co_return a + b;
}

}  // namespace

TEST_CASE("run gives the result of its task, or its exception", "[broker][run]") {
  troupe::broker broker({.threads = 1});
  REQUIRE(broker.run(forty_two()) == 42);
  REQUIRE(*broker.run(move_only()) == 7);
  REQUIRE_THROWS_WITH(broker.run(fail()), "mine");
  REQUIRE(broker.run(sum_of_calls(broker)) == 3);
}

TEST_CASE("a broker runs on a pool of the user's", "[broker][run]") {
  troupe::thread_pool pool({.threads = 2});
  troupe::proxy<counter> p;
  {
    troupe::broker broker({.on = &pool});
    REQUIRE(broker.run(sum_of_calls(broker)) == 3);
    p = broker.worker<counter>("k");
    for (int i = 0; i < 100; ++i) REQUIRE(p.tell<&counter::add_later>(1));
  }
  REQUIRE(instances.living() == 0);
  REQUIRE(troupe::sync_wait(code_of(p.call<&counter::add>(1))) == errc::broker_gone);
}

TEST_CASE("a broker runs on a simulation", "[broker][run]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    troupe::sim_executor sim({.seed = seed, .threads = 1 + static_cast<unsigned>(seed % 4)});
    {
      troupe::broker broker({.on = &sim});
      REQUIRE(sim.run(sum_of_calls(broker)) == 3);
      REQUIRE(broker.run(sum_of_calls(broker)) == 7);
      for (int i = 0; i < 20; ++i) REQUIRE(broker.worker<counter>("t").tell<&counter::add>(1));
    }
    REQUIRE(instances.living() == 0);
  }
}

TEST_CASE("two brokers in one process share nothing", "[broker][run]") {
  troupe::broker one({.threads = 1});
  std::optional<troupe::broker> two;
  two.emplace(troupe::broker_options{.threads = 1});
  auto p = one.worker<counter>("k");
  auto q = two->worker<counter>("k");
  REQUIRE(troupe::sync_wait(p.call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(q.call<&counter::add>(5)) == 5);
  REQUIRE(one.run([](auto a, auto b) -> task<int> {
    auto both = co_await troupe::when_all(a.template call<&counter::add>(1),
                                          b.template call<&counter::add_later>(1));
    co_return std::get<0>(both) * 100 + std::get<1>(both);
  }(p, q)) == 206);
  REQUIRE(one.worker_count() == 1);
  two.reset();
  REQUIRE(troupe::sync_wait(p.call<&counter::add>(1)) == 3);
  REQUIRE(troupe::sync_wait(code_of(q.call<&counter::add>(1))) == errc::broker_gone);
}

TEST_CASE("two brokers on one pool, one ending while the other works", "[broker][run]") {
  troupe::thread_pool pool({.threads = 2});
  troupe::broker stays({.on = &pool});
  auto p = stays.worker<counter>("k");
  for (int round = 0; round < 50; ++round) {
    troupe::broker goes({.on = &pool});
    for (int i = 0; i < 20; ++i) {
      REQUIRE(goes.worker<counter>(std::to_string(i)).tell<&counter::add_later>(1));
      REQUIRE(p.tell<&counter::add>(1));
    }
  }
  REQUIRE(troupe::sync_wait(p.call<&counter::add>(0)) == 1000);
}

// --- proxies that outlive their broker
// -------------------------------------------------------------

namespace {

void check_gone(const troupe::proxy<counter>& p, dead_letters& dead) {
  const auto thrown = troupe::sync_wait(error_of(p.call<&counter::add>(1)));
  REQUIRE(code_in(thrown) == errc::broker_gone);
  REQUIRE(what_of(thrown).find("counter(\"" + std::string(p.key()) + "\")") != std::string::npos);
  REQUIRE(troupe::sync_wait(code_of(p.call<&counter::add_later>(1))) == errc::broker_gone);
  REQUIRE(troupe::sync_wait(code_of(p.call<&counter::add>(1).within(1h))) == errc::broker_gone);
  REQUIRE(troupe::sync_wait(code_of(p.call<&counter::add_later>(1).within(1h))) ==
          errc::broker_gone);
  const std::size_t before = dead.count();
  REQUIRE_FALSE(p.tell<&counter::add>(1));
  REQUIRE_FALSE(p.tell<&counter::add_later>(1));
  REQUIRE(dead.count() == before + 2);
  REQUIRE(dead.at(before).reason == "broker gone");
  const auto f = p.function<&counter::add>();
  REQUIRE(troupe::sync_wait(code_of(f(1))) == errc::broker_gone);
  const troupe::proxy<counter> copy = p;
  REQUIRE(copy.id() == p.id());
}

}  // namespace

TEST_CASE("a proxy whose broker is gone settles broker_gone", "[broker][gone]") {
  dead_letters dead;
  troupe::proxy<counter> used;
  troupe::proxy<counter> unused;
  {
    troupe::broker broker({.threads = 1, .on_dead_letter = dead.collector()});
    used = broker.worker<counter>("used");
    unused = broker.worker<counter>("unused");
    REQUIRE(troupe::sync_wait(used.call<&counter::add>(1)) == 1);
  }
  check_gone(used, dead);
  check_gone(unused, dead);
  REQUIRE(instances.living() == 0);
}

TEST_CASE("the same where the broker's executor is gone as well", "[broker][gone]") {
  dead_letters dead;
  troupe::proxy<counter> p;
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim, .on_dead_letter = dead.collector()});
    p = broker.worker<counter>("x");
    REQUIRE(troupe::sync_wait(p.call<&counter::add>(1)) == 1);
  }
  check_gone(p, dead);
}

TEST_CASE("workers that hold each other's proxies go with their broker", "[broker][gone]") {
  {
    troupe::broker broker({.threads = 2});
    auto a = broker.worker<linked>("a");
    auto b = broker.worker<linked>("b");
    troupe::sync_wait(a.call<&linked::meet>(b));
    troupe::sync_wait(b.call<&linked::meet>(a));
    troupe::sync_wait(a.call<&linked::meet>(a));
    REQUIRE(troupe::sync_wait(b.call<&linked::touch_friend>()) == 1);
  }
  REQUIRE(instances.living() == 0);
}

// --- spawn ---------------------------------------------------------------------------------------

namespace {

task<> wait_to_be_stopped(std::atomic<int>& started, std::atomic<int>& ended) {
  ++started;
  try {
    co_await troupe::sleep_for(24h);
  } catch (const troupe::error&) {
    ++ended;
    throw;
  }
}
task<> call_at_the_end(troupe::broker& broker, std::atomic<int>& got) {
  const std::exception_ptr stopped = co_await error_of(troupe::sleep_for(24h));
  // It was asked to stop: its own calls are cancelled before they start.
  const std::error_code code = co_await code_of(broker.worker<counter>().call<&counter::add>(1));
  got = stopped && code == errc::cancelled ? 1 : 2;
}

}  // namespace

TEST_CASE("what was spawned is asked to stop and awaited when the broker goes", "[broker][spawn]") {
  std::atomic<int> started{0};
  std::atomic<int> ended{0};
  std::atomic<int> got{0};
  {
    troupe::broker broker({.threads = 2});
    for (int i = 0; i < 100; ++i) broker.spawn(wait_to_be_stopped(started, ended));
    broker.spawn(call_at_the_end(broker, got));
    broker.run(
        [](std::atomic<int>& s) -> task<> { co_await until([&] { return s == 100; }); }(started));
    REQUIRE(ended == 0);
  }
  REQUIRE(ended == 100);
  REQUIRE(got == 1);
}

TEST_CASE("an error of what was spawned is a dead letter and stops nobody", "[broker][spawn]") {
  dead_letters dead;
  std::atomic<int> done{0};
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim, .on_dead_letter = dead.collector()});
    broker.spawn(fail());
    broker.spawn([](std::atomic<int>& d) -> task<> {
      co_await troupe::sleep_for(1s);
      ++d;
    }(done));
    sim.advance(2s);
  }
  REQUIRE(done == 1);
  REQUIRE(dead.count() == 1);
  REQUIRE(dead.at(0).method == "spawn");
  REQUIRE(dead.at(0).error == "mine");
}

TEST_CASE("a dead letter handler that throws harms nobody", "[broker][spawn]") {
  troupe::sim_executor sim;
  int reports = 0;
  troupe::broker broker({.on = &sim, .on_dead_letter = [&](const troupe::dead_letter&) {
                           ++reports;
                           throw std::runtime_error("in the handler");
                         }});
  broker.spawn(fail());
  sim.advance(1s);
  REQUIRE(reports == 1);
  REQUIRE(sim.run(sum_of_calls(broker)) == 3);
}

// --- signals -------------------------------------------------------------------------------------

namespace {

task<int> raise_and_wait(int signal) {
  std::raise(signal);
  const auto thrown = co_await error_of(troupe::sleep_for(24h));
  co_return code_in(thrown) == errc::cancelled ? signal : -1;
}
task<> raise_and_give_up() {
  std::raise(SIGTERM);
  co_await troupe::sleep_for(24h);
}
task<int> no_signal(troupe::broker& broker) {
  auto p = broker.worker<counter>();
  const int n = co_await p.call<&counter::add>(5);
  const auto token = co_await troupe::this_task::stop_token();
  co_return token.stop_requested() ? -1 : n;
}

std::atomic<int> seen_by_the_program{0};
void note_signal(int) { ++seen_by_the_program; }

}  // namespace

TEST_CASE("SIGINT and SIGTERM ask the root to stop", "[broker][signals]") {
  troupe::broker broker({.threads = 1});
  for (const int signal : {SIGINT, SIGTERM, SIGINT, SIGTERM}) {
    REQUIRE(broker.run_until_signal(raise_and_wait(signal)) == signal);
  }
  REQUIRE_THROWS_AS(broker.run_until_signal(raise_and_give_up()), troupe::error);
}

TEST_CASE("a run without a signal after one with a signal is not stopped", "[broker][signals]") {
  troupe::broker broker({.threads = 1});
  for (int i = 0; i < 50; ++i) {
    REQUIRE(broker.run_until_signal(raise_and_wait(SIGTERM)) == SIGTERM);
    REQUIRE(broker.run_until_signal(no_signal(broker)) == 5);
  }
}

TEST_CASE("after run_until_signal all workers are drained, and the broker is usable",
          "[broker][signals]") {
  troupe::broker broker({.threads = 1});
  REQUIRE(broker.run_until_signal(no_signal(broker)) == 5);
  REQUIRE(broker.worker_count() == 0);
  REQUIRE(broker.run(sum_of_calls(broker)) == 3);
  REQUIRE_THROWS_WITH(broker.run_until_signal(fail()), "mine");
  REQUIRE(broker.worker_count() == 0);
}

TEST_CASE("run_until_signal gives the handlers of the program back", "[broker][signals]") {
  auto* const before = std::signal(SIGTERM, &note_signal);
  troupe::broker broker({.threads = 1});
  REQUIRE(broker.run_until_signal(raise_and_wait(SIGTERM)) == SIGTERM);
  REQUIRE(seen_by_the_program == 0);
  std::raise(SIGTERM);
  REQUIRE(seen_by_the_program == 1);
  std::signal(SIGTERM, before);
}

}  // namespace run_tests

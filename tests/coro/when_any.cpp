// SPDX-License-Identifier: MIT
// Awaiting the first of several: which it was, and that the others have ended by then.

#include <troupe/coro/when_any.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include <troupe/base/error.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace when_any_tests {
namespace {

using namespace std::chrono_literals;
using troupe::sync_wait;
using troupe::task;
using troupe::when_any;

task<int> after(troupe::duration d, int value) {
  co_await troupe::sleep_for(d);
  co_return value;
}
task<std::string> text_after(troupe::duration d, const char* text) {
  co_await troupe::sleep_for(d);
  co_return text;
}
task<int> fail_after(troupe::duration d, const char* what) {
  co_await troupe::sleep_for(d);
  throw std::runtime_error(what);
}
task<> slow_to_stop(std::string& log) {
  try {
    co_await troupe::sleep_for(1h);
  } catch (const troupe::error&) {
    log += "asked ";
  }
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  log += "ended ";
}

task<int> racing_sleeps(int rounds) {
  int first = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto winner =
        co_await when_any(troupe::sleep_for(std::chrono::microseconds(i % 50)),
                          troupe::sleep_for(std::chrono::microseconds(25)), troupe::yield());
    first += winner.index() < 3 ? 1 : 0;
  }
  co_return first;
}

}  // namespace

TEST_CASE("when_any gives the first result under its index", "[coro][when_any]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  const auto winner = sim.run(when_any(after(3s, 1), text_after(1s, "second"), after(2s, 3)));
  REQUIRE(winner.index() == 1);
  REQUIRE(std::get<1>(winner) == "second");
  REQUIRE(sim.now() - start == 1s);
}

TEST_CASE("when_any tells equal types apart", "[coro][when_any]") {
  troupe::sim_executor sim;
  const auto winner = sim.run(when_any(after(2s, 1), after(1s, 2)));
  REQUIRE(winner.index() == 1);
  REQUIRE(std::get<1>(winner) == 2);
}

TEST_CASE("when_any of one gives that one", "[coro][when_any]") {
  const auto winner = sync_wait(when_any(after(0s, 5)));
  REQUIRE(std::get<0>(winner) == 5);
}

TEST_CASE("the losers of when_any have been asked to stop and have ended", "[coro][when_any]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    troupe::sim_executor sim({.seed = seed});
    std::string log;
    const auto winner = sim.run(when_any(slow_to_stop(log), after(1s, 2)));
    REQUIRE(winner.index() == 1);
    REQUIRE(log == "asked ended ");
  }
}

TEST_CASE("when the first to end fails, when_any throws its error", "[coro][when_any]") {
  troupe::sim_executor sim;
  REQUIRE_THROWS_WITH(sim.run(when_any(after(2s, 1), fail_after(1s, "first"))), "first");
}

TEST_CASE("an error after the first result is nobody's", "[coro][when_any]") {
  troupe::sim_executor sim;
  const auto winner = sim.run(when_any(after(1s, 1), fail_after(2s, "late")));
  REQUIRE(winner.index() == 0);
}

TEST_CASE("sleeps race each other on a pool", "[coro][when_any]") {
  constexpr int rounds = 2000;
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, racing_sleeps(rounds)) == rounds);
  REQUIRE(sync_wait(racing_sleeps(rounds)) == rounds);
}

}  // namespace when_any_tests

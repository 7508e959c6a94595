// SPDX-License-Identifier: MIT
// Awaiting several at once: results in order, the first error, and that nobody is left behind.
// Order and time are the simulator's; a pool shows that they really run beside each other.

#include <troupe/coro/when_all.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace when_all_tests {
namespace {

using namespace std::chrono_literals;
using troupe::sync_wait;
using troupe::task;
using troupe::when_all;

task<int> give(int value) { co_return value; }
task<> nothing() { co_return; }
struct [[nodiscard]] verdict {
  int number = 0;
};
task<verdict> judge(int number) {
  verdict v;
  v.number = number;
  co_return v;
}
task<int&> give_reference(int& target) { co_return target; }
task<std::unique_ptr<int>> give_pointer(int value) { co_return std::make_unique<int>(value); }
task<int> after(troupe::duration d, int value) {
  co_await troupe::sleep_for(d);
  co_return value;
}
task<int> fail_after(troupe::duration d, const char* what) {
  co_await troupe::sleep_for(d);
  throw std::runtime_error(what);
}
task<int> fail_at_once(const char* what) {
  throw std::runtime_error(what);
  co_return 0;
}

/// Sleeps for an hour unless it is stopped; says how it ended.
task<int> long_sleep(std::string& log) {
  try {
    co_await troupe::sleep_for(1h);
    log += "slept ";
  } catch (const troupe::error& e) {
    log += e.code() == std::errc::operation_canceled ? "stopped " : "failed ";
    throw;
  }
  co_return 0;
}

/// Notes that it has ended, some time after it was asked to.
task<> slow_to_stop(std::string& log) {
  try {
    co_await troupe::sleep_for(1h);
  } catch (const troupe::error&) {
    log += "asked ";
  }
  for (int i = 0; i < 10; ++i) co_await troupe::yield();
  log += "ended ";
}

task<> log_and_fail(std::string& log, task<int> failing, task<> other) {
  try {
    co_await when_all(std::move(failing), std::move(other));
  } catch (const std::runtime_error& e) {
    log += e.what();
  }
}

/// Awaits, and is suspended by nothing that it awaits, until somebody sets `flag`.
task<int> busy_until(const bool& flag) {
  int rounds = 0;
  while (!flag) rounds += co_await give(1);
  co_return rounds;
}

task<> set_flag(bool& flag) {
  flag = true;
  co_return;
}

}  // namespace

TEST_CASE("when_all gives the results in the order of its arguments", "[coro][when_all]") {
  int target = 3;
  auto [number, none, reference, pointer] =
      sync_wait(when_all(give(1), nothing(), give_reference(target), give_pointer(4)));
  REQUIRE(number == 1);
  static_assert(std::is_same_v<decltype(none), std::monostate>);
  REQUIRE(&reference == &target);
  REQUIRE(*pointer == 4);
}

TEST_CASE("when_all of nothing gives nothing", "[coro][when_all]") {
  REQUIRE(std::tuple_size_v<decltype(sync_wait(when_all()))> == 0);
  REQUIRE(sync_wait(when_all(std::vector<task<int>>())).empty());
  sync_wait(when_all(std::vector<task<>>()));
}

TEST_CASE("when_all takes any number of tasks of one type", "[coro][when_all]") {
  std::vector<task<int>> tasks;
  for (int i = 0; i < 1000; ++i) tasks.push_back(give(i));
  const std::vector<int> results = sync_wait(when_all(std::move(tasks)));
  REQUIRE(results.size() == 1000);
  for (int i = 0; i < 1000; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == i);
}

// That this compiles without a warning is the test.
TEST_CASE("results that are not to be discarded are given by when_all", "[coro][when_all]") {
  std::vector<task<verdict>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(judge(i));
  REQUIRE(sync_wait(when_all(std::move(tasks)))[2].number == 2);
  REQUIRE(std::get<0>(sync_wait(when_all(judge(4), nothing()))).number == 4);
}

TEST_CASE("when_all takes any number of tasks without result", "[coro][when_all]") {
  std::vector<task<>> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(nothing());
  sync_wait(when_all(std::move(tasks)));
}

TEST_CASE("when_all takes awaitables that are no tasks", "[coro][when_all]") {
  const auto results = sync_wait(when_all(troupe::yield(), give(2), troupe::sleep_for(0ns)));
  REQUIRE(std::get<1>(results) == 2);
}

TEST_CASE("what when_all awaits runs beside each other", "[coro][when_all]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  const auto results = sim.run(when_all(after(3s, 1), after(1s, 2), after(2s, 3)));
  REQUIRE(results == std::tuple(1, 2, 3));
  REQUIRE(sim.now() - start == 3s);
}

TEST_CASE("the first error of when_all wins; the others are stopped and awaited",
          "[coro][when_all]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    troupe::sim_executor sim({.seed = seed});
    const troupe::time_point start = sim.now();
    std::string log;
    sim.run(log_and_fail(log, fail_after(1s, "first"), slow_to_stop(log)));
    REQUIRE(log == "asked ended first");
    REQUIRE(sim.now() - start == 1s);
  }
}

TEST_CASE("an error that comes at once stops those that start after it", "[coro][when_all]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    troupe::sim_executor sim({.seed = seed});
    std::string log;
    sim.run(log_and_fail(log, fail_at_once("first"), slow_to_stop(log)));
    REQUIRE(log == "asked ended first");
  }
}

TEST_CASE("the error that came first is thrown, not one that a stop caused", "[coro][when_all]") {
  troupe::sim_executor sim;
  std::string log;
  REQUIRE_THROWS_WITH(
      sim.run(when_all(long_sleep(log), fail_after(2s, "late"), fail_after(1s, "early"))), "early");
  REQUIRE(log == "stopped ");

  std::vector<task<int>> tasks;
  tasks.push_back(long_sleep(log));
  tasks.push_back(fail_after(1s, "early"));
  REQUIRE_THROWS_WITH(sim.run(when_all(std::move(tasks))), "early");
  REQUIRE(log == "stopped stopped ");
}

namespace {

task<> meet(std::atomic<int>& arrived, int expected) {
  arrived.fetch_add(1);
  constexpr int limit = 500'000'000;
  for (int i = 0; i < limit && arrived.load() < expected; ++i) std::this_thread::yield();
  co_return;
}

task<int> meet_two() {
  std::atomic<int> arrived{0};
  co_await when_all(meet(arrived, 2), meet(arrived, 2));
  co_return arrived.load();
}

task<long> tree(int depth) {
  if (depth == 0) co_return 1;
  auto [left, right] = co_await when_all(tree(depth - 1), tree(depth - 1));
  co_return left + right;
}

task<int> some_fail(int index) {
  if (index % 3 == 0) co_await troupe::yield();
  if (index % 7 == 0) throw std::runtime_error("seven");
  co_return index;
}

task<int> count_failures(int rounds) {
  int failures = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<task<int>> tasks;
    for (int i = 0; i < 8; ++i) tasks.push_back(some_fail(round + i));
    const auto outcome = co_await troupe::as_result(when_all(std::move(tasks)));
    if (!outcome.has_value()) ++failures;
  }
  co_return failures;
}

}  // namespace

TEST_CASE("children of when_all run on different threads of a pool", "[coro][when_all]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, meet_two()) == 2);
  REQUIRE(troupe::detail::block_on(meet_two(), &pool) == 2);
}

TEST_CASE("when_all nests", "[coro][when_all]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(sync_wait(tree(10)) == 1024);
  REQUIRE(troupe::test::run_on(pool, tree(12)) == 4096);
}

TEST_CASE("errors and results of when_all race on a pool", "[coro][when_all]") {
  troupe::thread_pool pool({.threads = 3});
  REQUIRE(troupe::test::run_on(pool, count_failures(500)) == 500);
}

TEST_CASE("a child that is never suspended keeps none of its siblings from their start",
          "[coro][when_all]") {
  bool flag = false;
  const auto results = sync_wait(when_all(busy_until(flag), set_flag(flag)));
  CHECK(std::get<0>(results) > 0);
  CHECK(flag);
}

TEST_CASE("children that share one thread start in their order", "[coro][when_all]") {
  std::string log;
  const auto note = [](std::string& l, char c) -> task<> {
    l += c;
    co_return;
  };
  sync_wait(when_all(note(log, 'a'), note(log, 'b'), note(log, 'c')));
  CHECK(log == "abc");
}

}  // namespace when_all_tests

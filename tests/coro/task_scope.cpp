// SPDX-License-Identifier: MIT
// Children that do not outlive their scope: when they start, how they fail, how they are stopped.

#include <troupe/coro/task_scope.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace task_scope_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;
using troupe::task_scope;
using troupe::with_scope;

task<> count(std::atomic<int>& counter) {
  counter.fetch_add(1);
  co_return;
}
task<> count_later(std::atomic<int>& counter, int yields) {
  for (int i = 0; i < yields; ++i) co_await troupe::yield();
  counter.fetch_add(1);
}
task<> fail_after(troupe::duration d, const char* what) {
  co_await troupe::sleep_for(d);
  throw std::runtime_error(what);
}
task<> until_stopped(std::string& log) {
  try {
    co_await troupe::sleep_for(1h);
  } catch (const troupe::error&) {
    log += "stopped ";
    throw;
  }
}

task<int> spawn_many(int children) {
  std::atomic<int> counter{0};
  task_scope scope;
  for (int i = 0; i < children; ++i) scope.spawn(count_later(counter, i % 5));
  co_await scope.join();
  co_return counter.load();
}

task<> spawn_tree(task_scope& scope, std::atomic<int>& counter, int depth) {
  counter.fetch_add(1);
  if (depth == 0) co_return;
  scope.spawn(spawn_tree(scope, counter, depth - 1));
  scope.spawn(spawn_tree(scope, counter, depth - 1));
}

task<int> tree(int depth) {
  std::atomic<int> counter{0};
  task_scope scope;
  scope.spawn(spawn_tree(scope, counter, depth));
  co_await scope.join();
  co_return counter.load();
}

task<> join_it(task_scope& scope) { co_await scope.join(); }

task<std::string> join_twice() {
  std::string caught;
  task_scope scope;
  scope.spawn(fail_after(1s, "once"));
  try {
    co_await scope.join();
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  std::atomic<int> counter{0};
  scope.spawn(count(counter));
  co_await scope.join();
  co_return caught + std::to_string(counter.load());
}

task<> first_error(std::string& log) {
  task_scope scope;
  scope.spawn(until_stopped(log));
  scope.spawn(fail_after(2s, "late"));
  scope.spawn(fail_after(1s, "early"));
  co_await scope.join();
}

task<std::error_code> stop_children(std::string& log) {
  task_scope scope;
  scope.spawn(until_stopped(log));
  scope.spawn(until_stopped(log));
  co_await troupe::sleep_for(1s);
  scope.request_stop();
  const std::error_code code = co_await troupe::test::code_of(scope.join());
  co_return code;
}

task<> stop_from_above(std::string& log) {
  task_scope scope;
  scope.spawn(until_stopped(log));
  co_await scope.join();
}

task<> note_deadline(troupe::time_point& deadline, troupe::trace_context& trace) {
  deadline = co_await troupe::this_task::deadline();
  trace = co_await troupe::this_task::trace();
}

task<bool> child_inherits() {
  troupe::time_point deadline;
  troupe::trace_context trace;
  task_scope scope;
  scope.spawn(note_deadline(deadline, trace));
  co_await scope.join();
  const troupe::time_point mine = co_await troupe::this_task::deadline();
  const troupe::trace_context my_trace = co_await troupe::this_task::trace();
  co_return deadline == mine&& trace == my_trace&& mine != troupe::time_point::max();
}

}  // namespace

TEST_CASE("a scope is joined when no child is left", "[coro][scope]") {
  REQUIRE(sync_wait(spawn_many(100)) == 100);
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, spawn_many(5000)) == 5000);
  REQUIRE(troupe::detail::block_on(spawn_many(1000), &pool) == 1000);
}

TEST_CASE("children may spawn children", "[coro][scope]") {
  REQUIRE(sync_wait(tree(8)) == 511);
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, tree(11)) == 4095);
}

TEST_CASE("a scope made outside of coroutines starts its children when it is joined",
          "[coro][scope]") {
  std::atomic<int> counter{0};
  task_scope scope;
  scope.spawn(count(counter));
  scope.spawn(count_later(counter, 3));
  REQUIRE(counter.load() == 0);
  sync_wait(scope.join());
  REQUIRE(counter.load() == 2);
}

TEST_CASE("a scope made outside of coroutines stops its children like any other", "[coro][scope]") {
  {
    troupe::sim_executor sim;
    std::string log;
    task_scope scope;
    scope.spawn(until_stopped(log));
    scope.spawn(fail_after(1s, "early"));
    REQUIRE_THROWS_WITH(sim.run(join_it(scope)), "early");
    REQUIRE(log == "stopped ");
  }
  troupe::sim_executor sim;
  std::string log;
  task_scope scope;
  scope.spawn(until_stopped(log));
  scope.request_stop();
  const std::error_code code = sim.run(troupe::test::code_of(join_it(scope)));
  REQUIRE(code == errc::cancelled);
  REQUIRE(log == "stopped ");
}

TEST_CASE("an empty scope is joined at once, as often as one likes", "[coro][scope]") {
  task_scope scope;
  sync_wait(scope.join());
  sync_wait(join_it(scope));
}

TEST_CASE("join throws the error of the child that failed first; the others are stopped",
          "[coro][scope]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  std::string log;
  REQUIRE_THROWS_WITH(sim.run(first_error(log)), "early");
  REQUIRE(log == "stopped ");
  REQUIRE(sim.now() - start == 1s);
}

TEST_CASE("join throws an error once, and the scope can be used again", "[coro][scope]") {
  troupe::sim_executor sim;
  REQUIRE(sim.run(join_twice()) == "once1");
}

TEST_CASE("a stop of a scope reaches its children", "[coro][scope]") {
  troupe::sim_executor sim;
  std::string log;
  REQUIRE(sim.run(stop_children(log)) == errc::cancelled);
  REQUIRE(log == "stopped stopped ");
}

TEST_CASE("a stop from above a scope reaches its children", "[coro][scope]") {
  troupe::sim_executor sim;
  std::string log;
  const std::error_code code =
      sim.run(troupe::test::code_of(troupe::within(stop_from_above(log), 1s)));
  REQUIRE(code == errc::timed_out);
  REQUIRE(log == "stopped ");
}

TEST_CASE("children inherit deadline and trace", "[coro][scope]") {
  troupe::sim_executor sim;
  REQUIRE(sim.run(troupe::within(child_inherits(), 5s)));
}

namespace {

task<int> body_with_children(task_scope& scope, std::atomic<int>& counter) {
  for (int i = 0; i < 10; ++i) scope.spawn(count_later(counter, i));
  co_return 5;
}

task<int> throwing_body(task_scope& scope, std::string& log) {
  scope.spawn(until_stopped(log));
  co_await troupe::sleep_for(1s);
  throw std::runtime_error("body");
}

task<> body_with_failing_child(task_scope& scope) {
  scope.spawn(fail_after(1s, "child"));
  co_return;
}

task<std::unique_ptr<int>> move_only_body(task_scope&) { co_return std::make_unique<int>(6); }

}  // namespace

TEST_CASE("with_scope gives the result of its body once the children have ended", "[coro][scope]") {
  std::atomic<int> counter{0};
  auto body = [&counter](task_scope& scope) { return body_with_children(scope, counter); };
  REQUIRE(sync_wait(with_scope(body)) == 5);
  REQUIRE(counter.load() == 10);
  REQUIRE(*sync_wait(with_scope(&move_only_body)) == 6);
}

TEST_CASE("where the body of with_scope throws, its children are stopped and awaited",
          "[coro][scope]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  std::string log;
  auto body = [&log](task_scope& scope) { return throwing_body(scope, log); };
  REQUIRE_THROWS_WITH(sim.run(with_scope(body)), "body");
  REQUIRE(log == "stopped ");
  REQUIRE(sim.now() - start == 1s);
}

TEST_CASE("with_scope throws what a child threw", "[coro][scope]") {
  troupe::sim_executor sim;
  REQUIRE_THROWS_WITH(sim.run(with_scope(&body_with_failing_child)), "child");
}

namespace {

/// Takes its time to hear of a stop.
task<> slow_to_hear() {
  const troupe::stop_token stop = co_await troupe::this_task::stop_token();
  const auto wait_a_while = []() noexcept { std::this_thread::sleep_for(2ms); };
  const troupe::stop_callback hear(stop, wait_a_while);
  const auto slept = co_await troupe::as_result(troupe::sleep_for(1h));
  static_cast<void>(slept);
}

/// One child fails, and another one, stopped by that, comes to its end on another thread while the
/// rest are still being asked.
task<int> first_errors(int rounds) {
  int firsts = 0;
  for (int i = 0; i < rounds; ++i) {
    task_scope scope;
    scope.spawn(slow_to_hear());
    scope.spawn(fail_after(1h, "stopped"));
    scope.spawn(slow_to_hear());
    co_await troupe::sleep_for(1ms);
    scope.spawn(fail_after(0s, "first"));
    try {
      co_await scope.join();
    } catch (const std::runtime_error& e) {
      if (std::string(e.what()) == "first") ++firsts;
    }
  }
  co_return firsts;
}

}  // namespace

TEST_CASE("what a stop brings about is not the first error", "[coro][scope][stress]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, first_errors(20)) == 20);
}

namespace {

task<int> create_join_many(int rounds) {
  std::atomic<int> counter{0};
  for (int i = 0; i < rounds; ++i) {
    task_scope scope;
    scope.spawn(count(counter));
    scope.spawn(count_later(counter, 1));
    co_await scope.join();
  }
  co_return counter.load();
}

}  // namespace

TEST_CASE("a scope may go as soon as it is joined", "[coro][scope][stress]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, create_join_many(5000)) == 10'000);
}

}  // namespace task_scope_tests

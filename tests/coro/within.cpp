// SPDX-License-Identifier: MIT
// Time limits on anything that can be awaited: the result in time, the stop at the deadline, and
// that what was stopped is awaited.

#include <troupe/coro/within.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace within_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::within;
using troupe::test::code_of;

task<int> after(troupe::duration d, int value) {
  co_await troupe::sleep_for(d);
  co_return value;
}
task<int> at_once(int value) { co_return value; }
task<int> fail_after(troupe::duration d, const char* what) {
  co_await troupe::sleep_for(d);
  throw std::runtime_error(what);
}
task<> ignore_stop(troupe::duration d, std::string& log) {
  const troupe::stop_token token = co_await troupe::this_task::stop_token();
  const bool asked_before = token.stop_requested();
  log += asked_before ? "asked before " : "not asked ";
  auto sleeping = troupe::test::code_of(after(1h, 0));
  const std::error_code code = co_await std::move(sleeping);
  log += code == errc::cancelled ? "asked " : "slept ";
  for (troupe::duration slept{}; slept < d; slept += 1s) co_await troupe::yield();
  log += "ended ";
}

task<troupe::time_point> deadline_inside() {
  const troupe::time_point deadline = co_await troupe::this_task::deadline();
  co_return deadline;
}
task<troupe::time_point> deadline_within(troupe::duration d) {
  const troupe::time_point deadline = co_await within(deadline_inside(), d);
  co_return deadline;
}

task<int> limits_that_race(int rounds) {
  int ended = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto outcome =
        co_await troupe::as_result(within(after(20us, 1), std::chrono::microseconds(i % 40)));
    if (outcome.has_value() || outcome.code() == errc::timed_out) ++ended;
  }
  co_return ended;
}

task<int> nested_limits(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await within(nested_limits(depth - 1), 1h);
  co_return below + 1;
}

}  // namespace

TEST_CASE("within gives the result that comes in time", "[coro][within]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(within(after(1s, 7), 2s)) == 7);
  REQUIRE(sim.now() - start == 1s);
  REQUIRE(sim.run(within(at_once(8), 2s)) == 8);
  sim.run(within(troupe::sleep_for(1s), 2s));
}

TEST_CASE("within stops what takes too long and throws timed_out", "[coro][within]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(code_of(within(after(3s, 7), 2s))) == errc::timed_out);
  REQUIRE(sim.now() - start == 2s);
}

TEST_CASE("within awaits the end of what it has stopped", "[coro][within]") {
  troupe::sim_executor sim;
  std::string log;
  REQUIRE(sim.run(code_of(within(ignore_stop(20s, log), 1s))) == errc::timed_out);
  REQUIRE(log == "not asked asked ended ");
}

TEST_CASE("within passes an error on", "[coro][within]") {
  troupe::sim_executor sim;
  REQUIRE_THROWS_WITH(sim.run(within(fail_after(1s, "mine"), 2s)), "mine");
}

TEST_CASE("a limit in the past still lets run what does not wait", "[coro][within]") {
  troupe::sim_executor sim;
  REQUIRE(sim.run(within(at_once(8), -1s)) == 8);
  REQUIRE(sim.run(code_of(within(after(1s, 8), -1s))) == errc::timed_out);
}

TEST_CASE("the shorter of two limits holds", "[coro][within]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(code_of(within(within(after(9s, 1), 5s), 2s))) == errc::timed_out);
  REQUIRE(sim.now() - start == 2s);
  REQUIRE(sim.run(code_of(within(within(after(9s, 1), 2s), 5s))) == errc::timed_out);
  REQUIRE(sim.now() - start == 4s);
}

TEST_CASE("what runs below a limit sees the deadline", "[coro][within]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(deadline_inside()) == troupe::time_point::max());
  REQUIRE(sim.run(deadline_within(5s)) == start + 5s);
  REQUIRE(sim.run(within(deadline_within(5s), 2s)) == start + 2s);
  REQUIRE(sim.run(within(deadline_within(2s), 5s)) == start + 2s);
}

TEST_CASE("limits and what they limit race on a pool", "[coro][within][stress]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, limits_that_race(1000)) == 1000);
  REQUIRE(troupe::sync_wait(limits_that_race(200)) == 200);
}

TEST_CASE("limits nest on a bounded stack", "[coro][within]") {
  REQUIRE(troupe::sync_wait(nested_limits(10'000)) == 10'000);
}

}  // namespace within_tests

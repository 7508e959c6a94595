// SPDX-License-Identifier: MIT
// Sleeping by virtual time, where lengths are exact; by real time only lower bounds are checked.
// Stops come before, during and after the sleep.

#include <troupe/coro/sleep.hpp>

#include <chrono>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace sleep_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;

task<> log_after(troupe::duration d, std::string& log, const char* text) {
  co_await troupe::sleep_for(d);
  log += text;
}

task<> sleep_until_twice(troupe::time_point t) {
  co_await troupe::sleep_until(t);
  co_await troupe::sleep_until(t);  // has come: does not wait
}

task<> only_sleep(troupe::duration d) { co_await troupe::sleep_for(d); }

task<> note_code(troupe::duration d, std::error_code& code) {
  code = co_await troupe::test::code_of(only_sleep(d));
}

task<std::error_code> stop_before() {
  troupe::task_scope scope;
  std::error_code code;
  scope.request_stop();
  scope.spawn(note_code(1h, code));
  co_await scope.join();
  co_return code;
}

task<std::error_code> stop_after(troupe::duration sleep, troupe::duration stop) {
  troupe::task_scope scope;
  std::error_code code;
  scope.spawn(note_code(sleep, code));
  co_await troupe::sleep_for(stop);
  scope.request_stop();
  co_await scope.join();
  co_return code;
}

task<int> stop_and_expire_together(int rounds) {
  int ended = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::error_code code = co_await stop_after(20us, std::chrono::microseconds(i % 40));
    if (!code || code == errc::cancelled) ++ended;
  }
  co_return ended;
}

task<int> yields(int count) {
  for (int i = 0; i < count; ++i) co_await troupe::yield();
  co_return count;
}

task<> append_and_yield(std::string& log, char c) {
  for (int i = 0; i < 3; ++i) {
    log += c;
    co_await troupe::yield();
  }
}

task<std::string> alternate() {
  std::string log;
  co_await troupe::when_all(append_and_yield(log, 'a'), append_and_yield(log, 'b'));
  co_return log;
}

task<> zero_sleeps(int count) {
  for (int i = 0; i < count; ++i) co_await troupe::sleep_for(0ns);
}

}  // namespace

TEST_CASE("a sleep takes its time by the executor's clock", "[coro][sleep]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  std::string log;
  sim.run(log_after(90min, log, "x"));
  REQUIRE(sim.now() - start == 90min);
  sim.run(sleep_until_twice(start + 2h));
  REQUIRE(sim.now() - start == 2h);
}

TEST_CASE("sleepers wake in the order of their times", "[coro][sleep]") {
  troupe::sim_executor sim;
  std::string log;
  sim.run(troupe::when_all(log_after(3s, log, "c"), log_after(1s, log, "a"),
                           log_after(2s, log, "b"), log_after(1ns, log, "0")));
  REQUIRE(log == "0abc");
}

TEST_CASE("a sleep of no or negative length does not hang", "[coro][sleep]") {
  troupe::sim_executor sim;
  std::string log;
  sim.run(log_after(0s, log, "a"));
  sim.run(log_after(-5s, log, "b"));
  sync_wait(log_after(-5s, log, "c"));
  REQUIRE(log == "abc");
}

TEST_CASE("a single sleeper on a pool of one thread always wakes", "[coro][sleep]") {
  troupe::thread_pool pool({.threads = 1});
  troupe::test::run_on(pool, zero_sleeps(2000));
}

TEST_CASE("a stop ends a sleep, or keeps it from starting", "[coro][sleep]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(stop_before()) == errc::cancelled);
  REQUIRE(sim.now() == start);
  REQUIRE(sim.run(stop_after(1h, 1s)) == errc::cancelled);
  REQUIRE(sim.now() - start == 1s);
}

TEST_CASE("a stop after a sleep changes nothing", "[coro][sleep]") {
  troupe::sim_executor sim;
  REQUIRE(sim.run(stop_after(1s, 2s)) == std::error_code());
}

TEST_CASE("a stop and the end of a sleep race on a pool", "[coro][sleep][stress]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, stop_and_expire_together(500)) == 500);
}

TEST_CASE("a sleep by the real clock is not too short", "[coro][sleep]") {
  troupe::thread_pool pool({.threads = 2});
  std::string log;
  const auto start = std::chrono::steady_clock::now();
  troupe::test::run_on(pool, log_after(5ms, log, "x"));
  REQUIRE(std::chrono::steady_clock::now() - start >= 5ms);
}

TEST_CASE("a yield lets the others run first", "[coro][sleep]") {
  REQUIRE(sync_wait(alternate()) == "ababab");
  REQUIRE(sync_wait(yields(100'000)) == 100'000);
}

}  // namespace sleep_tests

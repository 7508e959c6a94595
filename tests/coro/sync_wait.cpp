// SPDX-License-Identifier: MIT
// Waiting for a coroutine from a thread: which thread it runs on, and where that is refused.

#include <troupe/coro/sync_wait.hpp>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace sync_wait_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;

task<int> give(int value) { co_return value; }

task<std::thread::id> thread_after_sleep() {
  co_await troupe::sleep_for(1ms);
  co_return std::this_thread::get_id();
}

std::error_code blocking_gives() {
  try {
    sync_wait(give(1));
  } catch (const troupe::error& e) {
    return e.code();
  }
  return {};
}

task<std::error_code> block_inside() { co_return blocking_gives(); }

task<std::error_code> block_offloaded() {
  const std::error_code code = co_await troupe::offload([] { return blocking_gives(); });
  co_return code;
}

task<troupe::trace_context> trace_inside() {
  const troupe::trace_context trace = co_await troupe::this_task::trace();
  co_return trace;
}

task<bool> offloaded_keeps_trace() {
  const troupe::trace_context mine = co_await troupe::this_task::trace();
  const troupe::trace_context below =
      co_await troupe::offload([] { return sync_wait(trace_inside()); });
  co_return mine == below;
}

task<int> sum(int rounds) {
  int total = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto [a, b] = co_await troupe::when_all(give(1), give(2));
    total += a + b;
  }
  co_return total;
}

}  // namespace

TEST_CASE("the root coroutine runs on the thread that waits for it", "[coro][sync_wait]") {
  REQUIRE(sync_wait(thread_after_sleep()) == std::this_thread::get_id());
}

TEST_CASE("blocking a thread that runs coroutines is refused", "[coro][sync_wait]") {
  REQUIRE(sync_wait(block_inside()) == errc::would_block);
  troupe::thread_pool pool({.threads = 1});
  REQUIRE(troupe::test::run_on(pool, block_inside()) == errc::would_block);
}

TEST_CASE("what is offloaded may block", "[coro][sync_wait]") {
  REQUIRE(sync_wait(block_offloaded()) == std::error_code());
  troupe::thread_pool pool({.threads = 1});
  REQUIRE(troupe::test::run_on(pool, block_offloaded()) == std::error_code());
}

TEST_CASE("what an offloaded function waits for is part of the chain", "[coro][sync_wait]") {
  REQUIRE(sync_wait(offloaded_keeps_trace()));
}

TEST_CASE("a sleep can be waited for by itself", "[coro][sync_wait]") {
  const auto start = std::chrono::steady_clock::now();
  sync_wait(troupe::sleep_for(2ms));
  REQUIRE(std::chrono::steady_clock::now() - start >= 2ms);
}

TEST_CASE("many threads wait at once, each with its own loop", "[coro][sync_wait]") {
  constexpr int rounds = 2000;
  troupe::thread_pool pool({.threads = 2});
  std::vector<int> sums(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    threads.emplace_back([&pool, &target = sums[i], i] {
      target = i % 2 == 0 ? sync_wait(sum(rounds)) : troupe::detail::block_on(sum(rounds), &pool);
    });
  }
  for (std::thread& t : threads) t.join();
  REQUIRE(sums == std::vector<int>(4, 3 * rounds));
}

}  // namespace sync_wait_tests

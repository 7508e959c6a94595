// SPDX-License-Identifier: MIT
// Blocking code away from the executor: where it runs, where the coroutine goes on, and that any
// number of blocked functions does not keep others from running.

#include <troupe/coro/offload.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace offload_tests {
namespace {

using troupe::offload;
using troupe::sync_wait;
using troupe::task;

struct places {
  std::thread::id offloaded;
  troupe::home* after;
};

task<places> where() {
  places p{};
  p.offloaded = co_await offload([] { return std::this_thread::get_id(); });
  p.after = troupe::test::loop_of_this_thread();
  co_return p;
}

task<int> results() {
  int target = 1;
  int& given = co_await offload([&target]() -> int& { return target; });
  given = 2;
  const std::unique_ptr<int> moved = co_await offload([] { return std::make_unique<int>(3); });
  co_await offload([&target] { target += 10; });
  co_return target + *moved;
}

task<> failing() {
  co_await offload([] { throw std::runtime_error("blocked badly"); });
}

/// Blocks its thread until all the others do the same.
task<int> meet(std::atomic<int>& arrived, int expected) {
  const int number = co_await offload([&arrived, expected] {
    const int mine = arrived.fetch_add(1);
    while (arrived.load() < expected) std::this_thread::yield();
    return mine;
  });
  co_return number;
}

task<int> meet_all(int count) {
  std::atomic<int> arrived{0};
  std::vector<task<int>> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(meet(arrived, count));
  const std::vector<int> numbers = co_await troupe::when_all(std::move(tasks));
  co_return static_cast<int>(numbers.size());
}

task<int> many(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await offload([] { return 1; });
  co_return sum;
}

}  // namespace

TEST_CASE("what is offloaded runs on another thread, and the coroutine comes back",
          "[coro][offload]") {
  troupe::thread_pool pool({.threads = 1});
  const places p = troupe::test::run_on(pool, where());
  REQUIRE(p.after == &pool);
  REQUIRE(p.offloaded != std::this_thread::get_id());
  REQUIRE(sync_wait(where()).offloaded != std::this_thread::get_id());
}

TEST_CASE("offload gives what the function returns or throws", "[coro][offload]") {
  REQUIRE(sync_wait(results()) == 15);
  REQUIRE_THROWS_WITH(sync_wait(failing()), "blocked badly");
}

TEST_CASE("more functions block at once than the pool has threads", "[coro][offload]") {
  troupe::thread_pool pool({.threads = 1});
  REQUIRE(troupe::test::run_on(pool, meet_all(24)) == 24);
}

TEST_CASE("offloading one after the other goes on and on", "[coro][offload]") {
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, many(2000)) == 2000);
}

}  // namespace offload_tests

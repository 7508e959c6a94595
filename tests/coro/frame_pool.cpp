// SPDX-License-Identifier: MIT
// That coroutines cost no allocation once a thread has seen their sizes, shown by counting what
// the program asks of `operator new`; and that blocks freed by other threads come back.

#include <troupe/coro/frame_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/coro/async_mutex.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/channel.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/coro/within.hpp>

#include "../support/catch.hpp"
#include "allocation_count.hpp"

namespace frame_pool_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::detail::allocate_frame;
using troupe::detail::deallocate_frame;

task<int> give(int value) { co_return value; }
task<int> yield_then(int value) {
  co_await troupe::yield();
  co_return value;
}
task<> use(troupe::async_semaphore& semaphore, int& counter) {
  co_await semaphore.acquire();
  ++counter;
  co_await troupe::yield();
  semaphore.release();
}
task<> lock(troupe::async_mutex& mutex, int& counter) {
  troupe::async_lock guard = co_await mutex.lock();
  ++counter;
  co_await troupe::yield();
}
task<> send(troupe::channel<int>& channel, int count) {
  for (int i = 0; i < count; ++i) {
    const bool sent = co_await channel.send(i);
    if (!sent) co_return;
  }
}
task<> receive(troupe::channel<int>& channel, int count, int& counter) {
  for (int i = 0; i < count; ++i) {
    const std::optional<int> value = co_await channel.receive();
    counter += value.has_value() ? 1 : 0;
  }
}

struct shared_parts {
  troupe::async_mutex mutex;
  troupe::async_semaphore semaphore{1};
  troupe::channel<int> channel{1};
};

task<int> one_round(shared_parts& parts) {
  int counter = 0;
  counter += co_await give(1);
  counter += co_await yield_then(1);
  const auto [a, b] = co_await troupe::when_all(give(1), yield_then(1));
  counter += a + b;
  const auto winner = co_await troupe::when_any(give(1), yield_then(2));
  counter += winner.index() == 0 ? 1 : 0;
  counter += co_await troupe::within(yield_then(1), 1h);
  {
    troupe::task_scope scope;
    scope.spawn(lock(parts.mutex, counter));
    scope.spawn(lock(parts.mutex, counter));
    scope.spawn(use(parts.semaphore, counter));
    scope.spawn(use(parts.semaphore, counter));
    scope.spawn(send(parts.channel, 3));
    scope.spawn(receive(parts.channel, 3, counter));
    co_await scope.join();
  }
  co_return counter;
}

constexpr int per_round = 13;

/// How many allocations `rounds` rounds take, once there was one. A negative number: wrong result.
task<long> allocations_of(int rounds) {
  shared_parts parts;
  int warm = 0;
  for (int i = 0; i < 3; ++i) warm += co_await one_round(parts);
  const long before = troupe::test::allocations();
  int total = 0;
  for (int i = 0; i < rounds; ++i) total += co_await one_round(parts);
  const long after = troupe::test::allocations();
  co_return warm == 3 * per_round&& total == rounds* per_round ? after - before : -1;
}

}  // namespace

TEST_CASE("coroutines allocate nothing in the steady state", "[coro][frame_pool]") {
  const long count = troupe::sync_wait(allocations_of(1000));
  REQUIRE(count >= 0);
  if (TROUPE_POOL_FRAMES != 0) REQUIRE(count == 0);
}

namespace {

task<long> allocations_of_plain(int rounds) {
  int warm = 0;
  for (int i = 0; i < 3; ++i) warm += co_await yield_then(1) + co_await give(1);
  const long before = troupe::test::allocations();
  long total = 0;
  for (int i = 0; i < rounds; ++i) {
    total += co_await give(1);
    total += co_await yield_then(1);
    const auto [a, b] = co_await troupe::when_all(give(1), yield_then(1));
    total += a + b;
  }
  const long after = troupe::test::allocations();
  co_return total == 4 * rounds ? after - before : -warm;
}

}  // namespace

TEST_CASE("tasks and when_all allocate nothing at all in the steady state", "[coro][frame_pool]") {
  troupe::sync_wait(allocations_of_plain(10));
  const long count = troupe::sync_wait(allocations_of_plain(1000));
  REQUIRE(count >= 0);
  if (TROUPE_POOL_FRAMES != 0) REQUIRE(count == 0);
}

TEST_CASE("memory of any size is usable to its last byte", "[coro][frame_pool]") {
  for (std::size_t size = 1; size <= 5000; size += 37) {
    void* const memory = allocate_frame(size);
    REQUIRE(reinterpret_cast<std::uintptr_t>(memory) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
    std::memset(memory, 0x5a, size);
    deallocate_frame(memory, size);
  }
}

TEST_CASE("memory that was given back is used again", "[coro][frame_pool]") {
  void* const first = allocate_frame(200);
  deallocate_frame(first, 200);
  void* const second = allocate_frame(200);
  if (TROUPE_POOL_FRAMES != 0) REQUIRE(first == second);
  deallocate_frame(second, 200);
}

TEST_CASE("blocks that one thread allocates and another frees come back", "[coro][frame_pool]") {
  constexpr std::size_t size = 333;  // a size that nothing else here uses
  constexpr int blocks = 256;
  const auto round_trip = [] {
    std::vector<void*> memory;
    memory.reserve(blocks);
    for (int i = 0; i < blocks; ++i) memory.push_back(allocate_frame(size));
    std::thread([&memory] {
      for (void* const m : memory) deallocate_frame(m, size);
      // What this thread has kept goes to the heap when it ends.
    }).join();
  };
  round_trip();
  for (int i = 0; i < 20; ++i) round_trip();
  SUCCEED("nothing is lost, which leak checkers confirm, and nothing is handed out twice");
}

TEST_CASE("threads allocate and free each other's blocks at once", "[coro][frame_pool][stress]") {
  constexpr int threads = 3;
  constexpr int rounds = 3000;
  std::atomic<void*> exchange[8] = {};
  std::atomic<bool> mixed_up{false};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&exchange, &mixed_up, t] {
      for (int i = 0; i < rounds; ++i) {
        void* const mine = allocate_frame(100);
        std::memset(mine, t, 100);
        const auto* const bytes = static_cast<const unsigned char*>(mine);
        if (bytes[0] != t || bytes[99] != t) mixed_up.store(true);
        void* const theirs = exchange[i % 8].exchange(mine, std::memory_order_acq_rel);
        if (theirs != nullptr) deallocate_frame(theirs, 100);
      }
    });
  }
  for (std::thread& w : workers) w.join();
  for (auto& left : exchange) {
    if (void* const m = left.load()) deallocate_frame(m, 100);
  }
  REQUIRE_FALSE(mixed_up.load());
}

}  // namespace frame_pool_tests

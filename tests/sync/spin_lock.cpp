// SPDX-License-Identifier: MIT

// One holder at a time: threads increment plain variables under the lock, and none is lost.

#include <troupe/sync/spin_lock.hpp>

#include "../support/catch.hpp"

#include <thread>
#include <vector>

TEST_CASE("a held lock cannot be taken again", "[spin_lock]") {
  troupe::spin_lock lock;
  REQUIRE(lock.try_lock());
  CHECK_FALSE(lock.try_lock());
  lock.unlock();
  {
    const troupe::spin_guard guard(lock);
    CHECK_FALSE(lock.try_lock());
  }
  CHECK(lock.try_lock());
  lock.unlock();
}

TEST_CASE("sections under a spin lock do not overlap", "[spin_lock][stress]") {
  constexpr int thread_count = 4;
  constexpr int rounds = 20'000;
  troupe::spin_lock lock;
  int first = 0;  // plain: only the lock keeps these apart
  int second = 0;
  bool torn = false;
  std::vector<std::thread> threads;
  for (int i = 0; i != thread_count; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round != rounds; ++round) {
        const troupe::spin_guard guard(lock);
        torn = torn || first != second;
        ++first;
        ++second;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK_FALSE(torn);
  CHECK(first == thread_count * rounds);
}

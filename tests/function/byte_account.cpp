// SPDX-License-Identifier: MIT
// That no more is held than may be, and that what fits is never refused.

#include <troupe/function/byte_account.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "../support/catch.hpp"

namespace byte_account_tests {

using troupe::detail::byte_account;

TEST_CASE("bytes are added as far as they fit", "[function]") {
  constexpr std::uint64_t all = (std::numeric_limits<std::uint64_t>::max)();
  byte_account account;
  REQUIRE(account.add(0, 0));
  REQUIRE_FALSE(account.add(1, 0));
  REQUIRE(account.add(60, 100));
  REQUIRE_FALSE(account.add(41, 100));
  REQUIRE_FALSE(account.add(all, 100));
  REQUIRE(account.add(40, 100));
  REQUIRE_FALSE(account.add(1, 100));
  REQUIRE_FALSE(account.add(1, 50));
  account.subtract(60);
  REQUIRE(account.add(60, 100));
  account.subtract(100);
  REQUIRE(account.add(all, all));
  REQUIRE_FALSE(account.add(1, all));
  account.subtract(all);
}

TEST_CASE("what does not fit refuses nobody else's bytes", "[function]") {
  constexpr int rounds = 300'000;
  byte_account account;
  std::atomic<bool> ends{false};
  std::atomic<int> too_much{0};
  std::thread greedy([&] {
    while (!ends.load()) {
      if (account.add(1000, 100)) ++too_much;
    }
  });
  int refused = 0;
  for (int i = 0; i != rounds; ++i) {
    if (account.add(60, 100)) {
      account.subtract(60);
    } else {
      ++refused;
    }
  }
  ends.store(true);
  greedy.join();
  REQUIRE(refused == 0);
  REQUIRE(too_much.load() == 0);
}

TEST_CASE("several threads never hold more than may be", "[function]") {
  byte_account account;
  std::atomic<int> held{0};
  std::atomic<int> most_held{0};
  std::vector<std::thread> threads;
  for (int t = 0; t != 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i != 50'000; ++i) {
        if (!account.add(40, 100)) continue;
        const int now = held.fetch_add(40) + 40;
        int before = most_held.load();
        while (before < now && !most_held.compare_exchange_weak(before, now)) {
        }
        held.fetch_sub(40);
        account.subtract(40);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  REQUIRE(most_held.load() > 0);
  REQUIRE(most_held.load() <= 100);
}

}  // namespace byte_account_tests

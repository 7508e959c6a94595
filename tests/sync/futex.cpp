// SPDX-License-Identifier: MIT

// Waiting ends by a wake-up, a changed word or a deadline, and nothing is missed in between.

#include <troupe/sync/futex.hpp>

#include "../support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace order = troupe::detail::order;
using word = troupe::detail::atomic<std::uint32_t>;
using std::chrono::steady_clock;

TEST_CASE("waiting for a word that has changed already returns at once", "[futex]") {
  const word w{1};
  troupe::futex_wait(w, 0);
  CHECK(troupe::futex_wait_until(w, 0, steady_clock::time_point::max()));
}

TEST_CASE("a wait ends when its deadline has passed, and says so", "[futex]") {
  const word w{0};
  CHECK_FALSE(troupe::futex_wait_until(w, 0, steady_clock::now() - std::chrono::hours(1)));
  CHECK_FALSE(troupe::futex_wait_until(w, 0, steady_clock::time_point()));
  CHECK_FALSE(troupe::futex_wait_until(w, 0, steady_clock::time_point::min()));
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(2);
  while (troupe::futex_wait_until(w, 0, deadline)) {
  }
  CHECK(steady_clock::now() >= deadline);
}

TEST_CASE("waking nobody does nothing", "[futex]") {
  const word w{0};
  troupe::futex_wake_one(&w);
  troupe::futex_wake_all(&w);
}

TEST_CASE("two threads hand a turn to and fro without missing one", "[futex][stress]") {
  constexpr std::uint32_t turns = 20'000;
  word turn{0};
  int plain = 0;
  const auto play = [&](std::uint32_t parity) {
    for (std::uint32_t mine = parity; mine < turns; mine += 2) {
      for (std::uint32_t seen; (seen = turn.load(order::acquire)) != mine;) {
        troupe::futex_wait(turn, seen);
      }
      ++plain;
      turn.store(mine + 1, order::release);
      troupe::futex_wake_one(&turn);
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  CHECK(plain == static_cast<int>(turns));
}

TEST_CASE("waking all lets every waiter go", "[futex][stress]") {
  constexpr int rounds = 200;
  for (int round = 0; round != rounds; ++round) {
    word gate{0};
    std::vector<std::thread> waiters;
    for (int i = 0; i != 3; ++i) {
      waiters.emplace_back([&] {
        while (gate.load(order::acquire) == 0) troupe::futex_wait(gate, 0);
      });
    }
    gate.store(1, order::release);
    troupe::futex_wake_all(&gate);
    for (std::thread& t : waiters) t.join();
  }
}

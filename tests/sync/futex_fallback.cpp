// SPDX-License-Identifier: MIT

// The fallback must work where nobody needs it, or it will not where somebody does: so its
// functions are called directly here. As in futex.cpp, no wake-up may be missed.

#include <troupe/sync/futex_fallback.hpp>

#include "../support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace order = troupe::detail::order;
using troupe::detail::fallback_wait;
using troupe::detail::fallback_wait_until;
using troupe::detail::fallback_wake;
using word = troupe::detail::atomic<std::uint32_t>;
using std::chrono::steady_clock;

TEST_CASE("the fallback does not wait for a word that has changed", "[futex_fallback]") {
  const word w{1};
  fallback_wait(w, 0);
  CHECK(fallback_wait_until(w, 0, steady_clock::time_point::max()));
  CHECK(fallback_wait_until(w, 0, steady_clock::time_point()));
}

TEST_CASE("the fallback keeps to its deadline", "[futex_fallback]") {
  const word w{0};
  CHECK_FALSE(fallback_wait_until(w, 0, steady_clock::now() - std::chrono::hours(1)));
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(2);
  while (fallback_wait_until(w, 0, deadline)) {
  }
  CHECK(steady_clock::now() >= deadline);
}

TEST_CASE("the fallback hands a turn to and fro without missing one", "[futex_fallback][stress]") {
  constexpr std::uint32_t turns = 20'000;
  word turn{0};
  int plain = 0;
  const auto play = [&](std::uint32_t parity) {
    for (std::uint32_t mine = parity; mine < turns; mine += 2) {
      for (std::uint32_t seen; (seen = turn.load(order::acquire)) != mine;) {
        fallback_wait(turn, seen);
      }
      ++plain;
      turn.store(mine + 1, order::release);
      fallback_wake(&turn);
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  CHECK(plain == static_cast<int>(turns));
}

TEST_CASE("words that share a bucket of the fallback do not swallow each other's wake-ups",
          "[futex_fallback][stress]") {
  for (int round = 0; round != 500; ++round) {
    word gates[2]{};  // neighbours, so in one bucket
    const auto wait_for = [&](word& gate) {
      while (gate.load(order::acquire) == 0) fallback_wait(gate, 0);
    };
    std::thread first(wait_for, std::ref(gates[0]));
    std::thread second(wait_for, std::ref(gates[1]));
    for (word& gate : gates) {
      gate.store(1, order::release);
      fallback_wake(&gate);
    }
    first.join();
    second.join();
  }
}

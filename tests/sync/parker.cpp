// SPDX-License-Identifier: MIT

// A permit is given at most once, never lost, and carries what was written before it.

#include <troupe/sync/parker.hpp>

#include "../support/catch.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

using std::chrono::steady_clock;

TEST_CASE("an unpark before a park lets it pass", "[parker]") {
  troupe::parker parker;
  parker.unpark();
  parker.park();
  parker.unpark();
  CHECK(parker.park_until(steady_clock::time_point::min()));
}

TEST_CASE("permits do not add up", "[parker]") {
  troupe::parker parker;
  parker.unpark();
  parker.unpark();
  CHECK(parker.park_until(steady_clock::now()));
  CHECK_FALSE(parker.park_until(steady_clock::now()));
}

TEST_CASE("a park that timed out can be tried again", "[parker]") {
  troupe::parker parker;
  CHECK_FALSE(parker.park_until(steady_clock::now() + std::chrono::milliseconds(1)));
  CHECK_FALSE(parker.park_until(steady_clock::time_point()));
  parker.unpark();
  CHECK(parker.park_until(steady_clock::time_point::max()));
}

TEST_CASE("two threads wake each other in turns", "[parker][stress]") {
  constexpr int rounds = 20'000;
  troupe::parker ping;
  troupe::parker pong;
  int plain = 0;  // only the permits order the accesses
  std::thread other([&] {
    for (int round = 0; round != rounds; ++round) {
      ping.park();
      ++plain;
      pong.unpark();
    }
  });
  for (int round = 0; round != rounds; ++round) {
    ++plain;
    ping.unpark();
    pong.park();
  }
  other.join();
  CHECK(plain == 2 * rounds);
}

TEST_CASE("a permit that races with a deadline is taken or kept, never lost", "[parker][stress]") {
  constexpr int rounds = 20'000;
  troupe::parker parker;
  std::atomic<int> open_round{0};
  std::thread other([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (open_round.load(std::memory_order_relaxed) < round) std::this_thread::yield();
      for (int i = round % 100; i != 0; --i) troupe::detail::cpu_relax();
      parker.unpark();
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    open_round.store(round, std::memory_order_relaxed);
    // The deadline is over already, so that the permit always arrives around it.
    if (!parker.park_until(steady_clock::time_point())) parker.park();  // hangs if it was lost
  }
  other.join();
  CHECK_FALSE(parker.park_until(steady_clock::time_point::min()));
}

TEST_CASE("a parker may be destroyed as soon as its park returned", "[parker][stress]") {
  constexpr int rounds = 2'000;
  for (int round = 0; round != rounds; ++round) {
    auto parker = std::make_unique<troupe::parker>();
    std::thread other([waker = parker.get()] { waker->unpark(); });
    parker->park();
    parker.reset();
    other.join();
  }
}

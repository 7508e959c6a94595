// SPDX-License-Identifier: MIT

// Alone: both ends, the bound, wrapping around. With thieves: each element is taken exactly once,
// and with what its owner wrote into it. Small capacities, so that the ends meet all the time.

#include <troupe/sync/chase_lev_deque.hpp>

#include "../support/catch.hpp"

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

using troupe::steal_status;

namespace {

struct job {
  int payload = 0;            // plain: published by push alone
  std::atomic<int> taken{0};  // counts, and never orders: relaxed
};

template <std::size_t Capacity>
using deque = troupe::chase_lev_deque<job, Capacity>;

void take(job& j, std::atomic<int>& wrong) {
  if (j.payload != 42) wrong.fetch_add(1, std::memory_order_relaxed);
  j.taken.fetch_add(1, std::memory_order_relaxed);
}

/// An owner pushes all of `jobs` and pops now and then, while `thief_count` threads steal.
template <std::size_t Capacity>
void race(int job_count, int thief_count) {
  std::vector<job> jobs(static_cast<std::size_t>(job_count));
  deque<Capacity> d;
  std::atomic<int> wrong{0};
  std::atomic<bool> is_over{false};
  std::vector<std::thread> thieves;
  for (int i = 0; i != thief_count; ++i) {
    thieves.emplace_back([&] {
      while (!is_over.load(std::memory_order_relaxed) || !d.empty_hint()) {
        if (const auto stolen = d.steal()) {
          take(*stolen.get(), wrong);
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::size_t i = 0; i != jobs.size(); ++i) {
    jobs[i].payload = 42;
    while (!d.push(&jobs[i])) {
      if (job* const j = d.pop()) take(*j, wrong);
    }
    if (i % 3 == 0) {
      if (job* const j = d.pop()) take(*j, wrong);
    }
    if (i % 64 == 0) std::this_thread::yield();
  }
  while (job* const j = d.pop()) take(*j, wrong);
  is_over.store(true, std::memory_order_relaxed);
  for (std::thread& t : thieves) t.join();
  int not_once = 0;
  for (const job& j : jobs) not_once += j.taken.load() != 1;
  CHECK(wrong.load() == 0);
  CHECK(not_once == 0);
  CHECK(d.empty_hint());
}

}  // namespace

TEST_CASE("the owner takes the newest, a thief the oldest", "[chase_lev_deque]") {
  deque<8> d;
  job jobs[3];
  CHECK(d.pop() == nullptr);
  CHECK(d.steal().status() == steal_status::empty);
  for (job& j : jobs) REQUIRE(d.push(&j));
  CHECK(d.size_hint() == 3);
  CHECK(d.steal().get() == &jobs[0]);
  CHECK(d.pop() == &jobs[2]);
  CHECK(d.pop() == &jobs[1]);
  CHECK(d.pop() == nullptr);
  CHECK(d.empty_hint());
}

TEST_CASE("a full deque refuses and loses nothing", "[chase_lev_deque]") {
  deque<4> d;
  job jobs[5];
  for (int i = 0; i != 4; ++i) REQUIRE(d.push(&jobs[i]));
  CHECK_FALSE(d.push(&jobs[4]));
  CHECK(d.steal().get() == &jobs[0]);
  CHECK(d.push(&jobs[4]));
  for (const int expected : {4, 3, 2, 1}) CHECK(d.pop() == &jobs[expected]);
  CHECK(d.pop() == nullptr);
}

TEST_CASE("the deque works on when its indices have gone round", "[chase_lev_deque]") {
  deque<2> d;
  job jobs[2];
  for (int round = 0; round != 100; ++round) {
    REQUIRE(d.push(&jobs[0]));
    REQUIRE(d.push(&jobs[1]));
    REQUIRE(d.steal().get() == &jobs[0]);
    REQUIRE((round % 2 == 0 ? d.pop() : d.steal().get()) == &jobs[1]);
    REQUIRE(d.pop() == nullptr);
  }
}

TEST_CASE("every element is taken once: two slots, one thief", "[chase_lev_deque][stress]") {
  race<2>(30'000, 1);
}

TEST_CASE("every element is taken once: four slots, three thieves", "[chase_lev_deque][stress]") {
  race<4>(30'000, 3);
}

TEST_CASE("every element is taken once: the default capacity", "[chase_lev_deque][stress]") {
  race<1024>(30'000, 2);
}

TEST_CASE("the last element goes to the owner or to a thief, never to both or none",
          "[chase_lev_deque][stress]") {
  constexpr int rounds = 20'000;
  deque<2> d;
  job only;
  only.payload = 42;
  std::atomic<int> wrong{0};
  std::atomic<int> round_open{0};
  std::thread thief([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (round_open.load(std::memory_order_acquire) < round) std::this_thread::yield();
      // Empty means that the owner has it or the round is over; lost, that the owner won.
      if (const auto stolen = d.steal()) take(*stolen.get(), wrong);
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    REQUIRE(d.push(&only));
    round_open.store(round, std::memory_order_release);
    if (round % 2 == 0) std::this_thread::yield();
    if (job* const j = d.pop()) take(*j, wrong);
    while (!d.empty_hint()) std::this_thread::yield();
  }
  thief.join();
  CHECK(wrong.load() == 0);
  CHECK(only.taken.load() == rounds);
}

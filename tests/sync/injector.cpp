// SPDX-License-Identifier: MIT

// In order for one producer, each element exactly once for many, and never said to be empty while
// something is inside.

#include <troupe/sync/injector.hpp>

#include "../support/catch.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace {

struct job {
  job* next = nullptr;
  int producer = 0;  // plain: published by push alone
  int number = 0;
};
using injector = troupe::injector<job, &job::next>;

}  // namespace

TEST_CASE("an injector gives back what it got in order", "[injector]") {
  injector q;
  std::array<job, 5> jobs;
  CHECK(q.empty_hint());
  CHECK(q.pop() == nullptr);
  q.push(jobs[0]);
  q.push(jobs[1]);
  q.push(jobs[2]);
  CHECK_FALSE(q.empty_hint());
  CHECK(q.pop() == &jobs[0]);
  CHECK_FALSE(q.empty_hint());
  q.push(jobs[3]);
  q.push(jobs[4]);
  for (std::size_t i = 1; i != 5; ++i) CHECK(q.pop() == &jobs[i]);
  CHECK(q.pop() == nullptr);
  CHECK(q.empty_hint());
}

TEST_CASE("several elements are taken at once, across refills", "[injector]") {
  injector q;
  std::array<job, 5> jobs;
  std::array<job*, 8> out{};
  CHECK(q.pop_some(out.data(), out.size()) == 0);
  for (std::size_t i = 0; i != 3; ++i) q.push(jobs[i]);
  CHECK(q.pop_some(out.data(), 2) == 2);
  CHECK(out[1] == &jobs[1]);
  q.push(jobs[3]);
  q.push(jobs[4]);
  CHECK(q.pop_some(out.data(), 0) == 0);
  CHECK(q.pop_some(out.data(), out.size()) == 3);
  CHECK(out[0] == &jobs[2]);
  CHECK(out[2] == &jobs[4]);
  CHECK(q.empty_hint());
}

TEST_CASE("an element may be pushed again as soon as it is popped", "[injector]") {
  injector q;
  job one;
  job two;
  q.push(one);
  q.push(two);
  REQUIRE(q.pop() == &one);
  q.push(one);
  CHECK(q.pop() == &two);
  CHECK(q.pop() == &one);
}

TEST_CASE("many producers and consumers: each element once, each producer's in order",
          "[injector][stress]") {
  constexpr int producers = 3;
  constexpr int consumers = 2;
  constexpr int per_producer = 10'000;
  injector q;
  std::vector<std::vector<job>> jobs(producers);
  std::array<std::vector<job*>, consumers> taken;
  std::atomic<int> left{producers * per_producer};
  std::vector<std::thread> threads;
  for (int p = 0; p != producers; ++p) {
    threads.emplace_back([&, p] {
      auto& mine = jobs[static_cast<std::size_t>(p)];
      mine.resize(per_producer);
      for (int i = 0; i != per_producer; ++i) {
        job& j = mine[static_cast<std::size_t>(i)];
        j.producer = p;
        j.number = i;
        q.push(j);
      }
    });
  }
  for (auto& mine : taken) {
    threads.emplace_back([&] {
      std::array<job*, 7> out{};
      while (left.load(std::memory_order_relaxed) > 0) {
        const std::size_t n = q.pop_some(out.data(), out.size());
        if (n == 0) std::this_thread::yield();
        left.fetch_sub(static_cast<int>(n), std::memory_order_relaxed);
        mine.insert(mine.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n));
      }
    });
  }
  for (std::thread& t : threads) t.join();

  std::vector<int> times(producers * per_producer);
  int disordered = 0;
  for (const auto& mine : taken) {
    std::array<int, producers> last{-1, -1, -1};
    for (const job* const j : mine) {
      ++times[static_cast<std::size_t>(j->producer * per_producer + j->number)];
      int& before = last[static_cast<std::size_t>(j->producer)];
      disordered += j->number <= before;
      before = j->number;
    }
  }
  int not_once = 0;
  for (const int n : times) not_once += n != 1;
  CHECK(not_once == 0);
  CHECK(disordered == 0);
}

TEST_CASE("an element that stays inside is never hidden by a consumer who moves it",
          "[injector][stress]") {
  // In each round a watcher asks while a consumer takes all elements from the stack and pops all
  // but the last. (An element that is pushed while the watcher asks may be missed: its producer
  // looks for sleepers afterwards.)
  constexpr int rounds = 10'000;
  injector q;
  std::array<job, 3> jobs;
  std::atomic<int> opened{0};
  std::atomic<int> watched{0};
  std::atomic<int> hidden{0};
  std::thread watcher([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (opened.load(std::memory_order_acquire) < round) std::this_thread::yield();
      for (int i = 0; i != 20; ++i) hidden += q.empty_hint();
      watched.store(round, std::memory_order_release);
    }
  });
  int popped = 0;
  for (int round = 1; round <= rounds; ++round) {
    for (job& j : jobs) q.push(j);
    opened.store(round, std::memory_order_release);
    for (int i = round % 50; i != 0; --i) troupe::detail::cpu_relax();
    popped += q.pop() == &jobs[0];
    popped += q.pop() == &jobs[1];
    while (watched.load(std::memory_order_acquire) < round) std::this_thread::yield();
    popped += q.pop() == &jobs[2];
  }
  watcher.join();
  CHECK(hidden.load() == 0);
  CHECK(popped == 3 * rounds);
}

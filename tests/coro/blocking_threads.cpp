// SPDX-License-Identifier: MIT
// The growable set of threads by itself: it grows as far as needed, loses nothing, and ends.

#include <troupe/coro/blocking_threads.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "../support/catch.hpp"
#include "allocation_count.hpp"

namespace blocking_threads_tests {
namespace {

using troupe::detail::blocking_threads;

/// Waits until `expected` of its kind run at once.
class meeting final : public troupe::runnable {
public:
  meeting(std::atomic<int>& arrived, int expected)
      : runnable(&meeting::work), arrived_(arrived), expected_(expected) {}

private:
  static void work(runnable& r) noexcept {
    auto& self = static_cast<meeting&>(r);
    self.arrived_.fetch_add(1);
    while (self.arrived_.load() < self.expected_) std::this_thread::yield();
  }
  std::atomic<int>& arrived_;
  const int expected_;
};

/// Notes how many of its kind run at once.
class crowd final : public troupe::runnable {
public:
  crowd(std::atomic<int>& inside, std::atomic<int>& most)
      : runnable(&crowd::work), inside_(inside), most_(most) {}

private:
  static void work(runnable& r) noexcept {
    auto& self = static_cast<crowd&>(r);
    const int now = self.inside_.fetch_add(1) + 1;
    int most = self.most_.load();
    while (most < now && !self.most_.compare_exchange_weak(most, now)) {
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    self.inside_.fetch_sub(1);
  }
  std::atomic<int>& inside_;
  std::atomic<int>& most_;
};

/// May be gone as soon as it says that it has run.
class mark final : public troupe::runnable {
public:
  explicit mark(std::atomic<bool>& done) : runnable(&mark::work), done_(done) {}

private:
  static void work(runnable& r) noexcept { static_cast<mark&>(r).done_.store(true); }
  std::atomic<bool>& done_;
};

}  // namespace

TEST_CASE("there are as many blocking threads as functions that block", "[coro][offload]") {
  constexpr int count = 20;
  std::atomic<int> arrived{0};
  std::vector<std::unique_ptr<meeting>> work;
  for (int i = 0; i < count; ++i) work.push_back(std::make_unique<meeting>(arrived, count));
  {
    blocking_threads threads;
    for (auto& w : work) threads.run(*w);
  }
  REQUIRE(arrived.load() == count);
}

TEST_CASE("blocking threads end only when all work is done", "[coro][offload]") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> arrived{0};
    std::vector<std::unique_ptr<meeting>> work;
    for (int i = 0; i < 8; ++i) work.push_back(std::make_unique<meeting>(arrived, i % 2));
    {
      blocking_threads threads;
      for (auto& w : work) threads.run(*w);
    }
    REQUIRE(arrived.load() == 8);
  }
}

TEST_CASE("what is beyond the limit of blocking threads waits for one", "[coro][offload]") {
  constexpr int limit = static_cast<int>(blocking_threads::max_threads);
  std::atomic<int> arrived{0};
  std::vector<std::unique_ptr<meeting>> work;
  // The first ones fill every thread until one more comes, which is this one here.
  for (int i = 0; i < limit; ++i) work.push_back(std::make_unique<meeting>(arrived, limit + 1));
  for (int i = 0; i < 40; ++i) work.push_back(std::make_unique<meeting>(arrived, 0));
  {
    blocking_threads threads;
    for (auto& w : work) threads.run(*w);
    while (arrived.load() < limit) std::this_thread::yield();
    CHECK(arrived.load() == limit);  // the others have no thread
    arrived.fetch_add(1);
  }
  REQUIRE(arrived.load() == limit + 1 + 40);
}

TEST_CASE("there are no more blocking threads than allowed, however soon work comes",
          "[coro][offload]") {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  for (int round = 0; round != 200; ++round) {
    std::vector<std::unique_ptr<crowd>> work;
    for (int i = 0; i != 6; ++i) work.push_back(std::make_unique<crowd>(inside, most));
    blocking_threads threads(std::chrono::milliseconds(1), 1);
    // The first one's thread is not there yet, or does not run yet, when others come.
    std::thread other([&] {
      for (std::size_t i = 0; i != 3; ++i) threads.run(*work[i]);
    });
    for (std::size_t i = 3; i != 6; ++i) threads.run(*work[i]);
    other.join();
  }
  REQUIRE(inside.load() == 0);
  REQUIRE(most.load() == 1);
}

TEST_CASE("without memory for the first blocking thread its work is not taken", "[coro][offload]") {
  if (!troupe::test::allocations_can_fail()) return;
  bool failed = true;
  for (int k = 0; failed; ++k) {
    CAPTURE(k);
    std::atomic<int> arrived{0};
    meeting work(arrived, 0);
    bool thrown = false;
    {
      blocking_threads threads;
      troupe::test::fail_allocation(k);
      try {
        threads.run(work);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
      failed = troupe::test::allocation_has_failed();
      troupe::test::fail_allocation(-1);
      REQUIRE(thrown == failed);
      if (thrown) threads.run(work);
    }
    REQUIRE(arrived.load() == 1);
    REQUIRE((failed || k > 1));  // some have failed
  }
}

TEST_CASE("without memory for another blocking thread its work waits for one", "[coro][offload]") {
  if (!troupe::test::allocations_can_fail()) return;
  bool failed = true;
  for (int k = 0; failed; ++k) {
    CAPTURE(k);
    std::atomic<int> arrived{0};
    meeting first(arrived, 2);  // holds the one thread that there is
    meeting second(arrived, 0);
    {
      blocking_threads threads;
      threads.run(first);
      while (arrived.load() == 0) std::this_thread::yield();
      troupe::test::fail_allocation(k);
      threads.run(second);
      failed = troupe::test::allocation_has_failed();
      troupe::test::fail_allocation(-1);
      if (failed) {
        REQUIRE(arrived.load() == 1);
        arrived.fetch_add(1);  // the first goes on
      }
    }
    REQUIRE(arrived.load() == (failed ? 3 : 2));
    REQUIRE((failed || k > 1));
  }
}

TEST_CASE("without memory for the first two blocking threads, no work is stranded",
          "[coro][offload]") {
  if (!troupe::test::allocations_can_fail()) return;
  int stranded = 0;
  int begun_late = 0;
  for (int round = 0; round != 3000; ++round) {
    std::atomic<int> ready{0};
    std::atomic<int> taken{0};
    std::atomic<int> arrived{0};
    std::vector<std::unique_ptr<meeting>> work;
    for (int i = 0; i != 2; ++i) work.push_back(std::make_unique<meeting>(arrived, 0));
    {
      blocking_threads threads;
      const auto run = [&](std::size_t i, int fails_at) {
        ready.fetch_add(1);
        while (ready.load() != 2) {
        }
        troupe::test::fail_allocation(fails_at);
        try {
          threads.run(*work[i]);
          taken.fetch_add(1);
        } catch (const std::bad_alloc&) {
        }
        troupe::test::fail_allocation(-1);
      };
      // In a third of the rounds one of the two gets its thread.
      std::thread other(run, 0, 0);
      run(1, round % 3 == 0 ? -1 : round % 3);
      other.join();
    }
    if (arrived.load() != taken.load()) ++stranded;
    if (round % 3 == 0 && arrived.load() == 0) ++begun_late;
  }
  REQUIRE(stranded == 0);
  REQUIRE(begun_late == 0);
}

TEST_CASE("many threads hand work to blocking threads at once", "[coro][offload][stress]") {
  constexpr int per_thread = 500;
  std::atomic<int> arrived{0};
  std::vector<std::unique_ptr<meeting>> work;
  for (int i = 0; i < 3 * per_thread; ++i) work.push_back(std::make_unique<meeting>(arrived, 0));
  {
    blocking_threads threads;
    std::vector<std::thread> givers;
    for (std::size_t g = 0; g < 3; ++g) {
      givers.emplace_back([&threads, &work, g] {
        for (std::size_t i = 0; i < per_thread; ++i) threads.run(*work[g * per_thread + i]);
      });
    }
    for (std::thread& g : givers) g.join();
  }
  REQUIRE(arrived.load() == 3 * per_thread);
}

TEST_CASE("a blocking thread that ends just as work comes is neither lost nor freed too early",
          "[coro][offload]") {
  // The time without work is about as long as the pause between two pieces of it: threads end, and
  // are joined, while others are about to wake them or to write their handles.
  constexpr int callers = 3;
  constexpr int most = 20'000;
  std::atomic<int> done{0};
  std::atomic<int> given{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  {
    blocking_threads threads(std::chrono::microseconds(30));
    const auto call = [&](int seed) {
      for (int i = 0; i != most && std::chrono::steady_clock::now() < until; ++i) {
        std::atomic<bool> is_done{false};
        mark work(is_done);
        given.fetch_add(1);
        threads.run(work);
        while (!is_done.load()) std::this_thread::yield();
        done.fetch_add(1);
        const auto pause =
            std::chrono::steady_clock::now() + std::chrono::microseconds((i * 7 + seed * 13) % 60);
        while (std::chrono::steady_clock::now() < pause) {
        }
      }
    };
    std::vector<std::thread> all;
    for (int i = 0; i != callers; ++i) all.emplace_back(call, i);
    for (std::thread& t : all) t.join();
  }
  CHECK(given.load() > 0);
  CHECK(done.load() == given.load());
}

}  // namespace blocking_threads_tests

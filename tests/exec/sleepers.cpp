// SPDX-License-Identifier: MIT
// The rules of waking: one searcher at a time, the newest sleeper first, and no wake-up lost, which
// a producer and threads that sleep show together.

#include <troupe/exec/sleepers.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <troupe/sync/parker.hpp>

#include "../support/catch.hpp"

namespace sleepers_tests {

using troupe::detail::sleepers;

TEST_CASE("where nobody sleeps nobody is woken", "[exec][sleepers]") {
  sleepers all(3);
  REQUIRE(all.count() == 0);
  REQUIRE(all.wake_one() == sleepers::nobody);
}

TEST_CASE("the newest sleeper is woken, as the one who searches", "[exec][sleepers]") {
  sleepers all(3);
  all.enter(0, false);
  all.enter(2, false);
  REQUIRE(all.count() == 2);
  REQUIRE(all.wake_one() == 2);
  REQUIRE(all.count() == 1);
  REQUIRE(all.was_woken(2));
  REQUIRE_FALSE(all.was_woken(0));
  REQUIRE(all.wake_one() == sleepers::nobody);
  REQUIRE_FALSE(all.leave(2));
  all.end_search();
  REQUIRE(all.wake_one() == 0);
}

TEST_CASE("one thread searches at a time", "[exec][sleepers]") {
  sleepers all(3);
  REQUIRE(all.begin_search());
  REQUIRE_FALSE(all.begin_search());
  all.enter(1, false);
  REQUIRE(all.wake_one() == sleepers::nobody);
  all.end_search();
  REQUIRE(all.begin_search());
  all.enter(0, true);
  REQUIRE(all.wake_one() == 0);
}

TEST_CASE("who leaves by itself is not woken", "[exec][sleepers]") {
  sleepers all(2);
  all.enter(0, false);
  REQUIRE(all.leave(0));
  REQUIRE(all.wake_one() == sleepers::nobody);
  REQUIRE(all.count() == 0);
  all.enter(0, false);
  REQUIRE(all.wake_one() == 0);
}

namespace {

/// A counter as the queue, drained by threads that sleep when it is empty, as a pool does.
class drain {
public:
  explicit drain(std::uint32_t threads) : sleepers_(threads), parkers_(threads) {
    for (auto& p : parkers_) p = std::make_unique<troupe::parker>();
    for (std::uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
  }

  void add() {
    items_.fetch_add(1, std::memory_order_release);
    wake();
  }

  int finish() {
    stop_.store(true);
    for (auto& p : parkers_) p->unpark();
    for (std::thread& t : threads_) t.join();
    return taken_.load();
  }

  int taken() const { return taken_.load(); }

private:
  void wake() {
    const std::uint32_t index = sleepers_.wake_one();
    if (index != sleepers::nobody) parkers_[index]->unpark();
  }

  bool take() {
    int items = items_.load(std::memory_order_relaxed);
    while (items > 0) {
      if (items_.compare_exchange_weak(items, items - 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  void work(std::uint32_t index) {
    bool searching = false;
    while (!stop_.load()) {
      if (!searching) searching = sleepers_.begin_search();
      if (take()) {
        if (searching) {
          searching = false;
          sleepers_.end_search();
          if (items_.load(std::memory_order_relaxed) > 0) wake();
        }
        taken_.fetch_add(1);
        continue;
      }
      sleepers_.enter(index, searching);
      searching = false;
      if (items_.load(std::memory_order_relaxed) <= 0 && !stop_.load()) parkers_[index]->park();
      searching = !sleepers_.leave(index);
    }
    if (searching) sleepers_.end_search();
  }

  sleepers sleepers_;
  std::vector<std::unique_ptr<troupe::parker>> parkers_;
  std::atomic<int> items_{0};
  std::atomic<int> taken_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("no wake-up is lost", "[exec][sleepers][stress]") {
  drain d(2);
  constexpr int items = 5000;
  for (int i = 0; i < items; ++i) {
    d.add();
    // One at a time: with anything lost, this would wait for ever.
    while (d.taken() <= i) std::this_thread::yield();
  }
  REQUIRE(d.finish() == items);
}

}  // namespace sleepers_tests

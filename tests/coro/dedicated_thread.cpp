// SPDX-License-Identifier: MIT
// A thread of its own: what is posted to it runs there, in order, and may block.

#include <troupe/coro/dedicated_thread.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <troupe/coro/executor.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"

namespace dedicated_thread_tests {
namespace {

using troupe::task;

struct journal {
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  std::atomic<int> entries{0};
};

class entry final : public troupe::runnable {
public:
  entry(journal& j, int number) : runnable(&entry::write), journal_(j), number_(number) {}

private:
  static void write(runnable& r) noexcept {
    auto& self = static_cast<entry&>(r);
    self.journal_.order.push_back(self.number_);
    self.journal_.threads.push_back(std::this_thread::get_id());
    self.journal_.entries.fetch_add(1);
  }
  journal& journal_;
  const int number_;
};

task<int> give(int value) { co_return value; }

class blocker final : public troupe::runnable {
public:
  explicit blocker(std::atomic<int>& result) : runnable(&blocker::block), result_(result) {}

private:
  static void block(runnable& r) noexcept {
    auto& self = static_cast<blocker&>(r);
    self.result_.store(troupe::sync_wait(give(5)));
  }
  std::atomic<int>& result_;
};

}  // namespace

TEST_CASE("a dedicated thread runs all that is posted, in order", "[coro][dedicated_thread]") {
  constexpr int count = 1000;
  troupe::thread_pool pool({.threads = 1});
  journal j;
  std::vector<std::unique_ptr<entry>> entries;
  for (int i = 0; i < count; ++i) entries.push_back(std::make_unique<entry>(j, i));
  troupe::home& home = pool.begin_thread();
  REQUIRE(&home.base() == &pool);
  for (auto& e : entries) home.post(*e);
  while (j.entries.load() < count) std::this_thread::yield();
  pool.end_thread(home);
  for (int i = 0; i < count; ++i) REQUIRE(j.order[static_cast<std::size_t>(i)] == i);
  for (const std::thread::id id : j.threads) REQUIRE(id == j.threads[0]);
  REQUIRE(j.threads[0] != std::this_thread::get_id());
}

TEST_CASE("what was posted to a dedicated thread runs before it ends", "[coro][dedicated_thread]") {
  for (int round = 0; round < 50; ++round) {
    journal j;
    entry first(j, 1);
    entry second(j, 2);
    {
      troupe::thread_pool pool({.threads = 1});
      troupe::home& home = pool.begin_thread();
      home.post(first);
      home.post(second);
      pool.end_thread(home);
    }
    REQUIRE(j.order == std::vector<int>{1, 2});
  }
}

TEST_CASE("a dedicated thread may block", "[coro][dedicated_thread]") {
  std::atomic<int> result{0};
  blocker b(result);
  troupe::thread_pool pool({.threads = 1});
  troupe::home& home = pool.begin_thread();
  home.post(b);
  while (result.load() == 0) std::this_thread::yield();
  pool.end_thread(home);
  REQUIRE(result.load() == 5);
}

TEST_CASE("dedicated threads come and go", "[coro][dedicated_thread]") {
  troupe::thread_pool pool({.threads = 1});
  journal j;
  for (int round = 0; round < 100; ++round) {
    troupe::home& home = pool.begin_thread();
    entry e(j, round);
    home.post(e);
    while (j.entries.load() <= round) std::this_thread::yield();
    pool.end_thread(home);
  }
  REQUIRE(j.entries.load() == 100);
}

}  // namespace dedicated_thread_tests

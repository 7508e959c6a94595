// SPDX-License-Identifier: MIT
// An executor as a user writes one over a loop of their own: what is posted runs by `run_here`, and
// whoever waits on the thread of the loop drives it.

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>

#include "../support/catch.hpp"

namespace own_executor_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;

/// The simplest loop: a queue that is polled.
class polled_loop final : public troupe::executor {
public:
  polled_loop() { bind_thread(); }
  ~polled_loop() override { unbind_thread(); }

  void post(troupe::runnable& r) noexcept override {
    const std::lock_guard guard(mutex_);
    ready_.push_back(&r);
  }
  troupe::time_point now() const noexcept override { return troupe::steady_now(); }
  std::uint64_t random() noexcept override { return troupe::splitmix64(numbers_); }
  void wake_at(troupe::time_point) noexcept override {}  // the loop looks at every turn
  void drive(troupe::waiter& w) noexcept override {
    while (!w.done()) {
      fire_timers();
      if (troupe::runnable* const r = next()) run_here(*r);
    }
  }
  bool driven_by_waiting() const noexcept override { return true; }

private:
  troupe::runnable* next() {
    const std::lock_guard guard(mutex_);
    if (ready_.empty()) return nullptr;
    troupe::runnable* const r = ready_.front();
    ready_.pop_front();
    return r;
  }

  std::mutex mutex_;
  std::deque<troupe::runnable*> ready_;
  std::uint64_t numbers_ = 1;
};

task<int> one_after(troupe::duration d) {
  co_await troupe::sleep_for(d);
  co_return 1;
}

task<> add_one(int& to) {
  co_await troupe::yield();
  ++to;
}

task<int> everything() {
  int sum = co_await one_after(1ms);
  troupe::task_scope scope;
  for (int i = 0; i < 10; ++i) scope.spawn(add_one(sum));
  co_await scope.join();
  auto [a, b] = co_await troupe::when_all(one_after(2ms), one_after(1ms));
  const auto blocking = [] { return 1; };
  const int c = co_await troupe::offload(blocking);
  const auto late = co_await troupe::as_result(troupe::within(one_after(1h), 1ms));
  co_return sum + a + b + c + (late.code() == troupe::errc::timed_out ? 1 : 0);
}

task<bool> may_not_block() {
  co_await troupe::yield();
  try {
    troupe::sync_wait(one_after(0ms));
  } catch (const troupe::error& e) {
    co_return e.code() == troupe::errc::would_block;
  }
  co_return false;
}

task<int> million_awaits() {
  int sum = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const int one = co_await []() -> task<int> { co_return 1; }();
    sum += one;
  }
  co_return sum;
}

}  // namespace

TEST_CASE("a loop of one's own runs coroutines, timers, scopes and what comes from offload") {
  polled_loop loop;
  CHECK(troupe::sync_wait(everything()) == 15);
}

TEST_CASE("who runs in a loop of one's own may not block it") {
  polled_loop loop;
  CHECK(troupe::sync_wait(may_not_block()));
}

TEST_CASE("a loop of one's own keeps the stack flat") {
  polled_loop loop;
  CHECK(troupe::sync_wait(million_awaits()) == 1'000'000);
}

}  // namespace own_executor_tests

// SPDX-License-Identifier: MIT
// Awaitables of other libraries in a task, in each of the forms the language allows; and that the
// coroutine continues on its own executor, whichever thread ended what it awaited.

#include <troupe/coro/awaitable.hpp>

#include <atomic>
#include <coroutine>
#include <stdexcept>
#include <thread>
#include <utility>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace awaitable_tests {
namespace {

using troupe::sync_wait;
using troupe::task;

struct ready_value {
  int value;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return value; }
};

/// Does not suspend after all, which each form of `await_suspend` says in its own way.
struct refuses_by_bool {
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
  int await_resume() const noexcept { return 2; }
};
struct refuses_by_handle {
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const noexcept { return h; }
  int await_resume() const noexcept { return 3; }
};
struct resumes_at_once {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const { h.resume(); }
  int await_resume() const noexcept { return 4; }
};
struct throws_in_suspend {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const { throw std::runtime_error("no"); }
  int await_resume() const noexcept { return 0; }
};

struct with_member_operator {
  ready_value operator co_await() const noexcept { return {5}; }
};
struct with_free_operator {};
ready_value operator co_await(const with_free_operator&) noexcept { return {6}; }

/// Ends on a thread of its own, which it joins when the coroutine goes on.
class other_thread {
public:
  other_thread() noexcept {}
  other_thread(other_thread&& other) noexcept : thread_(std::move(other.thread_)) {}
  ~other_thread() {
    if (thread_.joinable()) thread_.join();
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    // The coroutine may go on, and take this along, before the assignment is done: it may not
    // before the thread has seen the end of it.
    std::thread started([h, this] {
      while (!assigned_.load(std::memory_order_acquire)) std::this_thread::yield();
      h.resume();
    });
    thread_ = std::move(started);
    assigned_.store(true, std::memory_order_release);
  }
  std::thread::id await_resume() {
    const std::thread::id id = thread_.get_id();
    thread_.join();
    return id;
  }

private:
  std::thread thread_;
  std::atomic<bool> assigned_{false};
};

template <class A>
task<int> await_one(A awaitable) {
  const int value = co_await std::move(awaitable);
  co_return value;
}

task<int> await_named(ready_value& v) {
  const int value = co_await v;
  co_return value;
}

task<int> await_operators() {
  const int member = co_await with_member_operator{};
  const int free_one = co_await with_free_operator{};
  co_return member * 10 + free_one;
}

struct seen {
  std::thread::id before;
  std::thread::id ended_on;
  std::thread::id after;
  troupe::home* loop_before;
  troupe::home* loop_after;
};

task<seen> hop() {
  seen s{};
  s.before = std::this_thread::get_id();
  s.loop_before = troupe::test::loop_of_this_thread();
  s.ended_on = co_await other_thread();
  s.after = std::this_thread::get_id();
  s.loop_after = troupe::test::loop_of_this_thread();
  co_return s;
}

}  // namespace

TEST_CASE("awaitables of other libraries can be awaited, whatever their form", "[coro]") {
  ready_value named{7};
  REQUIRE(sync_wait(await_one(ready_value{1})) == 1);
  REQUIRE(sync_wait(await_one(refuses_by_bool{})) == 2);
  REQUIRE(sync_wait(await_one(refuses_by_handle{})) == 3);
  REQUIRE(sync_wait(await_one(resumes_at_once{})) == 4);
  REQUIRE(sync_wait(await_operators()) == 56);
  REQUIRE(sync_wait(await_named(named)) == 7);
}

TEST_CASE("what a foreign await_suspend throws reaches the coroutine", "[coro]") {
  REQUIRE_THROWS_WITH(sync_wait(await_one(throws_in_suspend{})), "no");
}

TEST_CASE("after another thread ended what it awaited, the root is on its own thread", "[coro]") {
  const seen s = sync_wait(hop());
  REQUIRE(s.before == std::this_thread::get_id());
  REQUIRE(s.after == s.before);
  REQUIRE(s.ended_on != s.before);
  REQUIRE(s.loop_after == s.loop_before);
}

TEST_CASE("after another thread ended what it awaited, a coroutine is on its own pool", "[coro]") {
  troupe::thread_pool pool({.threads = 2});
  for (int i = 0; i < 20; ++i) {
    const seen s = troupe::test::run_on(pool, hop());
    REQUIRE(s.loop_before == &pool);
    REQUIRE(s.loop_after == &pool);
    REQUIRE(s.ended_on != s.after);
  }
}

TEST_CASE("a foreign awaitable can be waited for by a thread", "[coro]") {
  REQUIRE(sync_wait(ready_value{8}) == 8);
  ready_value named{9};
  REQUIRE(sync_wait(named) == 9);
  REQUIRE(sync_wait(resumes_at_once{}) == 4);
}

namespace {

struct gives_moved {
  int& target;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int&& await_resume() const noexcept { return std::move(target); }
};

}  // namespace

TEST_CASE("an awaitable that gives an rvalue reference gives a value to a thread", "[coro]") {
  int target = 10;
  static_assert(std::is_same_v<decltype(sync_wait(gives_moved{target})), int>);
  REQUIRE(sync_wait(gives_moved{target}) == 10);
}

}  // namespace awaitable_tests

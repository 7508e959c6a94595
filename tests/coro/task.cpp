// SPDX-License-Identifier: MIT
// What a task gives to whoever awaits it, when it runs and when its frame goes; and that neither
// depth nor number of awaits costs stack, which is shown by having far more of them than any stack
// has room for.

#include <troupe/coro/task.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace task_tests {
namespace {

using troupe::sync_wait;
using troupe::task;

static_assert(!std::is_copy_constructible_v<task<>>);
static_assert(std::is_nothrow_move_constructible_v<task<int>>);

/// Counts how often it is destroyed, copies and moves included only where they own.
class witness {
public:
  explicit witness(int& destroyed) noexcept : destroyed_(&destroyed) {}
  witness(witness&& other) noexcept : destroyed_(std::exchange(other.destroyed_, nullptr)) {}
  witness& operator=(witness&&) = delete;
  ~witness() {
    if (destroyed_ != nullptr) ++*destroyed_;
  }

private:
  int* destroyed_;
};

struct no_default {
  explicit no_default(int v) : value(v) {}
  int value;
};

task<int> give(int value) { co_return value; }
task<int&> give_reference(int& target) { co_return target; }
task<int&> give_no_reference(int& target) {
  if (target == 0) throw std::runtime_error("nothing to refer to");
  co_return target;
}
task<std::unique_ptr<int>> give_pointer(int value) { co_return std::make_unique<int>(value); }
task<no_default> give_no_default(int value) { co_return no_default(value); }
task<> set(bool& flag) {
  flag = true;
  co_return;
}
task<int> fail(const char* what) {
  throw std::runtime_error(what);
  co_return 0;
}
task<int> take_along(witness, int value) { co_return value; }
task<int> yield_then(int value) {
  co_await troupe::yield();
  co_return value;
}
task<> yield_then_fail(const char* what) {
  co_await troupe::yield();
  throw std::runtime_error(what);
}

task<int> sum_of(task<int> a, task<int> b) {
  const int first = co_await std::move(a);
  const int second = co_await std::move(b);
  co_return first + second;
}

task<std::string> caught(task<int> t) {
  try {
    co_await std::move(t);
  } catch (const std::runtime_error& e) {
    co_return e.what();
  }
  co_return "nothing";
}

}  // namespace

TEST_CASE("a task gives its value to whoever awaits it", "[coro][task]") {
  REQUIRE(sync_wait(give(7)) == 7);
  REQUIRE(sync_wait(sum_of(give(3), give(4))) == 7);
  REQUIRE(sync_wait(sum_of(yield_then(3), give(4))) == 7);
}

TEST_CASE("a task gives a reference to the very object", "[coro][task]") {
  int target = 1;
  int& given = sync_wait(give_reference(target));
  REQUIRE(&given == &target);
}

TEST_CASE("a task that throws gives no reference", "[coro][task]") {
  int target = 0;
  REQUIRE_THROWS_AS(sync_wait(give_no_reference(target)), std::runtime_error);
  target = 1;
  REQUIRE(&sync_wait(give_no_reference(target)) == &target);
}

TEST_CASE("a task gives what can only be moved, or has no default", "[coro][task]") {
  REQUIRE(*sync_wait(give_pointer(5)) == 5);
  REQUIRE(sync_wait(give_no_default(6)).value == 6);
}

TEST_CASE("a task of void runs when it is awaited, and not before", "[coro][task]") {
  bool ran = false;
  task<> t = set(ran);
  REQUIRE_FALSE(ran);
  sync_wait(std::move(t));
  REQUIRE(ran);
  REQUIRE_FALSE(static_cast<bool>(t));
}

TEST_CASE("the exception of a task reaches whoever awaits it", "[coro][task]") {
  REQUIRE_THROWS_WITH(sync_wait(fail("at once")), "at once");
  REQUIRE_THROWS_WITH(sync_wait(yield_then_fail("later")), "later");
  REQUIRE(sync_wait(caught(fail("inside"))) == "inside");
}

TEST_CASE("a task that is never awaited runs nothing and frees its arguments", "[coro][task]") {
  int destroyed = 0;
  {
    const task<int> t = take_along(witness(destroyed), 1);
    REQUIRE(destroyed == 0);
  }
  REQUIRE(destroyed == 1);
}

TEST_CASE("the arguments of a task are destroyed exactly once", "[coro][task]") {
  int destroyed = 0;
  REQUIRE(sync_wait(take_along(witness(destroyed), 9)) == 9);
  REQUIRE(destroyed == 1);
}

TEST_CASE("assigning to a task destroys what it held", "[coro][task]") {
  int destroyed = 0;
  task<int> t = take_along(witness(destroyed), 1);
  t = give(2);
  REQUIRE(destroyed == 1);
  REQUIRE(sync_wait(std::move(t)) == 2);
}

namespace {

task<long> sum_of_many(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await give(1);
  co_return sum;
}

task<long> sum_of_many_async(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await yield_then(1);
  co_return sum;
}

task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await nested(depth - 1);
  co_return below + 1;
}

task<int> nested_async(int depth) {
  if (depth == 0) co_await troupe::yield();
  if (depth == 0) co_return 0;
  const int below = co_await nested_async(depth - 1);
  if (depth % 1000 == 0) co_await troupe::yield();
  co_return below + 1;
}

task<int> nested_failure(int depth) {
  if (depth == 0) throw std::runtime_error("deep down");
  const int below = co_await nested_failure(depth - 1);
  co_return below + 1;
}

constexpr int million = 1'000'000;
constexpr int deep = 100'000;

}  // namespace

TEST_CASE("a million awaits of tasks that end at once use bounded stack", "[coro][task]") {
  REQUIRE(sync_wait(sum_of_many(million)) == million);
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, sum_of_many(million)) == million);
}

TEST_CASE("a hundred thousand awaits of tasks that suspend use bounded stack", "[coro][task]") {
  REQUIRE(sync_wait(sum_of_many_async(deep)) == deep);
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, sum_of_many_async(deep)) == deep);
}

TEST_CASE("tasks nest a hundred thousand deep on a bounded stack", "[coro][task]") {
  REQUIRE(sync_wait(nested(deep)) == deep);
  REQUIRE(sync_wait(nested_async(deep)) == deep);
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, nested(deep)) == deep);
  REQUIRE(troupe::test::run_on(pool, nested_async(deep)) == deep);
}

TEST_CASE("an exception comes up through a thousand tasks", "[coro][task]") {
  REQUIRE_THROWS_WITH(sync_wait(nested_failure(1000)), "deep down");
}

namespace {

task<int> await_until(const bool& flag, int limit) {
  int awaits = 0;
  while (!flag && awaits < limit) awaits += co_await give(1);
  co_return awaits;
}

task<int> await_beside_setter(bool& flag) {
  troupe::task_scope scope;
  scope.spawn(set(flag));
  const int awaits = co_await await_until(flag, million);
  co_await scope.join();
  co_return awaits;
}

}  // namespace

TEST_CASE("a loop over awaits that end at once lets others run", "[coro][task]") {
  bool flag = false;
  REQUIRE(sync_wait(await_beside_setter(flag)) < million);
  bool flag_on_pool = false;
  troupe::thread_pool pool({.threads = 1});
  REQUIRE(troupe::test::run_on(pool, await_beside_setter(flag_on_pool)) < million);
}

namespace {

class throwing_move {
public:
  explicit throwing_move(int v) : value(v) {}
  throwing_move(throwing_move&& other) : value(other.value) {
    if (value < 0) throw std::runtime_error("will not move");
  }
  int value;
};

task<throwing_move> give_throwing(int value) {
  throwing_move local(value);
  co_return std::move(local);
}

}  // namespace

TEST_CASE("where a result cannot be moved out, that error is the outcome", "[coro][task]") {
  REQUIRE(sync_wait(give_throwing(1)).value == 1);
  REQUIRE_THROWS_WITH(sync_wait(give_throwing(-1)), "will not move");
}

}  // namespace task_tests

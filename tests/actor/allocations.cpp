// SPDX-License-Identifier: MIT
// Promise 5: a call to an idle worker allocates nothing; what needs memory at all takes it from
// pools that are full after the first time.

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "../coro/allocation_count.hpp"
#include "../support/catch.hpp"
#include "kit.hpp"

namespace allocations_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::test::allocations;

}  // namespace

struct actor_allocations_target {
  int add(int by) { return total += by; }
  int length(const std::string& s) { return static_cast<int>(s.size()); }
  task<int> add_at_once(int by) { co_return total += by; }
  task<int> add_later(int by) {
    co_await troupe::yield();
    co_return total += by;
  }
  void take(int by) { total += by; }
  int total = 0;
};
}  // namespace allocations_tests

TROUPE_METHODS(allocations_tests::actor_allocations_target, add, length, add_at_once, add_later,
               take)

namespace allocations_tests {

struct actor_allocations_caller {
  explicit actor_allocations_caller(troupe::context& c)
      : target(c.worker<actor_allocations_target>()) {}
  task<long> plain(int count) {
    const long before = allocations();
    for (int i = 0; i < count; ++i) {
      const int sum = co_await target->add(1);
      static_cast<void>(sum);
    }
    co_return allocations() - before;
  }
  task<long> coroutine(int count) {
    const long before = allocations();
    for (int i = 0; i < count; ++i) {
      const int sum = co_await target->add_later(1);
      static_cast<void>(sum);
    }
    co_return allocations() - before;
  }
  troupe::proxy<actor_allocations_target> target;
};
}  // namespace allocations_tests

TROUPE_METHODS(allocations_tests::actor_allocations_caller, plain, coroutine)

namespace allocations_tests {
namespace {

using target = actor_allocations_target;
using proxy = troupe::proxy<target>;

constexpr int many = 1000;

task<long> plain_calls(proxy p, int count) {
  const std::string text(100, 'x');
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    const int sum = co_await p->add(1);
    const int size = co_await p->length(text);
    const int by_pointer = co_await p.call<&target::add>(1);
    static_cast<void>(sum + size + by_pointer);
  }
  co_return allocations() - before;
}

task<long> calls_at_once(proxy p, int count) {
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    const int sum = co_await p->add_at_once(1);
    static_cast<void>(sum);
  }
  co_return allocations() - before;
}

task<long> calls_that_suspend(proxy p, int count) {
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    const int sum = co_await p->add_later(1);
    static_cast<void>(sum);
  }
  co_return allocations() - before;
}

task<long> owning_calls(proxy p, int count) {
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    const int sum = co_await p->add(1).within(1h);
    const int later = co_await p->add_later(1).within(1h);
    static_cast<void>(sum + later);
  }
  co_return allocations() - before;
}

task<long> tells(proxy p, int count) {
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    const bool told = p.tell<&target::take>(1);
    static_cast<void>(told);
    const int sum = co_await p->add(0);
    static_cast<void>(sum);
  }
  co_return allocations() - before;
}

task<long> calls_beside_each_other(proxy p, int count) {
  const long before = allocations();
  for (int i = 0; i < count; ++i) {
    auto sums = co_await troupe::when_all(p->add(1), p->add_later(1), p->add(1));
    static_cast<void>(sums);
  }
  co_return allocations() - before;
}

}  // namespace

TEST_CASE("a plain call of an idle worker allocates nothing", "[actor][promise5]") {
  troupe::test::world w;
  const proxy p = w.broker.worker<target>();
  const int created = w.run(troupe::test::as_task(p->add(0)));
  REQUIRE(created == 0);
  REQUIRE(w.run(plain_calls(p, many)) == 0);
}

TEST_CASE("a call of a coroutine allocates nothing once its frame's size is pooled",
          "[actor][promise5]") {
  troupe::test::world w;
  const proxy p = w.broker.worker<target>();
  REQUIRE(w.run(calls_at_once(p, 1)) >= 0);
  REQUIRE(w.run(calls_at_once(p, many)) == 0);
  REQUIRE(w.run(calls_that_suspend(p, 1)) >= 0);
  REQUIRE(w.run(calls_that_suspend(p, many)) == 0);
}

TEST_CASE("calls from worker to worker allocate nothing in the steady state", "[actor][promise5]") {
  troupe::test::world w;
  const auto p = w.broker.worker<actor_allocations_caller>();
  REQUIRE(w.run(troupe::test::as_task(p->plain(1))) >= 0);
  REQUIRE(w.run(troupe::test::as_task(p->plain(many))) == 0);
  REQUIRE(w.run(troupe::test::as_task(p->coroutine(1))) >= 0);
  REQUIRE(w.run(troupe::test::as_task(p->coroutine(many))) == 0);
}

TEST_CASE("owning calls, tells and when_all take no memory but pooled blocks",
          "[actor][promise5]") {
  troupe::test::world w;
  const proxy p = w.broker.worker<target>();
  REQUIRE(w.run(owning_calls(p, 2)) >= 0);
  REQUIRE(w.run(owning_calls(p, many)) == 0);
  REQUIRE(w.run(tells(p, 2)) >= 0);
  REQUIRE(w.run(tells(p, many)) == 0);
  REQUIRE(w.run(calls_beside_each_other(p, 2)) >= 0);
  REQUIRE(w.run(calls_beside_each_other(p, many)) == 0);
}

TEST_CASE("a plain call of an idle worker allocates nothing beside other threads",
          "[actor][promise5]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  const proxy p = broker.worker<target>();
  // The count is of the whole process, whose other threads may still be starting.
  constexpr int rounds = 20;
  long least = broker.run(plain_calls(p, many));
  for (int i = 0; i < rounds && least != 0; ++i) {
    least = std::min(least, broker.run(plain_calls(p, many)));
  }
  REQUIRE(least == 0);
}

}  // namespace allocations_tests

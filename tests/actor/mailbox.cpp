// SPDX-License-Identifier: MIT
// Promise 6: a mailbox has a bound, and at the bound a policy: wait, refuse, drop_old.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace mailbox_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::overflow;
using troupe::task;
using troupe::test::code_of;
using troupe::test::gate;
using troupe::test::world;

constexpr std::size_t room = 4;

}  // namespace

template <overflow O>
struct actor_mailbox_target {
  task<> wait(gate g) { co_await g; }
  int note(int n) {
    notes.push_back(n);
    return n;
  }
  task<int> note_later(int n) {
    notes.push_back(n);
    co_await troupe::yield();
    co_return n;
  }
  std::vector<int> all() { return notes; }

  std::vector<int> notes;
  static constexpr troupe::actor_options options{.mailbox_capacity = room, .overflow = O};
};

namespace {

using waits = actor_mailbox_target<overflow::wait>;
using refuses = actor_mailbox_target<overflow::refuse>;
using drops = actor_mailbox_target<overflow::drop_old>;

std::size_t waiting(world& w) {
  std::size_t sum = 0;
  for (const troupe::worker_info& i : w.broker.workers()) sum += i.waiting;
  return sum;
}

/// A worker whose turn lasts until the gate opens.
template <class A>
class held {
public:
  explicit held(world& w) : world_(w), proxy(w.broker.worker<A>("t")) {}
  task<> begin() {
    scope_.spawn(hold(proxy, at));
    co_await troupe::test::reached(at);
  }
  task<> end() {
    at.open();
    co_await scope_.join();
  }

  /// A call whose outcome goes to `codes[i]`, under way when this returns.
  task<> call(int i) {
    const std::size_t before = waiting(world_);
    scope_.spawn(one(i));
    co_await troupe::test::until([this, before, i] {
      return waiting(world_) != before || settled[static_cast<std::size_t>(i)];
    });
  }
  task<> call_owning(int i) {
    const std::size_t before = waiting(world_);
    scope_.spawn(one_owning(i));
    for (int n = 0; n < 50 && waiting(world_) == before; ++n) co_await troupe::yield();
  }

private:
  static task<> hold(troupe::proxy<A> p, gate g) { co_await p.template call<&A::wait>(g); }
  task<> one(int i) {
    codes[static_cast<std::size_t>(i)] = co_await code_of(proxy.template call<&A::note>(i));
    settled[static_cast<std::size_t>(i)] = true;
  }
  task<> one_owning(int i) {
    codes[static_cast<std::size_t>(i)] =
        co_await code_of(proxy.template call<&A::note_later>(i).within(1h));
    settled[static_cast<std::size_t>(i)] = true;
  }

  world& world_;
  troupe::task_scope scope_;

public:
  troupe::proxy<A> proxy;
  gate at;
  std::vector<std::error_code> codes = std::vector<std::error_code>(64);
  std::vector<bool> settled = std::vector<bool>(64);
};

task<> waiting_calls(world& w) {
  held<waits> h(w);
  co_await h.begin();
  for (int i = 0; i < 20; ++i) co_await h.call(i);
  CHECK(waiting(w) == 20);  // in their callers' memory
  const bool told = h.proxy.tell<&waits::note>(100);
  CHECK(!told);
  CHECK(w.dead.size() == 1);
  co_await h.end();
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(h.settled[i]);
    CHECK(!h.codes[i]);
  }
  const auto all = co_await h.proxy.call<&waits::all>();
  CHECK(all.size() == 20);
}

task<> waiting_tells(world& w) {
  held<waits> h(w);
  co_await h.begin();
  int queued = 0;
  for (int i = 0; i < 1000; ++i) queued += h.proxy.tell<&waits::note>(i) ? 1 : 0;
  CHECK(queued == static_cast<int>(room));
  CHECK(waiting(w) == room);
  CHECK(w.dead.size() == 1000 - room);
  co_await h.end();
  const auto all = co_await h.proxy.call<&waits::all>();
  CHECK(all == std::vector<int>{0, 1, 2, 3});
  const bool again = h.proxy.tell<&waits::note>(7);
  CHECK(again);
}

task<> refusing(world& w) {
  held<refuses> h(w);
  co_await h.begin();
  for (int i = 0; i < 10; ++i) co_await h.call(i);
  CHECK(waiting(w) == room);
  const bool told = h.proxy.tell<&refuses::note>(100);
  CHECK(!told);
  const std::error_code owning =
      co_await code_of(h.proxy.call<&refuses::note_later>(50).within(1h));
  CHECK(owning == errc::mailbox_full);
  CHECK(troupe::is_safe_to_retry(owning));
  co_await h.end();
  int refused = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(h.settled[i]);
    refused += h.codes[i] == errc::mailbox_full ? 1 : 0;
  }
  CHECK(refused == 10 - static_cast<int>(room));
  const auto all = co_await h.proxy.call<&refuses::all>();
  CHECK(all.size() == room);
}

task<> dropping_tells(world& w) {
  held<drops> h(w);
  co_await h.begin();
  int queued = 0;
  for (int i = 0; i < 1000; ++i) {
    queued += h.proxy.tell<&drops::note>(i) ? 1 : 0;
    CHECK(waiting(w) <= room);
  }
  CHECK(queued == 1000);
  CHECK(w.dead.size() == 1000 - room);
  co_await h.end();
  co_await troupe::test::until([&w] { return waiting(w) == 0; });
  const auto all = co_await h.proxy.call<&drops::all>();
  CHECK(all == std::vector<int>{996, 997, 998, 999});
}

task<> dropping_owning(world& w) {
  held<drops> h(w);
  co_await h.begin();
  for (int i = 0; i < 6; ++i) co_await h.call_owning(i);
  co_await troupe::test::until([&h] { return h.settled[0] && h.settled[1]; });
  CHECK(waiting(w) == room);
  CHECK(h.codes[0] == errc::mailbox_full);
  CHECK(h.codes[1] == errc::mailbox_full);
  CHECK(!h.settled[2]);
  co_await h.end();
  for (std::size_t i = 2; i < 6; ++i) {
    CHECK(h.settled[i]);
    CHECK(!h.codes[i]);
  }
  CHECK(w.dead.empty());
}

/// What is not there to be dropped is not dropped: calls that borrow wait.
task<> dropping_nothing(world& w) {
  held<drops> h(w);
  co_await h.begin();
  for (int i = 0; i < 10; ++i) co_await h.call(i);
  CHECK(waiting(w) == 10);
  const bool told = h.proxy.tell<&drops::note>(100);
  CHECK(!told);
  CHECK(w.dead.size() == 1);
  co_await h.end();
  for (std::size_t i = 0; i < 10; ++i) CHECK(!h.codes[i]);
}

/// Borrowing calls push tells out.
task<> calls_drop_tells(world& w) {
  held<drops> h(w);
  co_await h.begin();
  for (int i = 0; i < static_cast<int>(room); ++i) {
    const bool told = h.proxy.tell<&drops::note>(i);
    CHECK(told);
  }
  co_await troupe::yield();
  CHECK(waiting(w) == room);
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<drops> p) -> task<> {
    const int n = co_await p.call<&drops::note>(50);
    CHECK(n == 50);
  }(h.proxy));
  co_await troupe::test::until([&w] { return !w.dead.empty(); });
  CHECK(waiting(w) == room);
  co_await h.end();
  co_await scope.join();
  co_await troupe::test::until([&w] { return waiting(w) == 0; });
  const auto all = co_await h.proxy.call<&drops::all>();
  CHECK(all == std::vector<int>{1, 2, 3, 50});
  CHECK(w.dead[0].reason == errc::mailbox_full);
}

void in_every_order(task<> (*scenario)(world&)) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(scenario(w));
  }
}

}  // namespace

TEST_CASE("at a bound that waits, calls wait in their callers' memory",
          "[actor][mailbox][promise6]") {
  in_every_order(&waiting_calls);
}

TEST_CASE("at a bound that waits, tells are refused", "[actor][mailbox][promise6]") {
  in_every_order(&waiting_tells);
}

TEST_CASE("at a bound that refuses, calls settle mailbox_full", "[actor][mailbox][promise6]") {
  in_every_order(&refusing);
}

TEST_CASE("at a bound that drops, the oldest tell makes room", "[actor][mailbox][promise6]") {
  in_every_order(&dropping_tells);
}

TEST_CASE("at a bound that drops, the oldest owning call settles mailbox_full",
          "[actor][mailbox][promise6]") {
  in_every_order(&dropping_owning);
}

TEST_CASE("a call that borrows is never dropped", "[actor][mailbox][promise6]") {
  in_every_order(&dropping_nothing);
}

TEST_CASE("a call at a bound that drops makes room among the tells", "[actor][mailbox][promise6]") {
  in_every_order(&calls_drop_tells);
}

}  // namespace mailbox_tests

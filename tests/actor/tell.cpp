// SPDX-License-Identifier: MIT
// One-way messages: their order, their refusal, and the dead letters of those that are lost.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace tell_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::gate;
using troupe::test::world;

}  // namespace

struct actor_tell_target {
  void note(int n) { notes.push_back(n); }
  task<> note_later(int n) {
    notes.push_back(n);
    co_await troupe::yield();
    notes.push_back(-n);
  }
  int value(int n) {
    notes.push_back(n);
    return n;
  }
  void fail(std::string what) { throw std::runtime_error(what); }
  task<> fail_later(std::string what) {
    co_await troupe::yield();
    throw std::runtime_error(what);
  }
  task<> fail_int() {
    co_await troupe::yield();
    throw 42;
  }
  task<> wait(gate g) { co_await g; }
  std::vector<int> all() { return notes; }

  std::vector<int> notes;
  static constexpr troupe::actor_options options{.mailbox_capacity = 8};
};

struct actor_tell_teller {
  explicit actor_tell_teller(troupe::context& c) : target(c.worker<actor_tell_target>("t")) {}
  int flood(int count) {
    int queued = 0;
    for (int i = 1; i <= count; ++i) queued += target.tell<&actor_tell_target::note>(i) ? 1 : 0;
    return queued;
  }
  troupe::proxy<actor_tell_target> target;
};

namespace {

using target = actor_tell_target;
using proxy = troupe::proxy<target>;

task<std::vector<int>> in_order(proxy p) {
  for (int i = 1; i <= 6; ++i) {
    const bool told = i % 2 == 0 ? p.tell<&target::note>(i) : p.tell<&target::note_later>(i);
    CHECK(told);
  }
  const bool value = p.tell<&target::value>(7);  // the result is nobody's
  CHECK(value);
  auto all = co_await p.call<&target::all>();
  co_return all;
}

task<> at_capacity(world& w) {
  const proxy p = w.broker.worker<target>("t");
  gate g;
  troupe::task_scope scope;
  scope.spawn([](proxy q, gate at) -> task<> { co_await q.call<&target::wait>(at); }(p, g));
  co_await troupe::test::reached(g);
  for (int i = 1; i <= 8; ++i) {
    const bool told = p.tell<&target::note>(i);
    CHECK(told);
  }
  CHECK(w.broker.workers().front().waiting == 8);
  const bool ninth = p.tell<&target::note>(9);
  CHECK(!ninth);
  CHECK(w.dead.size() == 1);
  const auto teller = w.broker.worker<actor_tell_teller>("me");
  const int queued = co_await teller.call<&actor_tell_teller::flood>(5);
  CHECK(queued == 0);
  CHECK(w.dead.size() == 6);
  g.open();
  co_await scope.join();
  const auto all = co_await p.call<&target::all>();
  CHECK(all == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8});
}

task<> failing(proxy p) {
  const bool plain = p.tell<&target::fail>("plain");
  const bool later = p.tell<&target::fail_later>("later");
  const bool number = p.tell<&target::fail_int>();
  CHECK((plain && later && number));
  const auto all = co_await p.call<&target::all>();
  CHECK(all.empty());
}

}  // namespace

TEST_CASE("tells of one sender run in their order", "[actor][tell][promise1]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    REQUIRE(w.run(in_order(w.broker.worker<target>())) ==
            std::vector<int>{1, -1, 2, 3, -3, 4, 5, -5, 6, 7});
    REQUIRE(w.dead.empty());
  }
}

TEST_CASE("a tell may be sent from outside of all coroutines", "[actor][tell]") {
  troupe::broker broker(troupe::broker_options{.threads = 1});
  const proxy p = broker.worker<target>();
  for (int i = 0; i < 5; ++i) REQUIRE(p.tell<&target::note>(i));
  REQUIRE(broker.run(troupe::test::as_task(p.call<&target::all>())) ==
          std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("a tell never runs on the teller's stack", "[actor][tell]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  struct where {
    void here() { on = std::this_thread::get_id(); }
    std::thread::id get() { return on; }
    std::thread::id on;
  };
  for (int i = 0; i < 100; ++i) {
    const auto p = broker.worker<where>(std::to_string(i));
    REQUIRE(p.tell<&where::here>());
    const auto on = broker.run(troupe::test::as_task(p.call<&where::get>()));
    REQUIRE(on != std::this_thread::get_id());
  }
  world w;
  const auto p = w.broker.worker<target>();
  REQUIRE(p.tell<&target::note>(1));
  REQUIRE(w.broker.worker_count() == 0);  // it did not even make its worker here
  w.sim.advance(1s);
  REQUIRE(w.run(troupe::test::as_task(p.call<&target::all>())) == std::vector<int>{1});
}

TEST_CASE("at capacity a tell is refused, and is a dead letter with its reason and its sender",
          "[actor][tell][promise2][promise6]") {
  world w;
  w.run(at_capacity(w));
  REQUIRE(w.dead.size() == 6);
  for (const troupe::test::letter& l : w.dead) {
    REQUIRE(l.reason == errc::mailbox_full);
    REQUIRE(l.key == "t");
    REQUIRE(l.method == "note");
  }
  REQUIRE(!w.dead[0].from_worker);
  for (std::size_t i = 1; i < 6; ++i) REQUIRE(w.dead[i].from == "me");
}

TEST_CASE("what a told method throws is a dead letter", "[actor][tell]") {
  world w;
  w.run(failing(w.broker.worker<target>("t")));
  REQUIRE(w.dead.size() == 3);
  REQUIRE(w.dead[0].method == "fail");
  REQUIRE(!w.dead[0].reason);
  REQUIRE(troupe::test::text_of(w.dead[0].error) == "plain");
  REQUIRE(w.dead[1].method == "fail_later");
  REQUIRE(troupe::test::text_of(w.dead[1].error) == "later");
  REQUIRE(w.dead[2].method == "fail_int");
  REQUIRE_THROWS_AS(std::rethrow_exception(w.dead[2].error), int);
}

TEST_CASE("a tell to a broker that is gone is refused", "[actor][tell][promise2]") {
  proxy p;
  {
    troupe::broker broker(troupe::broker_options{.threads = 1});
    p = broker.worker<target>();
    REQUIRE(p.tell<&target::note>(1));
  }
  REQUIRE(!p.tell<&target::note>(2));
  const auto call = [](proxy q) -> task<std::error_code> {
    std::error_code code = co_await troupe::test::code_of(q.call<&target::all>());
    co_return code;
  };
  REQUIRE(troupe::sync_wait(call(p)) == errc::broker_gone);
}

}  // namespace tell_tests

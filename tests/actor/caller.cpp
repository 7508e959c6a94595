// SPDX-License-Identifier: MIT
// `troupe::caller`: who calls is stamped by the library, along every way a method can be reached.

#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace caller_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::test::gate;
using troupe::test::world;

}  // namespace

struct actor_caller_asked {
  std::string who(troupe::caller from) {
    return from ? std::string(from.key()) : std::string("nobody");
  }
  std::string who_ref(const troupe::caller& from, int) const {
    return from ? troupe::to_string(from.id()) : std::string("nobody");
  }
  task<std::string> who_later(troupe::caller from, std::string tail) {
    co_await troupe::yield();
    co_return (from ? std::string(from.key()) : std::string("nobody")) + tail;
  }
  task<std::string> who_asked() {
    const troupe::caller from = co_await troupe::this_task::caller();
    co_await troupe::yield();
    const troupe::caller again = co_await troupe::this_task::caller();
    co_return from == again ? who(from) : std::string("two callers");
  }
  void note(troupe::caller from) { noted.push_back(who(std::move(from))); }
  task<> note_later(troupe::caller from) {
    co_await troupe::yield();
    noted.push_back(who(std::move(from)));
  }
  std::vector<std::string> all() { return noted; }

  std::vector<std::string> noted;
};
}  // namespace caller_tests

TROUPE_METHODS(caller_tests::actor_caller_asked, who, who_asked, who_ref, who_later, note,
               note_later, all)

namespace caller_tests {

struct actor_caller_asking {
  explicit actor_caller_asking(troupe::context& c)
      : ctx(c), asked(c.worker<actor_caller_asked>()) {}

  task<std::string> call() { co_return co_await asked->who(); }
  task<std::string> call_later() {
    co_await troupe::yield();
    std::string who = co_await asked->who_later("!");
    co_return who;
  }
  task<std::string> call_ref() {
    std::string who = co_await asked->who_ref(3);
    co_return who;
  }
  task<std::string> call_asked() {
    std::string who = co_await asked->who_asked();
    std::string owned = co_await asked->who_asked().within(1h);
    co_return who + owned;
  }
  task<std::string> through_task() {
    std::string who = co_await call();
    co_return who;
  }
  task<std::string> through_all() {
    auto [a, b, c] = co_await troupe::when_all(asked->who(), asked->who_later("+"), call_later());
    co_return a + b + c;
  }
  task<std::string> through_any() {
    auto won = co_await troupe::when_any(asked->who());
    co_return std::get<0>(won);
  }
  task<std::string> through_scope() {
    std::string who;
    troupe::task_scope scope;
    scope.spawn(into(who));
    co_await scope.join();
    co_return who;
  }
  task<std::string> owned() {
    std::string a = co_await asked->who().within(1h);
    std::string b = co_await asked->who_later("?").within(1h);
    co_return a + b;
  }
  task<std::string> limited() {
    std::string who = co_await troupe::within(call(), 1h);
    co_return who;
  }
  /// Calls another worker of its class, which then calls: the nearest counts.
  task<std::string> relayed(std::string via) {
    const auto other = ctx.worker<actor_caller_asking>(via);
    std::string who = co_await other.call<&actor_caller_asking::call>();
    co_return who;
  }
  void tell() {
    const bool a = asked.tell<&actor_caller_asked::note>();
    const bool b = asked.tell<&actor_caller_asked::note_later>();
    ok = a && b;
  }
  task<> tell_later() {
    tell();
    co_await troupe::yield();
    tell();
  }
  task<> spawn() {
    ctx.spawn(told_from_task(asked));
    co_return;
  }
  static task<> told_from_task(troupe::proxy<actor_caller_asked> p) {
    const bool told = p.tell<&actor_caller_asked::note>();
    static_cast<void>(told);
    co_return;
  }
  task<> wait(gate g) { co_await g; }

  task<> into(std::string& who) { who = co_await asked->who(); }

  troupe::context& ctx;
  troupe::proxy<actor_caller_asked> asked;
  bool ok = false;
};
}  // namespace caller_tests

TROUPE_METHODS(caller_tests::actor_caller_asking, call, call_asked, call_later, call_ref,
               through_task, through_all, through_any, through_scope, owned, limited, relayed, tell,
               tell_later, spawn, wait)

namespace caller_tests {
namespace {

using asked = actor_caller_asked;
using asking = actor_caller_asking;

task<> from_outside(troupe::broker& broker) {
  const auto p = broker.worker<asked>();
  const std::string plain = co_await p->who();
  CHECK(plain == "nobody");
  const std::string ref = co_await p->who_ref(1);
  CHECK(ref == "nobody");
  const std::string later = co_await p->who_later("!");
  CHECK(later == "nobody!");
  const std::string owned = co_await p->who().within(1h);
  CHECK(owned == "nobody");
  const std::string asked_for = co_await p->who_asked();
  CHECK(asked_for == "nobody");
  const bool told = p.tell<&asked::note>();
  CHECK(told);
  const auto noted = co_await p->all();
  CHECK(noted == std::vector<std::string>{"nobody"});
}

task<> from_worker(troupe::broker& broker) {
  const auto p = broker.worker<asking>("k");
  const std::string call = co_await p->call();
  CHECK(call == "k");
  const std::string later = co_await p->call_later();
  CHECK(later == "k!");
  const std::string asked_for = co_await p->call_asked();
  CHECK(asked_for == "kk");
  const std::string ref = co_await p->call_ref();
  CHECK(troupe::test::contains(ref, "actor_caller_asking"));
  CHECK(troupe::test::contains(ref, "k"));
  const std::string through_task = co_await p->through_task();
  CHECK(through_task == "k");
  const std::string through_all = co_await p->through_all();
  CHECK(through_all == "kk+k!");
  const std::string through_any = co_await p->through_any();
  CHECK(through_any == "k");
  const std::string through_scope = co_await p->through_scope();
  CHECK(through_scope == "k");
  const std::string owned = co_await p->owned();
  CHECK(owned == "kk?");
  const std::string limited = co_await p->limited();
  CHECK(limited == "k");
  const std::string relayed = co_await p->relayed("other");
  CHECK(relayed == "other");
  // The method itself runs in an owning call: what it calls is still stamped with its worker.
  const std::string below_owned = co_await p->call().within(1h);
  CHECK(below_owned == "k");
  const std::string below_owned_later = co_await p->through_all().within(1h);
  CHECK(below_owned_later == "kk+k!");
}

task<> tells(troupe::broker& broker, bool busy) {
  const auto p = broker.worker<asking>("k");
  gate g;
  troupe::task_scope scope;
  if (busy) {
    scope.spawn(troupe::test::as_task(p->wait(g)));
    co_await troupe::test::reached(g);
    scope.spawn([](gate opened) -> task<> {
      for (int i = 0; i < 20; ++i) co_await troupe::yield();
      opened.open();
    }(g));
  }
  co_await p->tell();
  co_await p->tell_later();
  co_await p->tell().within(1h);
  co_await p->tell_later().within(1h);
  co_await scope.join();
  const auto q = broker.worker<asked>();
  std::vector<std::string> noted;
  for (int i = 0; i < 1000 && noted.size() < 12; ++i) {
    noted = co_await q->all();
    co_await troupe::yield();
  }
  CHECK(noted == std::vector<std::string>(12, "k"));
}

task<> tells_of_spawned(troupe::broker& broker) {
  const auto p = broker.worker<asking>("k");
  co_await p->spawn();
  const auto q = broker.worker<asked>();
  std::vector<std::string> noted;
  for (int i = 0; i < 1000 && noted.empty(); ++i) {
    noted = co_await q->all();
    co_await troupe::yield();
  }
  // A task beside the turns is no turn.
  CHECK(noted == std::vector<std::string>{"nobody"});
}

}  // namespace

TEST_CASE("a call from outside comes from nobody", "[actor][caller]") {
  world w;
  w.run(from_outside(w.broker));
}

TEST_CASE("a call from a worker is stamped with that worker", "[actor][caller]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 2 : 1);
    w.run(from_worker(w.broker));
  }
}

TEST_CASE("a tell is stamped with the worker from whose method it is sent", "[actor][caller]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 2 : 1);
    w.run(tells(w.broker, false));
  }
}

TEST_CASE("a tell sent from a method out of the mailbox is stamped too", "[actor][caller]") {
  world w;
  w.run(tells(w.broker, true));
}

TEST_CASE("a task that a worker has spawned is nobody's turn", "[actor][caller]") {
  world w;
  w.run(tells_of_spawned(w.broker));
}

TEST_CASE("callers are stamped on threads too", "[actor][caller]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  broker.run(from_outside(broker));
  broker.run(from_worker(broker));
}

}  // namespace caller_tests

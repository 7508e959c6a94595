// SPDX-License-Identifier: MIT
// Calls of plain methods and of coroutines, by name and by member pointer, as functions; every
// kind of result; exceptions reach the caller unchanged.

#include <array>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace calls_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::gate;
using troupe::test::world;

struct not_an_exception {
  int number;
};

class own_exception : public std::runtime_error {
public:
  own_exception() : std::runtime_error("mine") {}
  int detail = 17;
};

struct counter_base {
  int inherited(int by) { return total += by; }
  task<int> inherited_task(int by) {
    co_await troupe::yield();
    co_return total += by;
  }
  int total = 0;
};

}  // namespace

struct actor_calls_target : counter_base {
  int add(int by) { return total += by; }
  int sum() const noexcept { return total; }
  void nothing() { ++total; }
  std::unique_ptr<int> move_only(int v) { return std::make_unique<int>(v); }
  std::array<int, 4096> large(int v) {
    std::array<int, 4096> a{};
    a.fill(v);
    return a;
  }
  std::string text(std::string_view s) { return "<" + std::string(s) + ">"; }

  task<int> add_later(int by) {
    co_await troupe::yield();
    co_return total += by;
  }
  task<int> add_at_once(int by) { co_return total += by; }
  task<> nothing_later() {
    co_await troupe::yield();
    ++total;
  }
  task<std::unique_ptr<int>> move_only_later(std::unique_ptr<int> v) {
    co_await troupe::yield();
    ++*v;
    co_return v;
  }
  task<std::array<int, 4096>> large_later(int v) {
    std::array<int, 4096> a{};
    co_await troupe::yield();
    a.fill(v);
    co_return a;
  }

  int throws(int what) {
    switch (what) {
      case 0:
        throw 42;
      case 1:
        throw not_an_exception{7};
      case 2:
        throw own_exception();
      default:
        throw std::bad_alloc();
    }
  }
  task<int> throws_later(int what) {
    co_await troupe::yield();
    co_return throws(what);
  }
  task<int> throws_at_once(int what) { co_return throws(what); }

  task<> wait(gate g) { co_await g; }
};

/// A class as others write them: results that are constant, a member that is called `options`.
struct actor_calls_as_found {
  const std::string name() const { return "found"; }
  int options = 3;
};
}  // namespace calls_tests

TROUPE_METHODS(calls_tests::actor_calls_as_found, name)

TROUPE_METHODS(calls_tests::actor_calls_target, add, sum, nothing, move_only, large, text,
               add_later, add_at_once, nothing_later, move_only_later, large_later, throws,
               throws_later, throws_at_once, wait, inherited, inherited_task)

namespace calls_tests {
namespace {

using target = actor_calls_target;

task<> by_name(troupe::broker& broker) {
  const auto p = broker.worker<target>("a");
  const int one = co_await p->add(1);
  CHECK(one == 1);
  const int two = co_await p->add_later(1);
  CHECK(two == 2);
  const int three = co_await p->add_at_once(1);
  CHECK(three == 3);
  co_await p->nothing();
  co_await p->nothing_later();
  const int sum = co_await p->sum();
  CHECK(sum == 5);
  const int inherited = co_await p->inherited(2);
  CHECK(inherited == 7);
  const int of_temporary = co_await broker.worker<target>("a")->add(1);
  CHECK(of_temporary == 8);
  const int of_temporary_task = co_await broker.worker<target>("a")->add_later(1);
  CHECK(of_temporary_task == 9);
  const int other = co_await broker.worker<target>("b")->sum();
  CHECK(other == 0);
}

task<> by_pointer(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  const int one = co_await p.call<&target::add>(1);
  CHECK(one == 1);
  const int two = co_await p.call<&target::add_later>(1);
  CHECK(two == 2);
  const int sum = co_await p.call<&target::sum>();
  CHECK(sum == 2);
  const int inherited = co_await p.call<&counter_base::inherited>(3);
  CHECK(inherited == 5);
  const int again = co_await broker.worker<target>().call<&target::add_later>(1);
  CHECK(again == 6);
}

task<> as_functions(troupe::broker& broker) {
  const auto add = broker.function<&target::add>("f");
  const int one = co_await add(1);
  CHECK(one == 1);
  const auto later = broker.function<&target::add_later>("f");
  const int two = co_await later(1);
  CHECK(two == 2);
  // `&target::inherited` is a member pointer of the base: the class is to be named.
  const auto inherited = broker.function<&target::inherited, target>("f");
  const int three = co_await inherited(1);
  CHECK(three == 3);
  const auto inherited_task = broker.function<&target::inherited_task, target>("f");
  const int four = co_await inherited_task(1);
  CHECK(four == 4);
  const auto of_proxy = broker.worker<target>("f").function<&target::add>();
  const int five = co_await of_proxy(1);
  CHECK(five == 5);
  const bool told = add.tell(10);
  CHECK(told);
  const int sixteen = co_await add(1);
  CHECK(sixteen == 16);
  const int of_temporary = co_await broker.function<&target::add>("f")(1);
  CHECK(of_temporary == 17);
}

task<> results(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  const std::unique_ptr<int> moved = co_await p->move_only(3);
  REQUIRE(moved);
  CHECK(*moved == 3);
  auto given = std::make_unique<int>(4);
  const std::unique_ptr<int> later = co_await p->move_only_later(std::move(given));
  REQUIRE(later);
  CHECK(*later == 5);
  const auto large = co_await p->large(9);
  CHECK(large[4095] == 9);
  const auto large_later = co_await p->large_later(8);
  CHECK(large_later[0] == 8);
  const std::string text = co_await p->text("x");
  CHECK(text == "<x>");
}

task<> constant_results(troupe::broker& broker) {
  const auto p = broker.worker<actor_calls_as_found>();
  std::string name = co_await p->name();
  CHECK(name == "found");
  name = co_await p->name().within(1s);
  CHECK(name == "found");
  CHECK(p.tell<&actor_calls_as_found::name>());
  const auto both = co_await troupe::when_all(p->name(), p->name());
  CHECK(std::get<1>(both) == "found");
}

/// The same results out of the mailbox and from owning calls.
task<> results_of_busy(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  gate g;
  troupe::task_scope scope;
  scope.spawn(troupe::test::as_task(p->wait(g)));
  co_await troupe::test::reached(g);
  auto all =
      troupe::when_all(p->move_only(3), p->large(9), p->nothing(), p->text("y"),
                       p->move_only_later(std::make_unique<int>(6)), p->move_only(4).within(1h),
                       p->large_later(7).within(1h), p->nothing_later().within(1h));
  scope.spawn([](gate opened) -> task<> {
    for (int i = 0; i < 100; ++i) co_await troupe::yield();
    opened.open();
  }(g));
  const auto [moved, large, none, text, later, owned, owned_large, owned_none] =
      co_await std::move(all);
  CHECK(*moved == 3);
  CHECK(large[4095] == 9);
  CHECK(text == "<y>");
  CHECK(*later == 7);
  CHECK(*owned == 4);
  CHECK(owned_large[1] == 7);
  static_cast<void>(none);
  static_cast<void>(owned_none);
  co_await scope.join();
}

template <class Call>
task<std::string> kind_of(Call call) {
  std::string kind = "value";
  try {
    const int value = co_await std::move(call);
    static_cast<void>(value);
  } catch (int i) {
    kind = "int " + std::to_string(i);
  } catch (const not_an_exception& e) {
    kind = "struct " + std::to_string(e.number);
  } catch (const own_exception& e) {
    kind = "own " + std::to_string(e.detail);
  } catch (const std::bad_alloc&) {
    kind = "bad_alloc";
  } catch (...) {
    kind = "other";
  }
  co_return kind;
}

const char* const kinds[] = {"int 42", "struct 7", "own 17", "bad_alloc"};

task<> exceptions(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  for (int i = 0; i < 4; ++i) {
    const std::string plain = co_await kind_of(p->throws(i));
    CHECK(plain == kinds[i]);
    const std::string later = co_await kind_of(p->throws_later(i));
    CHECK(later == kinds[i]);
    const std::string at_once = co_await kind_of(p->throws_at_once(i));
    CHECK(at_once == kinds[i]);
    const std::string owned = co_await kind_of(p->throws(i).within(1h));
    CHECK(owned == kinds[i]);
    const std::string owned_later = co_await kind_of(p->throws_later(i).within(1h));
    CHECK(owned_later == kinds[i]);
  }
}

task<> exceptions_of_busy(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  for (int i = 0; i < 4; ++i) {
    gate g;
    troupe::task_scope scope;
    scope.spawn(troupe::test::as_task(p->wait(g)));
    co_await troupe::test::reached(g);
    scope.spawn([](gate opened) -> task<> {
      for (int n = 0; n < 50; ++n) co_await troupe::yield();
      opened.open();
    }(g));
    const auto [plain, later] =
        co_await troupe::when_all(kind_of(p->throws(i)), kind_of(p->throws_later(i)));
    CHECK(plain == kinds[i]);
    CHECK(later == kinds[i]);
    co_await scope.join();
  }
}

task<int> calls_after_exceptions(troupe::broker& broker) {
  const auto p = broker.worker<target>();
  for (int i = 0; i < 100; ++i) {
    const std::string kind = co_await kind_of(p->throws(2));
    CHECK(kind == "own 17");
    const int total = co_await p->add(1);
    CHECK(total == i + 1);
  }
  const int sum = co_await p->sum();
  co_return sum;
}

}  // namespace

TEST_CASE("methods are called by name, plain ones and coroutines alike", "[actor][call]") {
  world w;
  w.run(by_name(w.broker));
}

TEST_CASE("methods are called by member pointer, without the macro", "[actor][call]") {
  world w;
  w.run(by_pointer(w.broker));
}

TEST_CASE("one method of a worker is a callable, also an inherited one", "[actor][call]") {
  world w;
  w.run(as_functions(w.broker));
}

TEST_CASE("a result may be void, move-only or large", "[actor][call]") {
  world w;
  w.run(results(w.broker));
}

TEST_CASE("a class with constant results and a member called options is an actor",
          "[actor][call]") {
  world w;
  w.run(constant_results(w.broker));
}

TEST_CASE("a result that comes out of the mailbox may be void, move-only or large",
          "[actor][call]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    world w(seed);
    w.run(results_of_busy(w.broker));
  }
}

TEST_CASE("an exception of any type reaches the caller unchanged", "[actor][call]") {
  world w;
  w.run(exceptions(w.broker));
}

TEST_CASE("an exception out of the mailbox reaches the caller unchanged", "[actor][call]") {
  world w;
  w.run(exceptions_of_busy(w.broker));
}

TEST_CASE("a method that throws leaves its worker as usable as before", "[actor][call]") {
  world w;
  REQUIRE(w.run(calls_after_exceptions(w.broker)) == 100);
}

TEST_CASE("calls work on threads as they do in the simulator", "[actor][call]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  broker.run(by_name(broker));
  broker.run(by_pointer(broker));
  broker.run(as_functions(broker));
  broker.run(exceptions(broker));
}

TEST_CASE("a call may be made from outside of all coroutines", "[actor][call]") {
  troupe::broker broker(troupe::broker_options{.threads = 1});
  const auto p = broker.worker<target>();
  REQUIRE(troupe::sync_wait(p->add(2)) == 2);
  REQUIRE(troupe::sync_wait(p->add_later(2)) == 4);
}

}  // namespace calls_tests

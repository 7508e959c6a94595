// SPDX-License-Identifier: MIT
// Typed calls of a module through a broker.

#include <troupe/function/library.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kit.hpp"

namespace library_tests {

using namespace std::chrono_literals;
using functions_kit::error_of;
using functions_kit::is;
using functions_kit::module_path;

/// What the program knows of the module: declarations.
struct icalculator {
  double mean(double a, double b);
  double add(double a, double b);
  int count() const;
  std::string hello(std::string_view name);
  std::string who();
  std::vector<std::byte> echo(std::vector<std::byte> bytes);
  troupe::task<int> sleep(int milliseconds);
  void note(int number);
  std::vector<std::int32_t> notes() const;
  void throw_error();
  int not_there();
};
}  // namespace library_tests

TROUPE_METHODS(library_tests::icalculator, mean, add, count, hello, who, echo, sleep, note, notes,
               throw_error, not_there)

namespace library_tests {
namespace {

troupe::library calculator(bool per_key = false) {
  troupe::module_options options;
  options.kept = troupe::isolation::in_process;
  options.per_key = per_key;
  return troupe::library(module_path("calculator-v1.0.0"), options);
}

}  // namespace

TEST_CASE("a module is called like a worker") {
  troupe::broker broker({.threads = 2});
  const auto calls = [](troupe::broker& b) -> troupe::task<> {
    auto alice = b.worker<icalculator>(calculator(), "alice");
    auto bob = b.worker<icalculator>(calculator(), "bob");
    const double d = co_await alice->mean(2, 3);
    CHECK(d == 2.5);
    const std::string text = co_await alice->hello("World");
    CHECK(text == "Hello World");
    const std::vector<std::byte> bytes(10, std::byte{7});
    const auto back = co_await alice->echo(bytes);
    CHECK(back == bytes);
    static_cast<void>(co_await alice.call<&icalculator::add>(1, 2));
    const int mine = co_await alice->count();
    const int others = co_await bob->count();
    CHECK(mine == 1);
    CHECK(others == 0);
    const troupe::error late = co_await error_of(alice->sleep(10'000).within(20ms));
    CHECK(is(late, troupe::errc::timed_out));
    const troupe::error none = co_await error_of(alice->not_there());
    CHECK(is(none, troupe::errc::no_such_method));
  };
  broker.run(calls(broker));
}

TEST_CASE("tenants may have instances of their own") {
  const std::size_t mapped = functions_kit::mapped_modules();
  {
    troupe::broker broker({.threads = 2});
    const auto calls = [](troupe::broker& b) -> troupe::task<> {
      for (const char* key : {"alice", "bob"}) {
        auto one = b.worker<icalculator>(calculator(true), key);
        static_cast<void>(co_await one->add(1, 2));
        const int count = co_await one->count();
        CHECK(count == 1);
      }
    };
    broker.run(calls(broker));
    CHECK(functions_kit::mapped_modules() >= 2 * (mapped + 1));
  }
  CHECK(functions_kit::mapped_modules() == mapped);
}

namespace {

/// What a broker was told of messages that nobody awaits.
struct letters {
  std::mutex mutex;
  std::vector<std::string> all;

  troupe::broker_options options() {
    troupe::broker_options o;
    o.threads = 2;
    o.on_dead_letter = [this](const troupe::dead_letter& l) {
      std::string text = std::string(l.method) + " of " + l.to.key + " from " + l.from.id().key;
      text += l.reason ? ": not run, " + l.reason.message() : std::string(": failed");
      if (!l.error) text += ", without an error";
      const std::lock_guard guard(mutex);
      all.push_back(text);
    };
    return o;
  }
  bool has(std::string_view text) {
    const std::lock_guard guard(mutex);
    return std::any_of(all.begin(), all.end(),
                       [text](const std::string& l) { return l.find(text) == 0; });
  }
};

/// Tells in a turn of its own.
struct teller {
  void tell(troupe::module_proxy<icalculator> to) { CHECK(to.tell<&icalculator::not_there>()); }
};

template <class Holds>
troupe::task<bool> until(Holds holds) {
  for (int i = 0; i != 10'000; ++i) {
    if (holds()) co_return true;
    co_await troupe::sleep_for(1ms);
  }
  co_return holds();
}

troupe::task<bool> until_count_is(troupe::module_proxy<icalculator> p, int expected) {
  for (int i = 0; i != 10'000; ++i) {
    const int count = co_await p->count();
    if (count == expected) co_return true;
    co_await troupe::sleep_for(1ms);
  }
  co_return false;
}

}  // namespace

TEST_CASE("a module is told like a worker: nobody waits, and what fails is a dead letter") {
  letters dead;
  troupe::broker broker(dead.options());
  const auto tells = [&dead](troupe::broker& b) -> troupe::task<> {
    auto alice = b.worker<icalculator>(calculator(), "alice");
    for (int i = 0; i != 50; ++i) CHECK(alice.tell<&icalculator::add>(i, 2));
    CHECK(co_await until_count_is(alice, 50));
    CHECK(dead.all.empty());
    CHECK(alice.tell<&icalculator::not_there>());
    auto failed = until([&dead] { return dead.has("not_there of alice from : not run, "); });
    const bool told = co_await std::move(failed);
    CHECK(told);
    auto worker = b.worker<teller>("bob");
    auto telling = worker.call<&teller::tell>(alice);
    co_await std::move(telling);
    auto named = until([&dead] { return dead.has("not_there of alice from bob: not run, "); });
    const bool knows_who = co_await std::move(named);
    CHECK(knows_who);
  };
  broker.run(tells(broker));
  CHECK(dead.all.size() == 2);
  CHECK(broker.stats().dead_letters == 2);
}

TEST_CASE("a tell of a module that cannot be loaded, or takes no more, is a dead letter") {
  letters dead;
  {
    troupe::broker broker(dead.options());
    const auto tells = [&dead](troupe::broker& b) -> troupe::task<> {
      auto none = b.worker<icalculator>(troupe::library("/there/is/none.so"), "k");
      CHECK(none.tell<&icalculator::count>());
      auto failed = until([&dead] { return dead.has("count of k from : not run, "); });
      const bool told = co_await std::move(failed);
      CHECK(told);
    };
    broker.run(tells(broker));
  }
  CHECK(dead.all.size() == 1);
}

namespace {

constexpr int in_a_step = 200;
constexpr int steps = 5;

/// Tells numbers in its own step, and returns what it was after that.
struct counter {
  void tell(std::vector<troupe::module_proxy<icalculator>> to, int from, int count) {
    for (int i = from; i != from + count; ++i) {
      for (const auto& p : to) p.tell<&icalculator::note>(i);
    }
  }
};

bool are_numbers(const std::vector<std::int32_t>& notes, int count) {
  if (notes.size() != static_cast<std::size_t>(count)) return false;
  for (int i = 0; i != count; ++i) {
    if (notes[static_cast<std::size_t>(i)] != i) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a worker in a module is told in order, and called behind that") {
  for (int round = 0; round != 5; ++round) {
    letters dead;
    troupe::broker broker(dead.options());
    const auto tells = [](troupe::broker& b) -> troupe::task<> {
      std::vector<troupe::module_proxy<icalculator>> all;
      for (const char* key : {"alice", "bob", "carol"}) {
        all.push_back(b.worker<icalculator>(calculator(), key));
      }
      auto teller = b.worker<counter>("c");
      for (int step = 0; step != steps; ++step) {  // the first: before the module is there
        auto telling = teller.call<&counter::tell>(all, step * in_a_step, in_a_step);
        co_await std::move(telling);
        for (const auto& p : all) {
          const std::vector<std::int32_t> notes = co_await p->notes();
          CHECK(are_numbers(notes, (step + 1) * in_a_step));
        }
      }
    };
    broker.run(tells(broker));
    CHECK(dead.all.empty());
  }
}

TEST_CASE("a module takes only so many tells at once") {
  letters dead;
  const std::size_t most = troupe::function_host_options().max_waiting;
  std::size_t taken = 0;
  std::size_t refused = 0;
  {
    troupe::broker broker(dead.options());
    const auto tells = [&](troupe::broker& b) -> troupe::task<> {
      const auto tell_until_refused = [&] {
        for (int i = 0; refused == 0 && i != 40'000; ++i) {
          const auto p = b.worker<icalculator>(calculator(), std::to_string(i));
          ++(p.tell<&icalculator::sleep>(1000) ? taken : refused);
        }
      };
      tell_until_refused();  // before it is there, or just when
      CHECK(refused == 1);
      auto other = b.worker<icalculator>(calculator(), "x");
      const int count = co_await other->count();  // those that somebody awaits are
      CHECK(count == 0);
      const std::size_t before = taken;
      refused = 0;
      tell_until_refused();  // while it runs
      CHECK(refused == 1);
      CHECK(taken - before < most);
    };
    broker.run(tells(broker));
  }
  CHECK(taken >= most);
  CHECK(dead.all.size() == 2);
  CHECK(dead.has("sleep of "));
  CHECK(dead.all[0].find(": not run, ") != std::string::npos);
}

TEST_CASE("a tell whose function has thrown was run, whatever the error says") {
  letters dead;
  {
    troupe::broker broker(dead.options());
    const auto tells = [](troupe::broker& b) -> troupe::task<> {
      auto alice = b.worker<icalculator>(calculator(), "alice");
      CHECK(alice.tell<&icalculator::throw_error>());  // `refused`: mostly said of what was not run
      static_cast<void>(co_await alice->count());
    };
    broker.run(tells(broker));
  }
  REQUIRE(dead.all.size() == 1);
  CHECK(dead.has("throw_error of alice from : failed"));
}

TEST_CASE("a broker that goes awaits the modules that it has told something") {
  letters dead;
  const auto begin = std::chrono::steady_clock::now();
  {
    troupe::broker broker(dead.options());
    const auto tells = [](troupe::broker& b) -> troupe::task<> {
      auto alice = b.worker<icalculator>(calculator(), "alice");
      static_cast<void>(co_await alice->count());
      CHECK(alice.tell<&icalculator::sleep>(200));
      co_await troupe::sleep_for(50ms);
    };
    broker.run(tells(broker));
  }
  CHECK(std::chrono::steady_clock::now() - begin > 190ms);
  CHECK(dead.all.empty());
}

}  // namespace library_tests

// SPDX-License-Identifier: MIT
// Promise 1: a worker never runs two turns at once, has one instance per id, and takes the
// messages of one caller in their order. Promise 2: every call settles once.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace serial_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::world;

std::atomic<int> instances{0};

}  // namespace

struct actor_serial_counter {
  actor_serial_counter() { ++instances; }
  ~actor_serial_counter() { --instances; }

  // Not atomic: two turns at once are a data race, and lose counts.
  int add(int by) {
    enter();
    count += by;
    leave();
    return count;
  }
  troupe::task<int> add_later(int by) {
    enter();
    const int before = count;
    co_await troupe::yield();
    count = before + by;  // nothing came between
    leave();
    co_return count;
  }
  troupe::task<int> add_at_once(int by) {
    enter();
    count += by;
    leave();
    co_return count;
  }
  troupe::task<int> add_in_parts(int by) {
    enter();
    auto parts = co_await troupe::when_all(part(by), part(by), part(by));
    static_cast<void>(parts);
    leave();
    co_return count;
  }
  int fail() { throw by_design(); }
  struct by_design {};

  int get() const { return count; }
  int bad() const { return overlaps; }

  troupe::task<> part(int by) {
    const int before = count;
    count = before + by;  // the parts of one turn do not run at once either
    co_await troupe::yield();
    ++steps;
  }
  void enter() { overlaps += inside++ != 0 ? 1 : 0; }
  void leave() { --inside; }

  int count = 0;
  int inside = 0;
  int overlaps = 0;
  int steps = 0;
};
}  // namespace serial_tests

TROUPE_METHODS(serial_tests::actor_serial_counter, add, add_later, add_at_once, add_in_parts, fail,
               get, bad)

namespace serial_tests {

struct actor_serial_recorder {
  void note(int from, int number) { seen[from].push_back(number); }
  troupe::task<> note_later(int from, int number) {
    seen[from].push_back(number);
    co_await troupe::yield();
  }
  int wrong() const {
    int count = 0;
    for (const auto& [from, numbers] : seen) {
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        count += numbers[i] != static_cast<int>(i) ? 1 : 0;
      }
    }
    return count;
  }
  std::size_t total() const {
    std::size_t sum = 0;
    for (const auto& [from, numbers] : seen) sum += numbers.size();
    return sum;
  }
  std::map<int, std::vector<int>> seen;
  static constexpr troupe::actor_options options{.mailbox_capacity = 100'000};
};
}  // namespace serial_tests

TROUPE_METHODS(serial_tests::actor_serial_recorder, note, note_later, wrong, total)

namespace serial_tests {
namespace {

using counter = actor_serial_counter;
using recorder = actor_serial_recorder;

struct balance {
  std::atomic<int> made{0};
  std::atomic<int> values{0};
  std::atomic<int> failures{0};
};

task<> hammer(troupe::broker& broker, int who, int rounds, balance& b) {
  const auto p = broker.worker<counter>("one");
  for (int i = 0; i < rounds; ++i) {
    ++b.made;
    try {
      switch ((i + who) % 6) {
        case 0: {
          const int n = co_await p->add(1);
          static_cast<void>(n);
          break;
        }
        case 1: {
          const int n = co_await p->add_later(1);
          static_cast<void>(n);
          break;
        }
        case 2: {
          const int n = co_await p->add_at_once(1);
          static_cast<void>(n);
          break;
        }
        case 3: {
          const int n = co_await p->add(1).within(1h);
          static_cast<void>(n);
          break;
        }
        case 4: {
          const int n = co_await p->fail();
          static_cast<void>(n);
          break;
        }
        default: {
          const auto both = co_await troupe::when_all(p->add(0), p->add_later(1));
          static_cast<void>(both);
          break;
        }
      }
      ++b.values;
    } catch (const counter::by_design&) {
      ++b.failures;
    }
  }
}

task<> hammer_all(troupe::broker& broker, int callers, int rounds, balance& b) {
  std::vector<task<>> all;
  for (int i = 0; i < callers; ++i) all.push_back(hammer(broker, i, rounds, b));
  co_await troupe::when_all(std::move(all));
}

task<> check_count(troupe::broker& broker, const balance& b) {
  const auto p = broker.worker<counter>("one");
  const int count = co_await p->get();
  const int bad = co_await p->bad();
  CHECK(count == b.values.load());
  CHECK(bad == 0);
}

/// One sender: numbers its messages, whatever their kind, and awaits some of them.
task<> send(troupe::broker& broker, int from, int rounds, std::uint64_t seed) {
  const auto p = broker.worker<recorder>();
  std::uint64_t random = seed;
  int number = 0;
  for (int i = 0; i < rounds; ++i) {
    const int mine = number++;
    switch (troupe::splitmix64(random) % 6) {
      case 0:
        co_await p->note(from, mine);
        break;
      case 1:
        co_await p->note_later(from, mine);
        break;
      case 2: {
        const bool told = p.tell<&recorder::note>(from, mine);
        static_cast<void>(told);
        break;
      }
      case 3: {
        const bool told = p.tell<&recorder::note_later>(from, mine);
        static_cast<void>(told);
        break;
      }
      case 4:
        co_await p->note(from, mine).within(1h);
        break;
      default: {
        const int first = mine;
        number += 3;
        auto all = co_await troupe::when_all(p->note(from, first), p->note_later(from, first + 1),
                                             p->note(from, first + 2).within(1h),
                                             p->note_later(from, first + 3));
        static_cast<void>(all);
        break;
      }
    }
  }
}

task<> send_all(troupe::broker& broker, int senders, int rounds, std::uint64_t seed) {
  std::vector<task<>> all;
  for (int i = 0; i < senders; ++i) {
    all.push_back(send(broker, i, rounds, seed + static_cast<std::uint64_t>(i)));
  }
  co_await troupe::when_all(std::move(all));
  const auto p = broker.worker<recorder>();
  const int wrong = co_await p->wrong();
  CHECK(wrong == 0);
}

task<> first_calls(troupe::broker& broker) {
  std::vector<task<int>> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(troupe::test::as_task(broker.worker<counter>("new")->add(1)));
  }
  const std::vector<int> counts = co_await troupe::when_all(std::move(all));
  CHECK(counts.size() == 50);
  const int total = co_await broker.worker<counter>("new")->get();
  CHECK(total == 50);
}

#if TROUPE_TSAN
constexpr int stress_rounds = 300;
#else
constexpr int stress_rounds = 3000;
#endif

}  // namespace

TEST_CASE("a worker never runs two turns at once, whoever calls", "[actor][promise1][promise2]") {
  for (const unsigned threads : {2U, 3U, 4U}) {
    CAPTURE(threads);
    troupe::broker broker(troupe::broker_options{.threads = threads});
    balance b;
    broker.run(hammer_all(broker, 8, stress_rounds, b));
    broker.run(check_count(broker, b));
    REQUIRE(b.made.load() == 8 * stress_rounds);
    REQUIRE(b.values.load() + b.failures.load() == b.made.load());
  }
}

TEST_CASE("a worker never runs two turns at once, in any order", "[actor][promise1][promise2]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 3 == 0 ? 4 : 1);
    balance b;
    w.run(hammer_all(w.broker, 5, 40, b));
    w.run(check_count(w.broker, b));
    REQUIRE(b.values.load() + b.failures.load() == b.made.load());
  }
}

TEST_CASE("the parts of one turn do not run at once", "[actor][promise1]") {
  troupe::broker broker(troupe::broker_options{.threads = 3});
  const auto p = broker.worker<counter>();
  const auto parts = [](troupe::proxy<counter> c) -> task<int> {
    int last = 0;
    for (int i = 0; i < 200; ++i) last = co_await c->add_in_parts(1);
    co_return last;
  };
  REQUIRE(broker.run(parts(p)) == 600);
}

TEST_CASE("calls and tells of one caller run in the order they were made", "[actor][promise1]") {
  const std::uint64_t seed = Catch::rngSeed() + 1;
  CAPTURE(seed);
  for (const unsigned threads : {1U, 2U, 4U}) {
    CAPTURE(threads);
    troupe::broker broker(troupe::broker_options{.threads = threads});
    broker.run(send_all(broker, 5, stress_rounds / 5, seed));
  }
}

TEST_CASE("calls and tells of one caller keep their order in any schedule", "[actor][promise1]") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(send_all(w.broker, 4, 30, seed));
  }
}

TEST_CASE("calls that are first at the same time share one instance", "[actor][promise1]") {
  {
    troupe::broker broker(troupe::broker_options{.threads = 4});
    for (int i = 0; i < 20; ++i) {
      broker.run(first_calls(broker));
      REQUIRE(instances.load() == 1);
      REQUIRE(broker.run(broker.remove<counter>("new")));
      REQUIRE(instances.load() == 0);
    }
  }
  REQUIRE(instances.load() == 0);
}

}  // namespace serial_tests

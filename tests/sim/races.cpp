// SPDX-License-Identifier: MIT
// The simulator finds planted races in actors, with no more said than a seed, however the clients
// are run: an await is a place where others may go first, also where the call could run at once.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <troupe.hpp>

#include "../support/catch.hpp"
#include "../support/with_variable.hpp"

namespace {

using namespace std::chrono_literals;
using troupe::broker;
using troupe::proxy;
using troupe::sim_executor;
using troupe::sim_options;
using troupe::sim_search_result;
using troupe::sim_strategy;
using troupe::task;

struct sim_races_plain {
  int get() const { return value; }
  void set(int v) { value = v; }
  int value = 0;
};
struct sim_races_later {
  task<int> get() const { co_return value; }
  task<> set(int v) {
    value = v;
    co_return;
  }
  int value = 0;
};

/// Reads, then writes: an update in between is lost.
template <class A>
task<> add_one(proxy<A> a) {
  const int before = co_await a.template call<&A::get>();
  co_await a.template call<&A::set>(before + 1);
}

/// The same inside of another worker's method, or beside it.
struct sim_races_teller {
  explicit sim_races_teller(troupe::context& ctx) : ctx_(ctx) {}
  task<> add() { co_await add_one(ctx_.worker<sim_races_plain>()); }
  void add_beside() { ctx_.spawn(add_one(ctx_.worker<sim_races_plain>())); }

private:
  troupe::context& ctx_;
};

/// Its turns interleave: others run while one waits.
struct sim_races_ledger {
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
  explicit sim_races_ledger(troupe::context& ctx) : ctx_(ctx) {}
  task<> book() {
    const int before = total_;
    const auto rates = ctx_.worker<sim_races_plain>();
    const int rate = co_await rates.call<&sim_races_plain::get>();
    total_ = before + rate + 1;
  }
  int get() const { return total_; }

private:
  troupe::context& ctx_;
  int total_ = 0;
};

template <class A = sim_races_plain>
task<> expect_two(broker& b) {
  const int sum = co_await b.worker<A>().template call<&A::get>();
  troupe::sim_expect(sum == 2, "an update was lost");
}

template <class A>
task<> in_when_all(broker& b) {
  const proxy<A> a = b.worker<A>();
  co_await troupe::when_all(add_one(a), add_one(a));
  co_await expect_two<A>(b);
}
task<> in_a_scope(broker& b) {
  troupe::task_scope scope;
  scope.spawn(add_one(b.worker<sim_races_plain>()));
  scope.spawn(add_one(b.worker<sim_races_plain>()));
  co_await scope.join();
  co_await expect_two(b);
}
task<> spawned_by_the_broker(broker& b) {
  b.spawn(add_one(b.worker<sim_races_plain>()));
  b.spawn(add_one(b.worker<sim_races_plain>()));
  co_await troupe::sleep_for(1s);
  co_await expect_two(b);
}
task<> spawned_by_a_context(broker& b) {
  const auto teller = b.worker<sim_races_teller>();
  co_await teller.call<&sim_races_teller::add_beside>();
  co_await teller.call<&sim_races_teller::add_beside>();
  co_await troupe::sleep_for(1s);
  co_await expect_two(b);
}
task<> in_methods(broker& b) {
  const auto one = b.worker<sim_races_teller>("1");
  const auto two = b.worker<sim_races_teller>("2");
  co_await troupe::when_all(one.call<&sim_races_teller::add>(), two.call<&sim_races_teller::add>());
  co_await expect_two(b);
}
task<> in_turns_that_interleave(broker& b) {
  const auto ledger = b.worker<sim_races_ledger>();
  co_await troupe::when_all(ledger.call<&sim_races_ledger::book>(),
                            ledger.call<&sim_races_ledger::book>());
  co_await expect_two<sim_races_ledger>(b);
}

using program = task<> (*)(broker&);

sim_search_result search(program p, const sim_options& run = {}) {
  const troupe::test::seeds_of_the_test sixty;
  return troupe::sim_search({.count = 60, .run = run, .quiet = true}, [p](sim_executor& sim) {
    broker b({.on = &sim});
    sim.run(p(b));
  });
}

void check_finds(program p) {
  for (const sim_strategy strategy :
       {sim_strategy::by_seed, sim_strategy::uniform, sim_strategy::pct}) {
    for (const unsigned threads : {sim_options{}.threads, 1u, 2u}) {
      CAPTURE(static_cast<int>(strategy), threads);
      const sim_search_result found = search(p, {.threads = threads, .strategy = strategy});
      REQUIRE(found.found());
      REQUIRE(found.what() == "an update was lost");
    }
  }
}

}  // namespace

TEST_CASE("a lost update between two plain calls is found", "[sim]") {
  check_finds(&in_when_all<sim_races_plain>);
}
TEST_CASE("a lost update between two calls of coroutines is found", "[sim]") {
  check_finds(&in_when_all<sim_races_later>);
}
TEST_CASE("a lost update of children of a scope is found", "[sim]") { check_finds(&in_a_scope); }
TEST_CASE("a lost update of what a broker spawns is found", "[sim]") {
  check_finds(&spawned_by_the_broker);
}
TEST_CASE("a lost update of what a worker spawns is found", "[sim]") {
  check_finds(&spawned_by_a_context);
}
TEST_CASE("a lost update of two workers' methods is found", "[sim]") { check_finds(&in_methods); }
TEST_CASE("a lost update of turns that interleave is found", "[sim]") {
  check_finds(&in_turns_that_interleave);
}

namespace {

task<> locked(troupe::async_mutex& mutex, int& value) {
  int before = 0;
  {
    const troupe::async_lock lock = co_await mutex.lock();
    before = value;
  }
  const troupe::async_lock lock = co_await mutex.lock();
  value = before + 1;
}
task<> mutex_race(broker&) {
  troupe::async_mutex mutex;
  int value = 0;
  co_await troupe::when_all(locked(mutex, value), locked(mutex, value));
  troupe::sim_expect(value == 2, "an update was lost");
}

task<> through_channel(troupe::channel<int>& c, int& value) {
  const int before = value;
  static_cast<void>(co_await c.send(1));
  static_cast<void>(co_await c.receive());
  value = before + 1;
}
task<> channel_race(broker&) {
  troupe::channel<int> c(4);
  int value = 0;
  co_await troupe::when_all(through_channel(c, value), through_channel(c, value));
  troupe::sim_expect(value == 2, "an update was lost");
}

task<> one_await(int& value, troupe::async_semaphore& permits) {
  const int before = value;
  co_await permits.acquire();
  value = before + 1;
}
task<> semaphore_race(broker&) {
  troupe::async_semaphore permits(2);
  int value = 0;
  co_await troupe::when_all(one_await(value, permits), one_await(value, permits));
  troupe::sim_expect(value == 2, "an update was lost");
}

}  // namespace

TEST_CASE("a lock, a channel, a semaphore are choices though nothing has to wait", "[sim]") {
  check_finds(&mutex_race);
  check_finds(&channel_race);
  check_finds(&semaphore_race);
}

namespace {

struct sim_races_atomic {
  int add(int v) { return value += v; }
  int value = 0;
};

task<> in_one_call(broker& b) {
  const auto a = b.worker<sim_races_atomic>();
  co_await troupe::when_all(a.call<&sim_races_atomic::add>(1), a.call<&sim_races_atomic::add>(1));
  const int sum = co_await a.call<&sim_races_atomic::add>(0);
  troupe::sim_expect(sum == 2, "an update was lost");
}

}  // namespace

TEST_CASE("nothing is found where there is nothing", "[sim]") {
  const sim_search_result found =
      troupe::sim_search({.count = 500, .quiet = true}, [](sim_executor& sim) {
        broker b({.on = &sim});
        sim.run(in_one_call(b));
      });
  REQUIRE_FALSE(found.found());
  const bool asked_for_others =
      std::getenv("TROUPE_SEED") != nullptr || std::getenv("TROUPE_SEEDS") != nullptr;
  REQUIRE((asked_for_others || found.runs() == 500));
}

TEST_CASE("a seed that fails fails again", "[sim]") {
  const sim_search_result found = search(&in_methods);
  REQUIRE(found.found());
  const troupe::test::seeds_of_the_test that_one;
  for (int i = 0; i < 3; ++i) {
    const sim_search_result again = troupe::sim_search(
        {.first = found.seed(), .count = 1, .quiet = true}, [](sim_executor& sim) {
          broker b({.on = &sim});
          sim.run(in_methods(b));
        });
    REQUIRE(again.found());
  }
}

namespace {

/// How one call of an idle worker went, as the steps that it took tell.
task<std::uint64_t> steps_of_a_call(sim_executor& sim, broker& b) {
  const auto a = b.worker<sim_races_atomic>();
  co_await a.call<&sim_races_atomic::add>(1);
  const std::uint64_t before = sim.steps();
  co_await a.call<&sim_races_atomic::add>(1);
  co_return sim.steps() - before;
}

task<> count_steps(sim_executor& sim, broker& b, std::set<std::uint64_t>& seen) {
  const std::uint64_t steps = co_await steps_of_a_call(sim, b);
  seen.insert(steps);
}

}  // namespace

TEST_CASE("a call that could run at once does, or waits its turn, by the seed", "[sim]") {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    sim_executor sim({.seed = seed});
    broker b({.on = &sim});
    sim.run(count_steps(sim, b, seen));
  }
  REQUIRE(seen.contains(0));  // at once
  REQUIRE(seen.contains(1));  // its caller went on later
  REQUIRE(seen.contains(2));  // the worker was served later, and then its caller went on
}

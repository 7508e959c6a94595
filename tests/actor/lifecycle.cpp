// SPDX-License-Identifier: MIT
// Starting and stopping under every kind of reentrancy; what a worker has spawned calls it while
// it closes.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace lifecycle_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::reentrancy;
using troupe::task;
using troupe::test::code_of;
using troupe::test::gate;
using troupe::test::world;

std::string life;

}  // namespace

template <reentrancy R>
struct actor_lifecycle_slow {
  task<> on_start() {
    life += "start ";
    for (int i = 0; i < 5; ++i) co_await troupe::yield();
    co_await troupe::sleep_for(1s);
    ready = true;
    life += "started ";
  }
  task<> on_stop() {
    life += "stop ";
    ready = false;
    for (int i = 0; i < 5; ++i) co_await troupe::yield();
    co_await troupe::sleep_for(1s);
    life += "stopped ";
  }
  bool is_ready() {
    life += "call ";
    return ready;
  }
  task<bool> is_ready_later() {
    const bool was = ready;
    co_await troupe::yield();
    co_return was&& ready;
  }
  bool ready = false;
  static constexpr troupe::actor_options options{.reentrancy = R};
};

struct actor_lifecycle_spawner {
  using self = actor_lifecycle_spawner;
  explicit actor_lifecycle_spawner(troupe::context& c) : ctx(c) {}

  /// A task beside the turns that calls its worker until it is told to stop.
  void begin() { ctx.spawn(poll(ctx.self<self>())); }
  static task<> poll(troupe::proxy<self> p) {
    const troupe::stop_token token = co_await troupe::this_task::stop_token();
    while (!token.stop_requested()) {
      const int n = co_await p.call<&self::step>();
      static_cast<void>(n);
      co_await troupe::yield();
    }
  }
  task<int> step() {
    co_await troupe::yield();
    co_return ++steps;
  }
  int count() { return steps; }

  troupe::context& ctx;
  int steps = 0;
};

namespace {

template <reentrancy R>
task<> starts_and_stops(troupe::broker& broker) {
  using actor = actor_lifecycle_slow<R>;
  const auto p = broker.worker<actor>("a");
  life.clear();
  auto [one, two, three] = co_await troupe::when_all(
      p.template call<&actor::is_ready>(), p.template call<&actor::is_ready_later>(),
      p.template call<&actor::is_ready>().within(1h));
  CHECK((one && two && three));
  const bool removed = co_await broker.remove<actor>("a");
  CHECK(removed);
  CHECK(life == "start started call call stop stopped ");
  const bool again = co_await p.template call<&actor::is_ready_later>();
  CHECK(again);
}

task<> closes_while_called(troupe::broker& broker, int steps) {
  const auto p = broker.worker<actor_lifecycle_spawner>("a");
  co_await p.call<&actor_lifecycle_spawner::begin>();
  for (int i = 0; i < steps; ++i) co_await troupe::yield();
  const bool removed = co_await broker.remove<actor_lifecycle_spawner>("a");
  CHECK(removed);
}

}  // namespace

TEST_CASE("hooks that wait come before and after every turn, in every mode of reentrancy",
          "[actor][lifecycle]") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(starts_and_stops<reentrancy::none>(w.broker));
    w.run(starts_and_stops<reentrancy::call_chain>(w.broker));
    w.run(starts_and_stops<reentrancy::interleaved>(w.broker));
  }
}

TEST_CASE("a worker closes while a task that it has spawned calls it",
          "[actor][lifecycle][promise4]") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    world w(seed, seed % 2 == 0 ? 3 : 1);
    w.run(closes_while_called(w.broker, static_cast<int>(seed % 13)));
  }
}

TEST_CASE("a worker closes on threads while a task that it has spawned calls it",
          "[actor][lifecycle][promise4]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  for (int i = 0; i < 100; ++i) broker.run(closes_while_called(broker, i % 7));
}

}  // namespace lifecycle_tests

// SPDX-License-Identifier: MIT
// Reentrancy on threads: nested and interleaved turns never run in parallel. State is not atomic
// on purpose: a data race is what ThreadSanitizer is to find here.

#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace reentrancy_threads_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::reentrancy;
using troupe::task;

#if TROUPE_TSAN
constexpr int rounds = 300;
#else
constexpr int rounds = 3000;
#endif

}  // namespace

template <reentrancy R>
struct actor_reentrancy_threads_node {
  using self = actor_reentrancy_threads_node;
  explicit actor_reentrancy_threads_node(troupe::context& c) : ctx(c) {}

  troupe::proxy<self> at(const char* key) { return ctx.worker<self>(key); }

  task<> diamond() {
    ++state;
    const auto b = at("b");
    const auto c = at("c");
    auto both =
        co_await troupe::when_all(b.template call<&self::back>(), c.template call<&self::back>());
    static_cast<void>(both);
    ++state;
  }
  task<> back() {
    const auto a = at("a");
    co_await a.template call<&self::step>();
    co_await a.template call<&self::bump>();
  }
  task<> step() {
    ++state;
    co_await troupe::yield();
    ++state;
  }
  void bump() { ++state; }

  /// A child calls back while this computes, without a point of suspension.
  task<> compute() {
    troupe::task_scope scope;
    const auto b = at("b");
    scope.spawn(child(b));
    scope.spawn(child(b));
    for (int i = 0; i < 2000; ++i) state = state * 3U + 1U;
    state = 0;
    co_await troupe::yield();
    for (int i = 0; i < 2000; ++i) state = state * 3U + 1U;
    state = 0;
    co_await scope.join();
    ++state;
  }
  task<> child(troupe::proxy<self> b) {
    ++children;
    co_await b.template call<&self::back>();
    ++children;
  }

  /// For interleaved turns.
  task<> open_turn() {
    ++state;
    const auto b = at("b");
    co_await b.template call<&self::bump>();
    ++state;
    co_await troupe::yield();
    ++state;
    co_await ctx.self<self>().template call<&self::bump>();
  }
  long get() { return static_cast<long>(state); }

  troupe::context& ctx;
  unsigned long state = 0;
  long children = 0;
  static constexpr troupe::actor_options options{.reentrancy = R};
};

namespace {

using chained = actor_reentrancy_threads_node<reentrancy::call_chain>;
using inter = actor_reentrancy_threads_node<reentrancy::interleaved>;

template <class A, auto M>
task<> repeat(troupe::broker& broker, int count) {
  const auto a = broker.worker<A>("a");
  for (int i = 0; i < count; ++i) co_await a.template call<M>();
}

template <class A, auto M>
task<> repeat_from(troupe::broker& broker, int callers, int count) {
  std::vector<task<>> all;
  for (int i = 0; i < callers; ++i) all.push_back(repeat<A, M>(broker, count));
  co_await troupe::when_all(std::move(all));
}

template <class A>
task<long> state_of(troupe::broker& broker) {
  const auto a = broker.worker<A>("a");
  long state = co_await a.template call<&A::get>();
  co_return state;
}

}  // namespace

TEST_CASE("branches that call back never run in parallel", "[actor][reentrancy][stress]") {
  for (const unsigned threads : {2U, 3U}) {
    CAPTURE(threads);
    troupe::broker broker(troupe::broker_options{.threads = threads});
    broker.run(repeat<chained, &chained::diamond>(broker, rounds));
    REQUIRE(broker.run(state_of<chained>(broker)) == 8L * rounds);
  }
}

TEST_CASE("a child that calls back waits for the turn that computes",
          "[actor][reentrancy][stress]") {
  for (const unsigned threads : {2U, 3U}) {
    CAPTURE(threads);
    troupe::broker broker(troupe::broker_options{.threads = threads});
    broker.run(repeat<chained, &chained::compute>(broker, rounds));
    REQUIRE(broker.run(state_of<chained>(broker)) > 0);
  }
}

TEST_CASE("interleaved turns are never parallel", "[actor][reentrancy][stress]") {
  for (const unsigned threads : {2U, 4U}) {
    CAPTURE(threads);
    troupe::broker broker(troupe::broker_options{.threads = threads});
    constexpr int callers = 6;
    broker.run(repeat_from<inter, &inter::open_turn>(broker, callers, rounds / 4));
    REQUIRE(broker.run(state_of<inter>(broker)) == 4L * callers * (rounds / 4));
    broker.run(repeat_from<inter, &inter::diamond>(broker, callers, rounds / 8));
  }
}

}  // namespace reentrancy_threads_tests

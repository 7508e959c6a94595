// SPDX-License-Identifier: MIT
// What a coroutine learns about its call chain, and what children inherit of it.

#include <troupe/coro/this_task.hpp>

#include <chrono>
#include <utility>

#include <troupe/coro/chain.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace this_task_tests {
namespace {

using namespace std::chrono_literals;
using troupe::sync_wait;
using troupe::task;
using troupe::trace_context;
namespace this_task = troupe::this_task;

task<trace_context> trace_here() {
  const trace_context trace = co_await this_task::trace();
  co_return trace;
}

task<bool> trace_is_inherited() {
  const trace_context mine = co_await this_task::trace();
  const trace_context child = co_await trace_here();
  const auto [a, b] = co_await troupe::when_all(trace_here(), trace_here());
  const trace_context limited = co_await troupe::within(trace_here(), 1h);
  co_return mine == child&& mine == a&& mine == b&& mine == limited;
}

task<bool> stop_possible() {
  const troupe::stop_token token = co_await this_task::stop_token();
  co_return token.stop_possible();
}

task<bool> stop_seen(troupe::task_scope& scope) {
  const troupe::stop_token token = co_await this_task::stop_token();
  const bool before = token.stop_requested();
  scope.request_stop();
  const bool after = token.stop_requested();
  co_return !before && after;
}

task<> note(task<bool> t, bool& target) { target = co_await std::move(t); }

task<bool> stop_seen_in_scope() {
  bool seen = false;
  troupe::task_scope scope;
  scope.spawn(note(stop_seen(scope), seen));
  co_await scope.join();
  co_return seen;
}

task<troupe::time_point> deadline_here() {
  const troupe::time_point deadline = co_await this_task::deadline();
  co_return deadline;
}

task<std::pair<troupe::time_point, troupe::time_point>> deadlines_of_children() {
  const auto [a, b] =
      co_await troupe::when_all(deadline_here(), troupe::within(deadline_here(), 1s));
  co_return std::pair(a, b);
}

}  // namespace

TEST_CASE("a chain has one trace, and each root its own", "[coro][this_task]") {
  REQUIRE(sync_wait(trace_is_inherited()));
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, trace_is_inherited()));
  REQUIRE_FALSE(sync_wait(trace_here()) == trace_context{});
  REQUIRE_FALSE(sync_wait(trace_here()) == sync_wait(trace_here()));
}

TEST_CASE("nobody can stop a root that nobody limits", "[coro][this_task]") {
  REQUIRE_FALSE(sync_wait(stop_possible()));
  REQUIRE(sync_wait(troupe::within(stop_possible(), 1h)));
}

TEST_CASE("a stop of the scope is seen through the token", "[coro][this_task]") {
  REQUIRE(sync_wait(stop_seen_in_scope()));
}

TEST_CASE("a deadline is inherited by all below and by nobody beside", "[coro][this_task]") {
  troupe::sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(deadline_here()) == troupe::time_point::max());
  const auto [outer, inner] = sim.run(troupe::within(deadlines_of_children(), 5s));
  REQUIRE(outer == start + 5s);
  REQUIRE(inner == start + 1s);
}

namespace {

using troupe::detail::chain_link;
using troupe::detail::link_kind;

}  // namespace

TEST_CASE("a stop goes down the chain, to states made before and after it", "[coro][chain]") {
  chain_link root(link_kind::root);
  chain_link above(link_kind::scope);
  above.join(&root);
  above.make_stoppable();
  chain_link between(link_kind::call);
  between.join(&above);
  chain_link early(link_kind::scope);
  early.join(&between);
  early.make_stoppable();
  chain_link late(link_kind::scope);
  late.join(&between);
  late.make_stoppable();

  REQUIRE(root.stop() == nullptr);
  REQUIRE(between.stop() == above.stop());
  REQUIRE_FALSE(early.stop()->requested());
  REQUIRE_FALSE(late.stop_requested());
  above.request_stop();
  REQUIRE(early.stop()->requested());
  REQUIRE(late.stop_requested());
  REQUIRE(late.stop()->requested());
  REQUIRE_FALSE(root.stop_requested());
}

TEST_CASE("a stop that nobody listens to yet is not lost", "[coro][chain]") {
  chain_link scope(link_kind::scope);
  scope.make_stoppable();
  scope.request_stop();
  scope.request_stop();
  REQUIRE(scope.stop_requested());
  REQUIRE(scope.stop()->requested());
}

TEST_CASE("a stop below does not go up", "[coro][chain]") {
  chain_link above(link_kind::scope);
  above.make_stoppable();
  chain_link below(link_kind::scope);
  below.join(&above);
  below.make_stoppable();
  REQUIRE_FALSE(below.stop()->requested());
  below.request_stop();
  REQUIRE(below.stop()->requested());
  REQUIRE_FALSE(above.stop_requested());
  REQUIRE_FALSE(above.stop()->requested());
}

TEST_CASE("the earliest deadline of a chain holds", "[coro][chain]") {
  const troupe::time_point t{};
  chain_link above(link_kind::scope);
  above.limit_deadline(t + 5s);
  chain_link below(link_kind::scope);
  below.join(&above);
  below.limit_deadline(t + 9s);
  REQUIRE(below.deadline == t + 5s);
  below.limit_deadline(t + 1s);
  REQUIRE(below.deadline == t + 1s);
  REQUIRE(above.deadline == t + 5s);
  REQUIRE(above.limited);
}

}  // namespace this_task_tests

// SPDX-License-Identifier: MIT
// W3C Trace Context: what is written, what is read and what is not, and traces that come from
// outside.

#include <troupe/coro/trace_context.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/with_trace.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"

namespace trace_context_tests {
namespace {

using namespace std::chrono_literals;
using troupe::parse_traceparent;
using troupe::sync_wait;
using troupe::task;
using troupe::to_traceparent;
using troupe::trace_context;
using troupe::with_trace;

constexpr std::string_view example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

std::string with(std::size_t at, std::string_view text) {
  std::string changed(example);
  return changed.replace(at, text.size(), text);
}

task<trace_context> trace_here() {
  const trace_context here = co_await troupe::this_task::trace();
  co_return here;
}

task<bool> throws() {
  co_await troupe::yield();
  throw 7;
}

}  // namespace

TEST_CASE("a traceparent is read and written again", "[coro][trace_context]") {
  const std::optional<trace_context> t = parse_traceparent(example);
  REQUIRE(t);
  REQUIRE(t->trace_high == 0x0af7651916cd43ddu);
  REQUIRE(t->trace_low == 0x8448eb211c80319cu);
  REQUIRE(t->span == 0xb7ad6b7169203331u);
  REQUIRE(t->sampled);
  REQUIRE(to_traceparent(*t) == example);
  const std::optional<trace_context> other = parse_traceparent(with(53, "00"));
  REQUIRE(other);
  REQUIRE_FALSE(other->sampled);
  REQUIRE(to_traceparent(*other) == with(53, "00"));
}

TEST_CASE("flags other than sampled are not passed on", "[coro][trace_context]") {
  REQUIRE(to_traceparent(*parse_traceparent(with(53, "ff"))) == with(53, "01"));
  REQUIRE(to_traceparent(*parse_traceparent(with(53, "02"))) == with(53, "00"));
}

TEST_CASE("what is no traceparent is refused", "[coro][trace_context]") {
  const std::string zeros(32, '0');
  const std::string good(example);
  for (const std::string& bad : {
           std::string(),
           good.substr(0, 54),
           good + "-",                          // version 00 ends there
           good + "0",                          //
           good + "-what-else",                 //
           " " + good,                          //
           with(0, "ff"),                       // a version that will never be
           with(0, "0A"),                       // upper case ...
           with(3, "0AF7"),                     //
           with(36, "B7"),                      //
           with(53, "0F"),                      // ... everywhere
           with(0, "0g"),                       // no digits
           with(10, "z"),                       //
           with(40, "-"),                       //
           with(53, " 1"),                      //
           with(2, "_"),                        // no dashes
           with(35, "0"),                       //
           with(52, "0"),                       //
           with(3, zeros),                      // no trace
           with(36, zeros.substr(0, 16)),       // no span
           with(7, std::string_view("\0", 1)),  // nothing ends a string_view
       }) {
    INFO('"' << bad << '"');
    REQUIRE_FALSE(parse_traceparent(bad));
  }
}

TEST_CASE("of versions to come the known part is read", "[coro][trace_context]") {
  REQUIRE(parse_traceparent(with(0, "01")));
  REQUIRE(parse_traceparent(with(0, "cc") + "-"));
  REQUIRE(parse_traceparent(with(0, "fe") + "-what-the-future-will-be-like"));
  REQUIRE_FALSE(parse_traceparent(with(0, "01") + "."));
  REQUIRE_FALSE(parse_traceparent(with(0, "01") + "0-1"));
  REQUIRE(to_traceparent(*parse_traceparent(with(0, "42") + "-x")) == example);
}

TEST_CASE("no header is made of what is not complete", "[coro][trace_context]") {
  REQUIRE(to_traceparent({}).empty());
  REQUIRE(to_traceparent({.trace_high = 1, .trace_low = 2}).empty());
  REQUIRE(to_traceparent({.span = 3}).empty());
  REQUIRE(to_traceparent({.trace_low = 1, .span = 2}) ==
          "00-00000000000000000000000000000001-0000000000000002-00");
}

TEST_CASE("a trace from outside holds for all below, and for nobody else",
          "[coro][trace_context]") {
  const trace_context outer = *parse_traceparent(example);
  const auto below = [](trace_context given) -> task<bool> {
    const trace_context here = co_await trace_here();
    const auto [a, b] = co_await troupe::when_all(trace_here(), troupe::within(trace_here(), 1h));
    co_return to_traceparent(here) == to_traceparent(given) &&
        to_traceparent(a) == example&& to_traceparent(b) == example;
  };
  const auto above = [&]() -> task<bool> {
    const trace_context mine = co_await trace_here();
    const bool held = co_await with_trace(outer, below(outer));
    const trace_context later = co_await trace_here();
    co_return held && !(mine == outer) && to_traceparent(mine) == to_traceparent(later);
  };
  REQUIRE(sync_wait(above()));
  troupe::sim_executor sim;
  REQUIRE(sim.run(above()));
  REQUIRE(sim.run(with_trace(outer, below(outer))));
}

TEST_CASE("an empty context begins a trace, and one without a span a span",
          "[coro][trace_context]") {
  troupe::sim_executor sim;
  const trace_context a = sim.run(with_trace({}, trace_here()));
  const trace_context b = sim.run(with_trace({}, trace_here()));
  REQUIRE(is_complete(a));
  REQUIRE_FALSE(a == b);
  trace_context given = *parse_traceparent(example);
  given.span = 0;
  const trace_context c = sim.run(with_trace(given, trace_here()));
  REQUIRE(c == given);
  REQUIRE(c.span != 0);
  REQUIRE(c.sampled);
}

TEST_CASE("what fails within a trace fails outside of it", "[coro][trace_context]") {
  REQUIRE_THROWS_AS(sync_wait(with_trace(*parse_traceparent(example), throws())), int);
}

}  // namespace trace_context_tests

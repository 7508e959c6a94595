// SPDX-License-Identifier: MIT
// The debug log: its lines, its switch, and what it never says.

#include <troupe/broker/debug_log.hpp>

#include <chrono>
#include <cstddef>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <troupe/broker/broker.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace debug_log_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using namespace troupe::test;

struct safe {
  explicit safe(troupe::context& c) : ctx(c) {}
  int open(std::string secret) {
    if (secret.empty()) throw std::invalid_argument("no secret: swordfish");
    return static_cast<int>(secret.size());
  }
  task<> think() { co_await troupe::sleep_for(2ms); }
  task<int> ask(std::string other) {
    co_return co_await ctx.worker<safe>(other).call<&safe::open>("swordfish");
  }
  troupe::context& ctx;
};

/// The line without its trace, which is at its end.
std::string untraced(std::string_view line) {
  return std::string(line.substr(0, line.find(" trace=")));
}

task<> call_often(troupe::proxy<safe> p, int n) {
  for (int i = 0; i < n; ++i) static_cast<void>(co_await p.call<&safe::open>("x"));
}

}  // namespace

TEST_CASE("each thing that happens is a line", "[broker][debug_log]") {
  std::vector<std::string> lines;
  std::vector<std::string> traces;
  troupe::debug_log log([&](std::string_view line) {
    lines.push_back(untraced(line));
    if (line.size() > lines.back().size()) traces.emplace_back(line.substr(lines.back().size()));
  });
  log.enable();
  troupe::sim_executor sim;
  {
    troupe::broker broker({.on = &sim, .observe = &log});
    const auto p = broker.worker<safe>("a\"\n");
    const int asked = troupe::sync_wait(p.call<&safe::ask>("b").within(1h));
    REQUIRE(asked == 9);
    REQUIRE_THROWS(troupe::sync_wait(p.call<&safe::open>("")));
    REQUIRE(p.tell<&safe::think>());
    sim.advance(1s);
    REQUIRE(broker.evict(p.id()));
  }
  const std::string full = troupe::to_string(troupe::broker({.on = &sim}).worker<safe>("b").id());
  const std::string type = full.substr(0, full.find("(\""));
  const std::string a = type + "(\"a\\\"\\x0a\")";
  const std::string b = type + "(\"b\")";
  for (std::string& line : lines) {
    if (line.find("took_us=2") != std::string::npos) line.resize(line.find("took_us=2"));
  }
  const std::vector<std::string> expected{
      "create " + a,
      "call " + a + ".ask kind=limited from=- depth=0",
      "create " + b,
      "call " + b + ".open kind=call from=" + a + " depth=1",
      "settle " + b + ".open kind=call outcome=ok took_us=0",
      "settle " + a + ".ask kind=limited outcome=ok took_us=0",
      "call " + a + ".open kind=call from=- depth=0",
      "settle " + a + ".open kind=call outcome=threw took_us=0",
      "call " + a + ".think kind=tell from=- depth=0",
      "settle " + a + ".think kind=tell outcome=ok ",
      "evict " + a,
      "remove " + a,
      "remove " + b,
  };
  REQUIRE(lines == expected);
  REQUIRE(traces.size() == 8);
  for (const std::string& t : traces) REQUIRE(t.size() == std::string(" trace=-").size() + 48);
  REQUIRE(traces[0] == traces[3]);                              // a call and its settling: one span
  REQUIRE(traces[0].substr(0, 39) == traces[1].substr(0, 39));  // one trace ...
  REQUIRE(traces[0] != traces[1]);                              // ... of two spans
}

TEST_CASE("the log is off until it is switched on, and says no secrets", "[broker][debug_log]") {
  std::string text;
  troupe::debug_log log([&](std::string_view line) { text.append(line).append("\n"); });
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .observe = &log});
  const auto p = broker.worker<safe>();
  REQUIRE_FALSE(log.enabled());
  REQUIRE(troupe::sync_wait(p.call<&safe::open>("swordfish")) == 9);
  REQUIRE(text.empty());
  log.enable();
  REQUIRE(troupe::sync_wait(p.call<&safe::open>("swordfish")) == 9);
  REQUIRE_THROWS(troupe::sync_wait(p.call<&safe::open>("")));
  REQUIRE_FALSE(text.empty());
  REQUIRE(text.find("swordfish") == std::string::npos);
  log.disable();
  text.clear();
  REQUIRE(troupe::sync_wait(p.call<&safe::open>("swordfish")) == 9);
  REQUIRE(text.empty());
}

TEST_CASE("a call that fails by a code is logged with it", "[broker][debug_log]") {
  std::vector<std::string> lines;
  troupe::debug_log log([&](std::string_view line) { lines.push_back(untraced(line)); });
  log.enable();
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .observe = &log});
  const auto p = broker.worker<safe>();
  const auto code = troupe::sync_wait(code_of(p.call<&safe::think>().within(1ms)));
  REQUIRE(code == troupe::errc::timed_out);
  const std::string expected =
      " error=\"" + std::string(code.category().name()) + ": " + code.message() + '"';
  REQUIRE(lines.size() == 3);  // create, call, settle
  REQUIRE(lines.back().starts_with("settle "));
  REQUIRE(lines.back().find(expected) != std::string::npos);
}

TEST_CASE("a sink that throws, or that brings about another line, harms nobody",
          "[broker][debug_log]") {
  int lines = 0;
  troupe::broker* about = nullptr;
  troupe::debug_log log([&](std::string_view line) {
    ++lines;
    if (line.starts_with("call ") && about != nullptr) {
      static_cast<void>(about->evict(about->workers().at(0).id));
    }
    throw std::runtime_error("a sink's own trouble");
  });
  log.enable();
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .observe = &log});
  const auto p = broker.worker<safe>();
  REQUIRE(troupe::sync_wait(p.call<&safe::open>("x")) == 1);
  about = &broker;
  REQUIRE(troupe::sync_wait(p.call<&safe::open>("x")) == 1);
  about = nullptr;
  sim.advance(1s);
  REQUIRE(lines == 7);  // create, twice call and settle, evict, remove
}

TEST_CASE("lines from many threads come one at a time", "[broker][debug_log][threads]") {
  std::vector<std::string> lines;  // no lock: the log sees to that
  troupe::debug_log log([&](std::string_view line) { lines.emplace_back(line); });
  log.enable();
  constexpr int calls = 100;
  {
    troupe::broker broker({.threads = 3, .observe = &log});
    std::vector<task<>> all;
    for (int i = 0; i < 4; ++i) {
      all.push_back(call_often(broker.worker<safe>(std::to_string(i)), calls));
    }
    broker.run(troupe::when_all(std::move(all)));
  }
  REQUIRE(lines.size() == 4 * (2 * calls + 2));
  for (const std::string& line : lines) REQUIRE(line.find('\n') == std::string::npos);
}

}  // namespace debug_log_tests

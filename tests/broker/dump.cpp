// SPDX-License-Identifier: MIT
// What `broker::dump` says: the chains of calls under way, and what does not come to its end.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/captured_errors.hpp"
#include "../support/catch.hpp"
#include "support.hpp"

namespace dump_tests {
namespace {

using namespace std::chrono_literals;
using troupe::as_result;
using troupe::broker;
using troupe::task;
using troupe::test::gate;

struct porter {
  explicit porter(troupe::context& c) : ctx(c) {}

  task<> wait(gate* g) { co_await g->pass(); }
  task<> ask(std::string whom, gate* g) { co_await asking(std::move(whom), g); }
  task<> ask_in_time(std::string whom, gate* g) {
    auto other = ctx.worker<porter>(whom);
    co_await other.call<&porter::wait>(g).within(1h);
  }
  task<std::string> dump(broker* b) {
    co_await troupe::yield();
    co_return b->dump();
  }
  std::string dump_at_once(broker* b) { return b->dump(); }
  void block(std::atomic<bool>* open) {
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
  }

  task<> asking(std::string whom, gate* g) {
    auto other = ctx.worker<porter>(whom);
    co_await other.call<&porter::wait>(g);
  }

  troupe::context& ctx;
  static inline std::atomic<bool> started{false};
};

/// Awaits what heeds no stop request.
struct deaf {
  struct until_opened {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) const noexcept { waiting = h; }
    void await_resume() const noexcept {}
  };
  task<> wait() { co_await until_opened{}; }
  static inline std::coroutine_handle<> waiting;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string porter_name = [] {
  troupe::sim_executor sim;
  broker b({.on = &sim});
  auto p = b.worker<porter>("");
  gate open;
  open.open();
  troupe::sync_wait(p.call<&porter::wait>(&open));
  return b.workers().at(0).id.type;
}();
std::string named(const std::string& key) { return porter_name + "(\"" + key + "\")"; }

}  // namespace
namespace {

TEST_CASE("a chain of calls is an asynchronous stack trace", "[broker][dump]") {
  troupe::sim_executor sim({.seed = 1});
  gate g;
  broker b({.on = &sim});
  std::string text;
  auto look = [](broker* from, gate* opened, std::string* out) -> task<> {
    co_await troupe::sleep_for(1s);
    *out = from->dump();
    opened->open();
  };
  auto a = b.worker<porter>("a");
  SECTION("of a suspended turn") {
    b.run(troupe::when_all(a.call<&porter::ask>("b", &g), look(&b, &g, &text)));
    INFO(text);
    CHECK(has(text, "  " + named("b") + ".wait, suspended\n" +  //
                        "    in a task, depth 3\n" +            //
                        "    in " + named("a") + ".ask\n" +     //
                        "    in a task, depth 1\n" +            //
                        "    in a task, depth 0\n"));
  }
  SECTION("of a call that waits") {
    auto late = [](troupe::proxy<porter> p, gate* opened) -> task<> {
      co_await troupe::sleep_for(1ms);
      co_await p.call<&porter::wait>(opened);
    };
    b.run(troupe::when_all(a.call<&porter::ask>("b", &g), late(b.worker<porter>("b"), &g),
                           look(&b, &g, &text)));
    INFO(text);
    CHECK(has(text, "  " + named("b") + ".wait, waiting\n    in a task, depth "));
    CHECK(has(text, "  " + named("b") + ".wait, suspended\n"));
    CHECK(!has(text, "  " + named("a") + ".ask, suspended\n"));
  }
  SECTION("of a call with a time limit") {
    b.run(troupe::when_all(a.call<&porter::ask_in_time>("b", &g), look(&b, &g, &text)));
    INFO(text);
    CHECK(has(text, "  " + named("b") + ".wait, suspended\n    in " + named("a") +
                        ".ask_in_time\n    in a task, depth 1\n"));
  }
  SECTION("of a tell") {
    REQUIRE(a.tell<&porter::ask>("b", &g));
    b.run(look(&b, &g, &text));
    INFO(text);
    CHECK(has(text, "  " + named("b") + ".wait, suspended\n    in a task, depth 1\n    in " +
                        named("a") + ".ask\n"));
  }
}

TEST_CASE("a dump from within a turn", "[broker][dump]") {
  std::string text;
  SECTION("of a pool") {
    broker b({.threads = 2});
    SECTION("a coroutine") {
      text = b.run(as_result(b.worker<porter>("a").call<&porter::dump>(&b))).value();
      CHECK(has(text, "  this dump\n    in " + named("a") + ".dump\n    in a task"));
    }
    SECTION("a plain method on the caller's thread") {
      text = b.run(as_result(b.worker<porter>("a").call<&porter::dump_at_once>(&b))).value();
    }
    SECTION("a plain method on a thread of the pool") {
      text = b.run(as_result(b.worker<porter>("a").call<&porter::dump_at_once>(&b).within(1h)))
                 .value();
    }
    INFO(text);
    CHECK(has(text, "running turns:\n  " + named("a") + ".dump"));
    CHECK(has(text, ", here\n"));
  }
  SECTION("of a simulation") {
    troupe::sim_executor sim;
    broker b({.on = &sim});
    text = b.run(as_result(b.worker<porter>("a").call<&porter::dump>(&b))).value();
    CHECK(has(text, "  this dump\n    in " + named("a") + ".dump\n    in a task"));
  }
}

TEST_CASE("a turn that does not come to its end is named, and so is who waits", "[broker][dump]") {
  std::atomic<bool> open{false};
  gate g;
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 20ms});
  porter::started.store(false);
  auto p = b.worker<porter>("a");
  REQUIRE(p.tell<&porter::block>(&open));
  while (!porter::started.load()) std::this_thread::sleep_for(1ms);
  g.open();
  auto ask = [](troupe::proxy<porter> of, gate* opened) -> task<> {
    co_await of.call<&porter::ask>("a", opened);
  };
  b.spawn(ask(b.worker<porter>("b"), &g));
  std::string text;
  while (!has(text, " s, stalled\n") || !has(text, ".wait, waiting\n")) text = b.dump();
  open.store(true);
  INFO(text);
  CHECK(has(text, "running turns:\n  " + named("a") + ".block, for "));
  CHECK(has(text, "  " + named("a") + ".wait, waiting\n    in a task, depth 2\n    in " +
                      named("b") + ".ask\n    in a task, depth 0\n"));
}

TEST_CASE("a broker that has to wait for its end says for whom", "[broker][dump]") {
  troupe::sim_executor sim;
  troupe::duration opened_after = 1500ms;  // beyond the limit, but not by a second
  bool is_said = false;
  SECTION("a second beyond the limit") {
    opened_after = 2500ms;
    is_said = true;
  }
  SECTION("not before") {}
  auto open = [](troupe::duration after) -> task<> {
    co_await troupe::sleep_for(after);
    std::exchange(deaf::waiting, nullptr).resume();
  };
  auto begin = []() -> task<> { co_await troupe::sleep_for(1ms); };
  broker other({.on = &sim});  // it opens, while the one below is waiting for its end
  std::string text;
  {
    const troupe::test::captured_errors said;
    {
      broker b({.on = &sim, .drain_limit = 1s});
      REQUIRE(b.worker<deaf>("post").tell<&deaf::wait>());
      b.run(begin());
      REQUIRE(deaf::waiting);
      other.spawn(open(opened_after));
    }
    text = said.text();
  }
  INFO(text);
  CHECK(text.starts_with("troupe: a broker waits for its workers to end\n") == is_said);
  CHECK(has(text, "(\"post\").wait, suspended\n") == is_said);
  CHECK(text.empty() != is_said);
}

TEST_CASE("dumps from everywhere, at any time", "[broker][dump]") {
  std::atomic<bool> stop{false};
  broker b({.threads = 2});
  auto traffic = [](broker* on, int n, std::atomic<bool>* ended) -> task<> {
    for (int i = 0; !ended->load(); ++i) {
      gate g;
      g.open();
      auto p = on->worker<porter>(std::to_string((n + i) % 5));
      static_cast<void>(co_await as_result(p.call<&porter::ask>(std::to_string(5 + i % 3), &g)));
      static_cast<void>(
          co_await as_result(p.call<&porter::ask_in_time>(std::to_string(5 + i % 3), &g)));
      co_await troupe::yield();
    }
  };
  for (int i = 0; i < 6; ++i) b.spawn(traffic(&b, i, &stop));
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) static_cast<void>(b.dump());
    });
  }
  for (int i = 0; i < 20; ++i) {
    auto p = b.worker<porter>("dump");
    static_cast<void>(b.run(as_result(p.call<&porter::dump>(&b))));
    static_cast<void>(b.run(as_result(p.call<&porter::dump_at_once>(&b).within(1h))));
  }
  for (std::thread& t : threads) t.join();
  stop.store(true);
}

}  // namespace
}  // namespace dump_tests

// SPDX-License-Identifier: MIT
// Observers: each call settles once in their sight, whatever becomes of it; what they are told;
// several of them.

#include <troupe/broker/observers.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/with_trace.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace observers_tests {
namespace {

using namespace std::chrono_literals;
using troupe::call_info;
using troupe::call_kind;
using troupe::call_outcome;
using troupe::errc;
using troupe::task;
using troupe::worker_id;
using namespace troupe::test;

/// One worker that can do everything that a test needs.
struct busybody {
  explicit busybody(troupe::context& c) : ctx(c) {}
  int plain(int n) {
    if (n < 0) throw std::domain_error("negative");
    return n;
  }
  task<int> later(int n) {
    co_await troupe::sleep_for(1ms);
    if (n < 0) throw std::domain_error("negative");
    co_return n;
  }
  task<> sleep(troupe::duration d) { co_await troupe::sleep_for(d); }
  task<int> forward(int hops) {
    if (hops == 0) co_return co_await ctx.worker<busybody>("end").call<&busybody::plain>(0);
    const auto next = ctx.worker<busybody>(std::to_string(hops));
    co_return co_await next.call<&busybody::forward>(hops - 1);
  }
  task<> close_cycle() { co_await ctx.worker<busybody>("y").call<&busybody::answer>(); }
  task<> answer() {
    co_await troupe::sleep_for(1ms);
    co_await ctx.worker<busybody>("x").call<&busybody::plain>(0);
  }
  void send(int n) { ctx.worker<busybody>("told").tell<&busybody::later>(n); }
  task<troupe::trace_context> trace() {
    const troupe::trace_context t = co_await troupe::this_task::trace();
    co_return t;
  }
  troupe::context& ctx;
};

struct shy : busybody {
  using busybody::busybody;
  static constexpr troupe::actor_options options{.mailbox_capacity = 1,
                                                 .overflow = troupe::overflow::refuse,
                                                 .reentrancy = troupe::reentrancy::none};
  task<> call_myself() { co_await ctx.self<shy>().call<&shy::plain>(1); }
};

struct hermit {
  explicit hermit(troupe::context& c) : ctx(c) {}
  void send(int n) { ctx.worker<busybody>("told").tell<&busybody::later>(n); }
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
  troupe::context& ctx;
};

struct stillborn {
  stillborn() { throw std::runtime_error("no life"); }
  int get() { return 1; }
};

template <class A>
auto as_task(A awaitable) -> task<decltype(troupe::sync_wait(std::move(awaitable)))> {
  co_return co_await std::move(awaitable);
}

task<> ended(task<std::error_code> t) { static_cast<void>(co_await std::move(t)); }

/// Writes down what it sees: "(key.method" before, "outcome)" after, "!outcome" when settled.
class scribe final : public troupe::observer {
public:
  void before_call(const worker_id& to, const call_info& i) override {
    log += "(" + to.key + "." + std::string(i.method) + " ";
    CHECK(i.outcome == call_outcome::running);
    if (i.method == forbidden) throw std::invalid_argument("forbidden");
  }
  void after_call(const worker_id&, const call_info& i) override {
    log += std::string(to_string(i.outcome)) + ") ";
    took = i.took;
  }
  void on_settled(const worker_id& to, const call_info& i) override {
    log += "!" + std::string(to_string(i.outcome));
    if (i.outcome == call_outcome::not_run) log += ":" + i.code().message();
    log += ' ';
    settled.push_back(
        {to.key, i.from.id().key, i.kind, i.depth, i.outcome, i.took, i.trace(), i.parent_span()});
  }
  std::string take() { return std::exchange(log, {}); }

  struct seen {
    std::string to, from;
    call_kind kind;
    unsigned depth;
    call_outcome outcome;
    troupe::duration took;
    troupe::trace_context trace;
    std::uint64_t parent;
  };
  std::string log;
  std::string forbidden;
  troupe::duration took{};
  std::vector<seen> settled;
};

struct fixture {
  explicit fixture(troupe::duration drain = 10s)
      : broker({.on = &sim,
                .drain_limit = drain,
                .on_dead_letter = dead.collector(),
                .observe = &saw}) {}
  scribe saw;
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker;
  troupe::proxy<busybody> p = broker.worker<busybody>("a");
};

}  // namespace

TEST_CASE("every kind of call is seen from its start to its settling", "[broker][observers]") {
  fixture f;
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::plain>(1))) == std::error_code());
  REQUIRE(f.saw.take() == "(a.plain ok) !ok ");
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::later>(1))) == std::error_code());
  REQUIRE(f.saw.take() == "(a.later ok) !ok ");
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::plain>(1).within(1h))) == std::error_code());
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::later>(1).within(1h))) == std::error_code());
  REQUIRE(f.saw.take() == "(a.plain ok) !ok (a.later ok) !ok ");
  REQUIRE(f.p.tell<&busybody::plain>(1));
  f.sim.advance(1s);
  REQUIRE(f.p.tell<&busybody::later>(1));
  f.sim.advance(1s);
  REQUIRE(f.saw.take() == "(a.plain ok) !ok (a.later ok) !ok ");
  const call_kind kinds[] = {call_kind::call,    call_kind::call, call_kind::limited,
                             call_kind::limited, call_kind::tell, call_kind::tell};
  REQUIRE(f.saw.settled.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) REQUIRE(f.saw.settled[i].kind == kinds[i]);
}

TEST_CASE("what a method throws is seen as such", "[broker][observers]") {
  fixture f;
  REQUIRE_THROWS_AS(f.sim.run(as_task(f.p.call<&busybody::plain>(-1))), std::domain_error);
  REQUIRE_THROWS_AS(f.sim.run(as_task(f.p.call<&busybody::later>(-1))), std::domain_error);
  REQUIRE_THROWS_AS(f.sim.run(as_task(f.p.call<&busybody::plain>(-1).within(1h))),
                    std::domain_error);
  REQUIRE_THROWS_AS(f.sim.run(as_task(f.p.call<&busybody::later>(-1).within(1h))),
                    std::domain_error);
  REQUIRE(f.p.tell<&busybody::plain>(-1));
  f.sim.advance(1s);
  REQUIRE(f.p.tell<&busybody::later>(-1));
  f.sim.advance(1s);
  REQUIRE(f.saw.log ==
          "(a.plain threw) !threw (a.later threw) !threw (a.plain threw) !threw "
          "(a.later threw) !threw (a.plain threw) !threw (a.later threw) !threw ");
  REQUIRE(f.dead.count() == 2);
}

TEST_CASE("a method is timed from its start to its end, by the executor's clock",
          "[broker][observers]") {
  fixture f;
  f.sim.run(as_task(f.p.call<&busybody::sleep>(3s)));
  REQUIRE(f.saw.took >= 3s);
  REQUIRE(f.saw.took < 4s);
  REQUIRE(f.saw.settled.at(0).took == f.saw.took);
  f.sim.run(as_task(f.p.call<&busybody::sleep>(7s).within(1h)));
  REQUIRE(f.saw.settled.at(1).took >= 7s);
  REQUIRE(f.saw.settled.at(1).took < 8s);
}

TEST_CASE("a refused call is seen to be refused, by all kinds", "[broker][observers]") {
  fixture f;
  f.saw.forbidden = "plain";
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::plain>(1))) == errc::refused);
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::plain>(1).within(1h))) == errc::refused);
  REQUIRE(f.p.tell<&busybody::plain>(1));
  f.sim.advance(1s);
  f.saw.forbidden = "later";
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::later>(1))) == errc::refused);
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::later>(1).within(1h))) == errc::refused);
  REQUIRE(f.p.tell<&busybody::later>(1));
  f.sim.advance(1s);
  std::string expected;
  for (const char* method : {"plain", "plain", "plain", "later", "later", "later"}) {
    expected += std::string("(a.") + method + " refused) !refused ";
  }
  REQUIRE(f.saw.log == expected);
}

TEST_CASE("calls that never get their turn settle in sight as well", "[broker][observers]") {
  SECTION("a full mailbox") {
    fixture f;
    const auto s = f.broker.worker<shy>("s");
    const auto both = [&]() -> task<> {
      troupe::task_scope scope;
      scope.spawn(as_task(s.call<&shy::sleep>(1s)));
      co_await troupe::sleep_for(1ms);
      CHECK(s.tell<&shy::plain>(1));
      CHECK_FALSE(s.tell<&shy::plain>(2));
      const auto waited = co_await code_of(s.call<&shy::plain>(3));
      CHECK(waited == errc::mailbox_full);
      const auto limited = co_await code_of(s.call<&shy::plain>(4).within(1h));
      CHECK(limited == errc::mailbox_full);
      co_await scope.join();
    };
    f.sim.run(both());
    f.sim.advance(1s);
    REQUIRE(f.saw.log ==
            "(s.sleep !not_run:mailbox full !not_run:mailbox full !not_run:mailbox full "
            "ok) !ok (s.plain ok) !ok ");
  }
  SECTION("a deadlock of one chain, and of two") {
    fixture f;
    const auto s = f.broker.worker<shy>("s");
    REQUIRE(f.sim.run(code_of(s.call<&shy::call_myself>())) == errc::deadlock);
    REQUIRE(f.saw.take() == "(s.call_myself !not_run:deadlock threw) !threw ");
    const auto x = f.broker.worker<busybody>("x");
    const auto y = f.broker.worker<busybody>("y");
    const auto cross = [&]() -> task<> {
      co_await troupe::when_all(code_of(y.call<&busybody::answer>()),
                                code_of(x.call<&busybody::close_cycle>()));
    };
    f.sim.run(cross());
    REQUIRE(f.saw.log.find("!not_run:deadlock") != std::string::npos);
  }
  SECTION("a deadline that has passed, while it waits and before") {
    fixture f;
    const auto late = [&]() -> task<> {
      troupe::task_scope scope;
      scope.spawn(as_task(f.p.call<&busybody::sleep>(1h)));
      co_await troupe::sleep_for(1ms);
      const auto limited = co_await code_of(f.p.call<&busybody::plain>(1).within(1s));
      CHECK(limited == errc::expired);
      co_await scope.join();
    };
    f.sim.run(late());
    REQUIRE(f.saw.take() == "(a.sleep !not_run:deadline passed before the start ok) !ok ");
  }
  SECTION("a stop request") {
    fixture f;
    const auto stopped = [&]() -> task<> {
      troupe::task_scope holding;
      holding.spawn(as_task(f.p.call<&busybody::sleep>(1h)));
      co_await troupe::sleep_for(1ms);
      troupe::task_scope scope;
      const auto plain = [](troupe::proxy<busybody> p) -> task<> {
        const auto code = co_await code_of(p.call<&busybody::plain>(1));
        CHECK(code == errc::cancelled);
        const auto before = co_await code_of(p.call<&busybody::plain>(1).within(1h));
        CHECK(before == errc::cancelled);
      };
      scope.spawn(plain(f.p));
      co_await troupe::sleep_for(1ms);
      scope.request_stop();
      co_await scope.join();
      co_await holding.join();
    };
    f.sim.run(stopped());
    REQUIRE(f.saw.take() ==
            "(a.sleep !not_run:cancelled before the start !not_run:cancelled before the start "
            "ok) !ok ");
  }
  SECTION("a worker that is stopped, and one that cannot be made") {
    fixture f(1s);
    const auto stopped = [&]() -> task<> {
      troupe::task_scope scope;
      scope.spawn(ended(code_of(f.p.call<&busybody::sleep>(1h))));
      co_await troupe::sleep_for(1ms);
      scope.spawn(ended(code_of(f.p.call<&busybody::plain>(1))));
      scope.spawn(ended(code_of(f.p.call<&busybody::plain>(1).within(1h))));
      f.p.tell<&busybody::plain>(1);
      co_await troupe::sleep_for(1ms);
      co_await f.broker.terminate();
      co_await scope.join();
    };
    f.sim.run(stopped());
    const std::string log = f.saw.take();
    std::size_t count = 0;
    for (std::size_t at = 0; (at = log.find("!not_run:worker stopped", at)) != std::string::npos;
         ++at) {
      ++count;
    }
    REQUIRE(count == 3);
    const auto s = f.broker.worker<stillborn>("z");
    REQUIRE(f.sim.run(code_of(s.call<&stillborn::get>())) == errc::start_failed);
    REQUIRE(f.sim.run(code_of(s.call<&stillborn::get>().within(1h))) == errc::start_failed);
    REQUIRE(f.saw.take() == "!not_run:worker failed to start !not_run:worker failed to start ");
  }
}

TEST_CASE("a limit that passes settles the call, and the method ends later",
          "[broker][observers]") {
  fixture f;
  REQUIRE(f.sim.run(code_of(f.p.call<&busybody::sleep>(1h).within(1s))) == errc::timed_out);
  REQUIRE(f.saw.log == "(a.sleep !timed_out ");
  f.sim.advance(2h);
  REQUIRE(f.saw.log.starts_with("(a.sleep !timed_out threw) "));  // it was asked to stop
  REQUIRE(f.saw.settled.size() == 1);
}

TEST_CASE("depth, caller and trace lead up the chain", "[broker][observers]") {
  fixture f;
  const troupe::trace_context outside =
      *troupe::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  REQUIRE(f.sim.run(troupe::with_trace(outside, f.p.call<&busybody::forward>(2))) == 0);
  // The innermost settles first.
  const auto& s = f.saw.settled;
  REQUIRE(s.size() == 4);
  const char* const names[] = {"end", "1", "2", "a"};
  std::uint64_t above = outside.span;
  for (std::size_t i = 4; i-- != 0;) {
    REQUIRE(s[i].to == names[i]);
    REQUIRE(s[i].from == (i == 3 ? "" : names[i + 1]));
    REQUIRE(s[i].depth == 3 - i);
    REQUIRE(s[i].trace == outside);
    REQUIRE(s[i].trace.sampled);
    REQUIRE(s[i].trace.span != 0);
    REQUIRE(s[i].parent == above);
    above = s[i].trace.span;
  }
}

TEST_CASE("a method's own span is the one that observers see", "[broker][observers]") {
  fixture f;
  const auto borrowed = f.sim.run(as_task(f.p.call<&busybody::trace>()));
  REQUIRE(f.saw.settled.at(0).trace.span == borrowed.span);
  const auto owned = f.sim.run(as_task(f.p.call<&busybody::trace>().within(1h)));
  REQUIRE(f.saw.settled.at(1).trace.span == owned.span);
  REQUIRE_FALSE(owned == borrowed);
}

TEST_CASE("a tell goes on with the trace of its sender", "[broker][observers]") {
  fixture f;
  f.sim.run(as_task(f.p.call<&busybody::send>(1)));
  f.sim.advance(1s);
  REQUIRE(f.saw.settled.size() == 2);
  REQUIRE(f.saw.settled[1].to == "told");
  REQUIRE(f.saw.settled[1].kind == call_kind::tell);
  REQUIRE(f.saw.settled[1].depth == 0);
  REQUIRE(f.saw.settled[1].trace == f.saw.settled[0].trace);
  REQUIRE(f.saw.settled[1].parent == f.saw.settled[0].trace.span);
  f.p.tell<&busybody::plain>(1);  // from nowhere
  f.sim.advance(1s);
  REQUIRE(is_complete(f.saw.settled.at(2).trace));
  REQUIRE(f.saw.settled.at(2).parent == 0);
}

TEST_CASE("a worker with a thread of its own is a span like any other", "[broker][observers]") {
  fixture f;
  const troupe::trace_context outside =
      *troupe::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  const auto h = f.broker.worker<hermit>("h");
  f.sim.run(troupe::with_trace(outside, h.call<&hermit::send>(1)));
  f.sim.advance(1s);
  REQUIRE(h.tell<&hermit::send>(2));  // from nowhere
  f.sim.advance(1s);
  const auto& s = f.saw.settled;
  REQUIRE(s.size() == 4);
  REQUIRE(s[0].trace == outside);
  REQUIRE(s[0].parent == outside.span);
  REQUIRE(s[1].trace == outside);
  REQUIRE(s[2].parent == 0);
  REQUIRE_FALSE(s[2].trace == outside);
  REQUIRE(s[3].trace == s[2].trace);
  for (const std::size_t sender : {std::size_t{0}, std::size_t{2}}) {
    REQUIRE(s[sender].to == "h");
    REQUIRE(s[sender + 1].to == "told");
    REQUIRE(s[sender + 1].parent == s[sender].trace.span);
    REQUIRE(s[sender + 1].depth == 0);
  }
}

namespace {

class named final : public troupe::observer {
public:
  named(std::string name, std::string& log) : name_(std::move(name)), log_(log) {}
  void before_call(const worker_id&, const call_info&) override {
    log_ += "(" + name_ + ' ';
    if (refuses) throw std::invalid_argument(name_);
  }
  void after_call(const worker_id&, const call_info& i) override {
    log_ += name_ + ") ";
    CHECK(i.outcome == outcome);
    throw std::runtime_error("its own trouble");
  }
  void on_settled(const worker_id&, const call_info&) override {
    log_ += "!" + name_ + ' ';
    throw std::runtime_error("its own trouble");
  }
  void on_worker(const troupe::worker_event& e) override {
    log_ += (e.kind == troupe::worker_event::create ? "+" : "-") + name_ + ' ';
    throw std::runtime_error("its own trouble");
  }
  void on_evict(const worker_id& id) override {
    log_ += "~" + name_ + id.key + ' ';
    throw std::runtime_error("its own trouble");
  }
  bool refuses = false;
  call_outcome outcome = call_outcome::ok;

private:
  const std::string name_;
  std::string& log_;
};

}  // namespace

TEST_CASE("several observers nest, and the first that refuses wins", "[broker][observers]") {
  std::string log;
  named a("a", log);
  named b("b", log);
  named c("c", log);
  troupe::observers inner{&b, &c};
  troupe::observers all{&a, &inner};
  troupe::sim_executor sim;
  {
    troupe::broker broker({.on = &sim, .observe = &all});
    const auto p = broker.worker<busybody>("w");
    REQUIRE(sim.run(as_task(p.call<&busybody::plain>(1))) == 1);
    REQUIRE(std::exchange(log, {}) == "+a +b +c (a (b (c c) b) a) !a !b !c ");
    b.refuses = true;
    a.outcome = b.outcome = call_outcome::refused;
    const auto thrown = sim.run(error_of(p.call<&busybody::plain>(1)));
    REQUIRE(code_in(thrown) == errc::refused);
    REQUIRE(nested_in(thrown) == "b");
    REQUIRE(std::exchange(log, {}) == "(a (b b) a) !a !b !c ");
    REQUIRE(broker.evict(p.id()));
    REQUIRE(log == "~aw ~bw ~cw -a -b -c ");
    log.clear();
  }
  REQUIRE(log.empty());
}

TEST_CASE("what an observer does not listen to goes on without it", "[broker][observers]") {
  struct listener final : troupe::observer {
    void on_worker(const troupe::worker_event&) override { ++workers; }
    int workers = 0;
  };
  listener heard;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .observe = &heard});
  const auto p = broker.worker<busybody>("a");
  REQUIRE(troupe::sync_wait(p.call<&busybody::plain>(3)) == 3);
  REQUIRE(broker.evict(p.id()));
  sim.advance(1ms);
  REQUIRE(heard.workers == 2);
  REQUIRE(broker.stats().evictions == 1);
}

TEST_CASE("observers of nobody cost nothing", "[broker][observers]") {
  troupe::observers nobody{};
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .observe = &nobody});
  REQUIRE(sim.run(as_task(broker.worker<busybody>().call<&busybody::plain>(1))) == 1);
}

namespace {

/// Counts per outcome, from any thread.
class tally final : public troupe::observer {
public:
  void before_call(const worker_id&, const call_info&) override { ++before; }
  void after_call(const worker_id&, const call_info&) override { ++after; }
  void on_settled(const worker_id&, const call_info& i) override {
    ++settled;
    if (i.outcome == call_outcome::not_run) ++not_run;
    if (i.outcome == call_outcome::timed_out) ++timed_out;
    static_cast<void>(i.trace());
  }
  std::atomic<int> before{0}, after{0}, settled{0}, not_run{0}, timed_out{0};
};

task<> many_calls(troupe::proxy<busybody> p, int n) {
  for (int i = 0; i < n; ++i) {
    static_cast<void>(co_await code_of(p.call<&busybody::plain>(i)));
    static_cast<void>(co_await code_of(
        p.call<&busybody::later>(i).within(std::chrono::microseconds(100 * (i % 20)))));
    p.tell<&busybody::plain>(i);
  }
}

}  // namespace

TEST_CASE("on many threads each call settles once in sight", "[broker][observers][threads]") {
  constexpr int callers = 4;
  constexpr int rounds = 50;
  tally saw;
  {
    troupe::broker broker({.threads = 3, .observe = &saw});
    const auto p = broker.worker<busybody>("shared");
    std::vector<task<>> all;
    for (int i = 0; i < callers; ++i) all.push_back(many_calls(p, rounds));
    broker.run(troupe::when_all(std::move(all)));
  }
  REQUIRE(saw.settled == callers * rounds * 3);
  REQUIRE(saw.before == saw.after);
  REQUIRE(saw.before == callers * rounds * 3 - saw.not_run);
}

TEST_CASE("a caller that outlasts the broker tells no observer that is gone",
          "[broker][observers][threads]") {
  for (int round = 0; round < 20; ++round) {
    auto saw = std::make_unique<tally>();
    std::optional<troupe::broker> broker(
        std::in_place, troupe::broker_options{.threads = 1, .observe = saw.get()});
    const auto p = broker->worker<busybody>("shared");
    std::atomic<bool> gone{false};
    std::thread other([&] {
      while (!gone) static_cast<void>(troupe::sync_wait(code_of(p.call<&busybody::plain>(1))));
    });
    while (saw->settled < 10) std::this_thread::yield();
    broker.reset();
    saw.reset();
    gone = true;
    other.join();
  }
}

}  // namespace observers_tests

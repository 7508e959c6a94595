// SPDX-License-Identifier: MIT
// Turns that do not come to an end: who is told, what goes on, what settles. Methods here block
// their threads until the test lets them go on.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/captured_errors.hpp"
#include "../support/catch.hpp"
#include "support.hpp"

namespace stuck_handlers_tests {
namespace {

using namespace std::chrono_literals;
using troupe::as_result;
using troupe::broker;
using troupe::errc;
using troupe::slow_turn_report;
using troupe::task;
using troupe::worker_id;

/// Blocks a thread until somebody opens it.
class barrier {
public:
  void open() noexcept { open_.store(true); }
  void pass() const {
    while (!open_.load()) std::this_thread::sleep_for(1ms);
  }

private:
  std::atomic<bool> open_{false};
};

/// Waits for what others bring about.
template <class F>
void eventually(F happened) {
  while (!happened()) std::this_thread::sleep_for(1ms);
}

class collector : public troupe::observer {
public:
  void on_slow_turn(const slow_turn_report& report) override {
    const std::lock_guard guard(mutex_);
    reports_.push_back(report);
    names_.emplace_back(report.method);
  }
  std::size_t count() const {
    const std::lock_guard guard(mutex_);
    return reports_.size();
  }
  slow_turn_report report(std::size_t i) const {
    const std::lock_guard guard(mutex_);
    return reports_.at(i);
  }
  std::string names() const {
    const std::lock_guard guard(mutex_);
    std::string all;
    for (const std::string& name : names_) all += (all.empty() ? "" : " ") + name;
    return all;
  }

private:
  mutable std::mutex mutex_;
  std::vector<slow_turn_report> reports_;
  std::vector<std::string> names_;
};

struct mule;

/// Calls its caller back.
struct echo {
  task<> call_back(troupe::proxy<mule> caller);
  static inline std::atomic<bool> stalled{false};
};

struct mule {
  int block(barrier* b) {
    started.store(true);
    b->pass();
    return ++turns;
  }
  task<int> block_later(barrier* b) {
    co_await troupe::yield();
    started.store(true);
    b->pass();
    co_await troupe::yield();
    co_return ++turns;
  }
  task<> rest(troupe::duration d) { co_await troupe::sleep_for(d); }
  task<> rest_and_say(troupe::duration d, std::atomic<bool>* rested) {
    co_await troupe::sleep_for(d);
    rested->store(true);
  }
  int touch() { return ++turns; }
  task<> block_beside_a_call(troupe::proxy<echo> e, troupe::proxy<mule> self, barrier* b);

  int turns = 0;
  static inline std::atomic<bool> started{false};
};

struct late_riser {
  explicit late_riser(troupe::context&) {
    eventually([] { return wake.load(); });
  }
  int touch() { return 1; }
  static inline std::atomic<bool> wake{false};
};

}  // namespace
}  // namespace stuck_handlers_tests

template <>
inline constexpr bool troupe::enable_sendable<stuck_handlers_tests::barrier*> = true;

namespace stuck_handlers_tests {
namespace {

TEST_CASE("a slow turn is reported once, with worker, method and time", "[broker][stuck]") {
  collector seen;
  barrier gate;
  broker b({.threads = 2, .slow_turn = 20ms, .observe = &seen});
  auto p = b.worker<mule>("m");
  REQUIRE(p.tell<&mule::block>(&gate));
  eventually([&] { return seen.count() != 0; });
  std::this_thread::sleep_for(100ms);  // further looks find nothing new
  gate.open();
  CHECK(b.run(as_result(p.call<&mule::touch>())).value() == 2);
  REQUIRE(seen.count() == 1);
  const slow_turn_report report = seen.report(0);
  CHECK(report.worker == b.workers().at(0).id);
  CHECK(report.method == "block");
  CHECK(report.running_for >= 20ms);
}

TEST_CASE("a slow turn that nobody observes is reported on standard error", "[broker][stuck]") {
  barrier gate;
  broker b({.threads = 2, .slow_turn = 20ms});
  auto p = b.worker<mule>("m");
  std::string text;
  {
    const troupe::test::captured_errors said;
    REQUIRE(p.tell<&mule::block>(&gate));
    eventually([&] { return said.text().ends_with(" s\n"); });
    text = said.text();
  }
  gate.open();
  CHECK(b.run(as_result(p.call<&mule::touch>())).value() == 2);
  CHECK(text.starts_with("troupe: slow turn: " + to_string(b.workers().at(0).id) +
                         ".block has been running for "));
}

TEST_CASE("whatever runs a turn, it is watched", "[broker][stuck]") {
  collector seen;
  troupe::thread_pool pool({.threads = 2});
  barrier gate;
  SECTION("a plain method on the caller's thread") {
    broker b({.on = &pool, .slow_turn = 20ms, .observe = &seen});
    std::thread helper([&] {
      eventually([&] { return seen.count() != 0; });
      gate.open();
    });
    CHECK(b.run(as_result(b.worker<mule>("m").call<&mule::block>(&gate))).value() == 1);
    helper.join();
    CHECK(seen.names() == "block");
  }
  SECTION("a coroutine that goes on after an await") {
    broker b({.on = &pool, .slow_turn = 20ms, .observe = &seen});
    std::thread helper([&] {
      eventually([&] { return seen.count() != 0; });
      gate.open();
    });
    CHECK(b.run(as_result(b.worker<mule>("m").call<&mule::block_later>(&gate))).value() == 1);
    helper.join();
    CHECK(seen.names() == "block_later");
  }
  SECTION("a call with a time limit") {
    broker b({.on = &pool, .slow_turn = 20ms, .observe = &seen});
    std::thread helper([&] {
      eventually([&] { return seen.count() != 0; });
      gate.open();
    });
    CHECK(b.run(as_result(b.worker<mule>("m").call<&mule::block>(&gate).within(1h))).value() == 1);
    helper.join();
    CHECK(seen.names() == "block");
  }
  SECTION("a constructor") {
    late_riser::wake.store(false);
    broker b({.on = &pool, .slow_turn = 20ms, .observe = &seen});
    std::thread helper([&] {
      eventually([&] { return seen.count() != 0; });
      late_riser::wake.store(true);
    });
    CHECK(b.run(as_result(b.worker<late_riser>("m").call<&late_riser::touch>())).value() == 1);
    helper.join();
    CHECK(seen.names() == "constructor");
  }
}

task<int> block_inside(troupe::proxy<mule> p, barrier* gate) {
  static_cast<void>(co_await p.call<&mule::touch>());
  co_return co_await p.call<&mule::block>(gate);
}

TEST_CASE("a plain method entered by the fast path is stalled like any other", "[broker][stuck]") {
  // Without an observer: what is seen is what the stall brings about.
  troupe::thread_pool pool({.threads = 1});
  barrier gate;
  std::atomic<int> result{0};
  broker b({.on = &pool, .slow_turn = troupe::endless, .stall_limit = 20ms});
  auto p = b.worker<mule>("m");
  auto blocked = [](troupe::proxy<mule> to, barrier* g, std::atomic<int>* out) -> task<> {
    out->store(co_await block_inside(to, g));
  };
  mule::started.store(false);
  b.spawn(blocked(p, &gate, &result));
  eventually([] { return mule::started.load(); });
  const auto late = b.run(as_result(p.call<&mule::touch>().within(1h)));
  CHECK(late.code() == errc::worker_stalled);
  eventually([&] { return pool.stats().replacements == 1; });
  CHECK(result.load() == 0);
  gate.open();
  eventually([&] { return result.load() == 2; });
}

TEST_CASE("what is suspended is not slow", "[broker][stuck]") {
  collector seen;
  broker b({.threads = 1, .slow_turn = 10ms, .observe = &seen});
  b.run(as_result(b.worker<mule>("m").call<&mule::rest>(150ms))).value();
  CHECK(seen.count() == 0);
}

TEST_CASE("a pool keeps its width while threads are stuck, and gives it back", "[broker][stuck]") {
  constexpr int threads = 2;
  troupe::thread_pool pool({.threads = threads});
  barrier gate;
  barrier again;
  broker b({.on = &pool, .slow_turn = troupe::endless, .stall_limit = 20ms});
  for (int i = 0; i < threads; ++i) {
    REQUIRE(b.worker<mule>(std::to_string(i)).tell<&mule::block>(&gate));
  }
  // Runs on the pool, of which both threads are held.
  for (int i = 0; i < 20; ++i) {
    const auto answer = b.run(as_result(b.worker<mule>("free").call<&mule::touch>().within(1h)));
    REQUIRE(answer.value() == i + 1);
  }
  eventually([&] { return pool.stats().replacements == threads; });
  gate.open();
  eventually([&] { return pool.stats().replacements == 0; });
  CHECK(b.run(as_result(b.worker<mule>("0").call<&mule::touch>().within(1h))).value() == 2);

  // The places of those that have gone are used again.
  REQUIRE(b.worker<mule>("0").tell<&mule::block>(&again));
  REQUIRE(b.worker<mule>("1").tell<&mule::block>(&again));
  CHECK(b.run(as_result(b.worker<mule>("free").call<&mule::touch>().within(1h))).value() == 21);
  again.open();
  eventually([&] { return pool.stats().replacements == 0; });
}

TEST_CASE("timers fire when a replacement that kept the time has gone", "[broker][stuck]") {
  troupe::thread_pool pool({.threads = 1});
  broker b({.on = &pool, .slow_turn = troupe::endless, .stall_limit = 5ms});
  for (int round = 0; round < 20; ++round) {
    barrier gate;
    std::atomic<bool> rested{false};
    REQUIRE(b.worker<mule>("m").tell<&mule::block>(&gate));
    eventually([&] { return pool.stats().replacements == 1; });
    REQUIRE(b.worker<mule>("n").tell<&mule::rest_and_say>(50ms, &rested));
    std::this_thread::sleep_for(5ms);  // the replacement sleeps until then
    gate.open();
    eventually([&] { return rested.load(); });
    eventually([&] { return pool.stats().replacements == 0; });
  }
}

TEST_CASE("no more threads stand in than the pool has", "[broker][stuck]") {
  troupe::thread_pool pool({.threads = 1});
  barrier gate;
  broker b({.on = &pool, .slow_turn = troupe::endless, .stall_limit = 10ms});
  for (int i = 0; i < 4; ++i) {
    REQUIRE(b.worker<mule>(std::to_string(i)).tell<&mule::block>(&gate));
  }
  eventually([&] { return pool.stats().replacements == 1; });
  std::this_thread::sleep_for(100ms);
  CHECK(pool.stats().replacements == 1);
  gate.open();
}

/// What became of the calls of a stuck worker. Read when all of them are over.
struct aftermath {
  std::error_code running;
  std::error_code waiting;
  bool borrowing_waited = false;
  int borrowing = 0;
  std::atomic<bool> borrowing_done{false};
};

task<> borrow(troupe::proxy<mule> p, aftermath* out) {
  while (!mule::started.load()) co_await troupe::sleep_for(1ms);
  out->borrowing = co_await p.call<&mule::touch>();
  out->borrowing_done.store(true);
}

task<> own(troupe::proxy<mule> p, bool coroutine, barrier* gate, aftermath* out) {
  if (coroutine) {
    auto answer = co_await as_result(p.call<&mule::block_later>(gate).within(1h));
    out->running = answer.code();
  } else {
    auto answer = co_await as_result(p.call<&mule::block>(gate).within(1h));
    out->running = answer.code();
  }
  auto answer = co_await as_result(p.call<&mule::touch>().within(1h));
  out->waiting = answer.code();
  out->borrowing_waited = !out->borrowing_done.load();
  gate->open();
}

TEST_CASE("calls with a time limit settle when their worker is stuck, others wait",
          "[broker][stuck]") {
  const bool coroutine = GENERATE(false, true);
  barrier gate;
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 30ms});
  aftermath found;
  mule::started.store(false);
  auto p = b.worker<mule>("m");
  static_cast<void>(b.run(troupe::when_all(own(p, coroutine, &gate, &found), borrow(p, &found))));
  CHECK(found.running == errc::worker_stalled);
  CHECK(!troupe::is_safe_to_retry(found.running));
  CHECK(found.waiting == errc::worker_stalled);
  CHECK(found.borrowing_waited);
  CHECK(found.borrowing == 2);
}

task<> echo::call_back(troupe::proxy<mule> caller) {
  auto answer = co_await as_result(caller.call<&mule::touch>().within(1h));
  stalled.store(answer.code() == errc::worker_stalled);
}

task<> mule::block_beside_a_call(troupe::proxy<echo> e, troupe::proxy<mule> self, barrier* b) {
  auto call = [](troupe::proxy<echo> whom, troupe::proxy<mule> back) -> task<> {
    co_await whom.call<&echo::call_back>(back);
  };
  auto block = [](barrier* gate) -> task<> {
    started.store(true);
    gate->pass();
    co_return;
  };
  static_cast<void>(co_await troupe::when_all(call(e, self), block(b)));
  ++turns;
}

TEST_CASE("a call with a time limit that waits to nest in a stuck turn settles",
          "[broker][stuck]") {
  barrier gate;
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 20ms});
  echo::stalled.store(false);
  auto p = b.worker<mule>("m");
  REQUIRE(p.tell<&mule::block_beside_a_call>(b.worker<echo>("e"), p, &gate));
  eventually([] { return echo::stalled.load(); });
  gate.open();
  CHECK(b.run(as_result(p.call<&mule::touch>())).value() == 2);  // the one given up never ran
}

TEST_CASE("a broker waits for a stuck turn to end", "[broker][stuck]") {
  barrier gate;
  std::atomic<int> gone{0};
  std::thread helper;
  {
    broker b({.threads = 1, .drain_limit = 1ms, .slow_turn = troupe::endless, .stall_limit = 10ms});
    mule::started.store(false);
    REQUIRE(b.worker<mule>("m").tell<&mule::block>(&gate));
    eventually([] { return mule::started.load(); });
    helper = std::thread([&] {
      std::this_thread::sleep_for(100ms);
      gone.store(1);
      gate.open();
    });
  }
  CHECK(gone.load() == 1);
  helper.join();
}

TEST_CASE("brokers come and go while turns are watched", "[broker][stuck]") {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 20; ++i) {
        collector seen;
        barrier gate;
        gate.open();
        broker b({.threads = 1, .slow_turn = 2ms, .stall_limit = 4ms, .observe = &seen});
        auto p = b.worker<mule>("m");
        static_cast<void>(b.run(as_result(p.call<&mule::touch>().within(1h))));
        static_cast<void>(p.tell<&mule::block>(&gate));
        std::this_thread::sleep_for(std::chrono::milliseconds(i % 4));
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace stuck_handlers_tests

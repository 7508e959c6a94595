// SPDX-License-Identifier: MIT
// Workers that are given up when they are stuck: a new instance under the same id, the old one out
// of reach.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/actor/monitor.hpp>
#include <troupe/broker/worker_event.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace abandoned_tests {
namespace {

using namespace std::chrono_literals;
using troupe::as_result;
using troupe::broker;
using troupe::errc;
using troupe::task;

template <class F>
void eventually(F happened) {
  while (!happened()) std::this_thread::sleep_for(1ms);
}

struct hermit {
  static constexpr troupe::actor_options options{.abandon_stalled = true};

  hermit() : number(++made) {}
  hermit(const hermit&) = delete;
  hermit& operator=(const hermit&) = delete;
  ~hermit() { ++gone; }

  int block(std::atomic<bool>* open) {
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
    return number;
  }
  task<int> block_later(std::atomic<bool>* open) {
    co_await troupe::yield();
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
    co_await troupe::yield();
    co_return number;
  }
  task<> block_then_rest(std::atomic<bool>* open) {
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
    co_await troupe::sleep_for(1h);
  }
  task<> block_twice(std::atomic<bool>* open, std::atomic<bool>* on, std::atomic<bool>* again) {
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
    while (!on->load()) {
      std::this_thread::sleep_for(1ms);
      static_cast<void>(co_await as_result(troupe::yield()));
    }
    started.store(true);
    while (!again->load()) std::this_thread::sleep_for(1ms);
  }
  task<> visit_and_rest(troupe::proxy<hermit> other, std::atomic<bool>* open) {
    co_await other.call<&hermit::block_then_rest>(open);
  }
  task<int> visit(troupe::proxy<hermit> other, std::atomic<bool>* open) {
    co_return co_await other.call<&hermit::block>(open);
  }
  task<> rest() { co_await troupe::sleep_for(1h); }
  void note(int i) { notes += std::to_string(i); }
  std::string noted() { return std::to_string(number) + ":" + notes; }
  int who() { return number; }

  const int number;
  std::string notes;

  static inline std::atomic<int> made{0};
  static inline std::atomic<int> gone{0};
  static inline std::atomic<bool> started{false};
  static void reset() {
    made.store(0);
    gone.store(0);
    started.store(false);
  }
};

struct narrow_hermit {
  static constexpr troupe::actor_options options{
      .mailbox_capacity = 2, .overflow = troupe::overflow::refuse, .abandon_stalled = true};
  void block(std::atomic<bool>* open) {
    while (!open->load()) std::this_thread::sleep_for(1ms);
  }
  task<> rest(std::atomic<bool>* resting) {
    resting->store(true);
    co_await troupe::sleep_for(1h);
  }
  void note() {}
};

/// Gets stuck where it is to end.
struct slow_leaver {
  static constexpr troupe::actor_options options{.abandon_stalled = true};
  slow_leaver() : number(++made) {}
  void on_stop() {
    leaving.store(true);
    while (!may_leave.load()) std::this_thread::sleep_for(1ms);
  }
  int who() { return number; }

  const int number;
  static inline std::atomic<int> made{0};
  static inline std::atomic<bool> leaving{false};
  static inline std::atomic<bool> may_leave{false};
};

/// Has set a timer when it gets stuck.
struct timed_hermit {
  static constexpr troupe::actor_options options{.abandon_stalled = true};
  explicit timed_hermit(troupe::context& c) : ctx(c), number(++made) {}
  ~timed_hermit() { ++gone; }
  void block(troupe::duration after, std::atomic<bool>* open) {
    auto token = std::make_shared<int>(number);
    held = token;
    ctx.after(after, [token, this] { fired += number; });
    started.store(true);
    while (!open->load()) std::this_thread::sleep_for(1ms);
  }
  int who() { return number; }

  troupe::context& ctx;
  const int number;
  static inline std::atomic<int> made{0};
  static inline std::atomic<int> gone{0};
  static inline std::atomic<int> fired{0};
  static inline std::atomic<bool> started{false};
  static inline std::weak_ptr<int> held;  // of what the timer's function holds
};

class births : public troupe::observer {
public:
  void on_worker(const troupe::worker_event& e) override {
    const std::lock_guard guard(mutex_);
    text_ += e.kind == troupe::worker_event::create ? "create " : "remove ";
  }
  std::string text() const {
    const std::lock_guard guard(mutex_);
    return text_;
  }

private:
  mutable std::mutex mutex_;
  std::string text_;
};

TEST_CASE("a stuck worker that may be abandoned gets a new instance", "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  births seen;
  const bool observed = GENERATE(false, true);
  broker b({.threads = 2,
            .slow_turn = troupe::endless,
            .stall_limit = 30ms,
            .observe = observed ? &seen : nullptr});
  auto p = b.worker<hermit>("h");
  SECTION("in a plain method") { REQUIRE(p.tell<&hermit::block>(&open)); }
  SECTION("in a coroutine") { REQUIRE(p.tell<&hermit::block_later>(&open)); }
  eventually([] { return hermit::started.load(); });
  for (int i = 1; i <= 9; ++i) REQUIRE(p.tell<&hermit::note>(i));
  CHECK(b.run(as_result(p.call<&hermit::noted>())).value() == "2:123456789");
  CHECK(b.run(as_result(b.worker<hermit>("h").call<&hermit::who>())).value() == 2);
  CHECK(b.worker_count() == 1);
  CHECK(b.exists<hermit>("h"));
  CHECK(hermit::gone.load() == 0);
  CHECK(b.dump().find("abandoned") != std::string::npos);
  open.store(true);
  eventually([] { return hermit::gone.load() == 1; });
  CHECK(b.run(as_result(p.call<&hermit::who>().within(1h))).value() == 2);
  CHECK(b.worker_count() == 1);
  CHECK(hermit::made.load() == 2);
  if (observed) CHECK(seen.text() == "create remove create ");
  CHECK(b.run(b.remove<hermit>("h")));
  CHECK(hermit::gone.load() == 2);
}

TEST_CASE("a call that waits for the method of an abandoned instance gets its result",
          "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  broker b({.threads = 1, .slow_turn = troupe::endless, .stall_limit = 20ms});
  auto p = b.worker<hermit>("h");
  CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 1);
  std::thread helper([&] {
    eventually([] { return hermit::started.load(); });
    CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 2);
    open.store(true);
  });
  const int answer = b.run(as_result(p.call<&hermit::block>(&open))).value();
  helper.join();
  CHECK(answer == 1);
  eventually([] { return hermit::gone.load() == 1; });
}

TEST_CASE("a broker waits for the turns of abandoned instances", "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  std::thread helper;
  {
    broker b({.threads = 1, .slow_turn = troupe::endless, .stall_limit = 10ms});
    auto p = b.worker<hermit>("h");
    REQUIRE(p.tell<&hermit::block>(&open));
    eventually([] { return hermit::started.load(); });
    CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 2);
    helper = std::thread([&] {
      std::this_thread::sleep_for(50ms);
      open.store(true);
    });
  }
  CHECK(hermit::gone.load() == 2);
  helper.join();
}

TEST_CASE("the drain limit holds for the instance that follows an abandoned one",
          "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  broker b({.threads = 2, .drain_limit = 300ms, .slow_turn = troupe::endless, .stall_limit = 20ms});
  auto p = b.worker<hermit>("h");
  REQUIRE(p.tell<&hermit::block>(&open));
  eventually([] { return hermit::started.load(); });
  SECTION("that runs what does not end by itself") {
    REQUIRE(p.tell<&hermit::rest>());
    CHECK(b.run(b.remove<hermit>("h")));
    CHECK(hermit::made.load() == 2);
  }
  SECTION("that is never made") {
    CHECK(b.run(b.remove<hermit>("h")));
    CHECK(hermit::made.load() == 1);
  }
  SECTION("when all are closed") {
    REQUIRE(p.tell<&hermit::rest>());
    b.run(b.terminate());
    CHECK(hermit::made.load() == 2);
  }
  CHECK(b.worker_count() == 0);
  open.store(true);
  eventually([] { return hermit::gone.load() == hermit::made.load(); });
}

TEST_CASE("an abandoned turn that suspends for the first time is asked to stop",
          "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 10ms});
  auto inner = b.worker<hermit>("inner");
  const int first = b.run(as_result(inner.call<&hermit::who>())).value();
  REQUIRE(b.worker<hermit>("outer").tell<&hermit::visit_and_rest>(inner, &open));
  eventually([] { return hermit::started.load(); });
  CHECK(b.run(as_result(inner.call<&hermit::who>())).value() != first);
  open.store(true);
  eventually([] { return hermit::gone.load() >= 1; });
}

TEST_CASE("an abandoned turn that gets stuck again is replaced again", "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  std::atomic<bool> on{false};
  std::atomic<bool> again{false};
  troupe::thread_pool pool({.threads = 1});
  broker b({.on = &pool, .slow_turn = troupe::endless, .stall_limit = 20ms});
  auto p = b.worker<hermit>("h");
  REQUIRE(p.tell<&hermit::block_twice>(&open, &on, &again));
  eventually([] { return hermit::started.load(); });
  CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 2);
  hermit::started.store(false);
  open.store(true);
  eventually([&] { return pool.stats().replacements == 0; });
  on.store(true);
  eventually([] { return hermit::started.load(); });
  auto other = b.worker<hermit>("other");
  CHECK(b.run(as_result(other.call<&hermit::who>().within(1h))).value() == 3);
  again.store(true);
  eventually([] { return hermit::gone.load() == 1; });
}

TEST_CASE("the worker that is stuck is abandoned, not the one that waits for it",
          "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 20ms});
  auto outer = b.worker<hermit>("outer");
  auto inner = b.worker<hermit>("inner");
  const int first = b.run(as_result(outer.call<&hermit::who>())).value();
  const int second = b.run(as_result(inner.call<&hermit::who>())).value();
  REQUIRE(outer.tell<&hermit::visit>(inner, &open));
  eventually([] { return hermit::started.load(); });
  CHECK(b.run(as_result(inner.call<&hermit::who>())).value() != second);
  std::this_thread::sleep_for(100ms);  // further looks change nothing
  open.store(true);
  CHECK(b.run(as_result(outer.call<&hermit::who>())).value() == first);
}

TEST_CASE("a monitor watches the instance that follows an abandoned one", "[broker][stuck]") {
  hermit::reset();
  std::atomic<bool> open{false};
  std::atomic<int> stopped{0};
  std::atomic<int> stopped_again{0};
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 10ms});
  auto p = b.worker<hermit>("h");
  troupe::monitor watch(p, [&](const troupe::worker_notice&) { stopped.fetch_add(1); });
  REQUIRE(p.tell<&hermit::block>(&open));
  eventually([] { return hermit::started.load(); });
  CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 2);
  troupe::monitor late(p, [&](const troupe::worker_notice&) { stopped_again.fetch_add(1); });
  CHECK(stopped.load() == 0);
  CHECK(b.run(b.remove<hermit>("h")));
  CHECK(stopped.load() == 1);
  CHECK(stopped_again.load() == 1);
  open.store(true);
  eventually([&] { return stopped.load() == 2; });
  late.stop();
  CHECK(b.run(as_result(p.call<&hermit::who>())).value() == 3);
  CHECK(b.run(b.remove<hermit>("h")));
  CHECK(stopped.load() == 3);
}

TEST_CASE("tells through an old proxy heed the capacity of the next instance", "[broker][stuck]") {
  std::atomic<bool> open{false};
  std::atomic<bool> resting{false};
  broker b({.threads = 2, .drain_limit = 50ms, .slow_turn = troupe::endless, .stall_limit = 10ms});
  auto p = b.worker<narrow_hermit>("n");
  REQUIRE(p.tell<&narrow_hermit::block>(&open));
  eventually([&] { return b.dump().find("abandoned") != std::string::npos; });
  REQUIRE(p.tell<&narrow_hermit::rest>(&resting));
  eventually([&] { return resting.load(); });
  CHECK(p.tell<&narrow_hermit::note>());
  CHECK(p.tell<&narrow_hermit::note>());
  CHECK_FALSE(p.tell<&narrow_hermit::note>());
  open.store(true);
}

TEST_CASE("a timer that fires when its instance has been abandoned is not the next one's",
          "[broker][stuck]") {
  timed_hermit::made.store(0);
  timed_hermit::gone.store(0);
  timed_hermit::fired.store(0);
  timed_hermit::started.store(false);
  std::atomic<bool> open{false};
  troupe::duration after{};
  SECTION("before that") { after = 1ms; }
  SECTION("after that") { after = 100ms; }
  {
    broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 20ms});
    auto p = b.worker<timed_hermit>("t");
    REQUIRE(p.tell<&timed_hermit::block>(after, &open));
    eventually([] { return timed_hermit::started.load(); });
    CHECK(b.run(as_result(p.call<&timed_hermit::who>())).value() >= 2);
    std::this_thread::sleep_for(150ms);      // it fires, mostly
    CHECK(timed_hermit::fired.load() == 0);  // the turn has not ended
    open.store(true);
    eventually([] { return timed_hermit::gone.load() != 0; });
    CHECK(b.run(as_result(p.call<&timed_hermit::who>())).value() >= 2);
  }
  CHECK(timed_hermit::fired.load() <= 1);  // as the last thing that its own instance does, or never
  CHECK(timed_hermit::held.expired());
  CHECK(timed_hermit::gone.load() == timed_hermit::made.load());
}

TEST_CASE("workers are abandoned, called, removed and evicted all at once", "[broker][stuck]") {
  hermit::reset();
  std::atomic<int> settled{0};
  constexpr int callers = 4;
  constexpr int rounds = 60;
  {
    broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 2ms});
    auto traffic = [](broker* on, int n, std::atomic<int>* count) -> task<> {
      auto mine = on->worker<hermit>("h");
      for (int i = 0; i < rounds; ++i) {
        if ((i + n) % 8 == 0) {
          std::atomic<bool> mine_open{false};
          std::thread opener([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(1 + i % 7));
            mine_open.store(true);
          });
          static_cast<void>(co_await as_result(mine.call<&hermit::block>(&mine_open)));
          opener.join();
        } else if ((i + n) % 8 == 1) {
          static_cast<void>(co_await as_result(mine.call<&hermit::who>().within(1h)));
        } else if ((i + n) % 8 == 2) {
          static_cast<void>(co_await as_result(on->remove<hermit>("h")));
        } else if ((i + n) % 8 == 3) {
          static_cast<void>(on->evict(mine.id()));
        } else if ((i + n) % 8 == 4) {
          static_cast<void>(mine.tell<&hermit::note>(i));
        } else {
          static_cast<void>(co_await as_result(mine.call<&hermit::who>()));
        }
        count->fetch_add(1);
      }
    };
    std::vector<std::thread> threads;
    for (int n = 0; n < callers; ++n) {
      threads.emplace_back([&, n] { b.run(traffic(&b, n, &settled)); });
    }
    for (std::thread& t : threads) t.join();
    CHECK(b.worker_count() <= 1);
  }
  CHECK(settled.load() == callers * rounds);
  CHECK(hermit::made.load() == hermit::gone.load());
}

}  // namespace

TEST_CASE("a worker that is stuck in its end is not abandoned: that end has begun",
          "[broker][stuck]") {
  broker b({.threads = 2, .slow_turn = troupe::endless, .stall_limit = 30ms});
  const auto p = b.worker<slow_leaver>();
  REQUIRE(b.run(as_result(p.call<&slow_leaver::who>())).value() == 1);
  REQUIRE(b.evict(p.id()));
  eventually([] { return slow_leaver::leaving.load(); });
  // Whoever refuses them has looked at the worker, the second time after it dealt with the first.
  for (int i = 0; i < 2; ++i) {
    CHECK(b.run(as_result(p.call<&slow_leaver::who>().within(1h))).code() == errc::worker_stalled);
  }
  CHECK(slow_leaver::made.load() == 1);
  slow_leaver::may_leave.store(true);
  CHECK(b.run(as_result(p.call<&slow_leaver::who>())).value() == 2);
}

}  // namespace abandoned_tests

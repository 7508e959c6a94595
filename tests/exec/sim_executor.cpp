// SPDX-License-Identifier: MIT
// The simulator: the same seed gives the same run, different seeds give different orders, time is
// virtual, and what hangs for real threads is an error here.

#include <troupe/exec/sim_executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/coro/async_mutex.hpp>
#include <troupe/coro/channel.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>

#include "../coro/run_on.hpp"
#include "../support/catch.hpp"

namespace sim_executor_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::sim_executor;
using troupe::sim_options;
using troupe::sync_wait;
using troupe::task;

static_assert(std::is_trivially_destructible_v<sim_options>);

task<int> give(int value) { co_return value; }

task<> log_name(std::string& log, char name) {
  co_await troupe::yield();
  log += name;
}

task<std::string> three_at_once() {
  std::string log;
  co_await troupe::when_all(log_name(log, 'a'), log_name(log, 'b'), log_name(log, 'c'));
  co_return log;
}

task<> worker(troupe::async_mutex& mutex, troupe::channel<int>& channel, std::string& log,
              char name) {
  for (int i = 0; i < 5; ++i) {
    co_await troupe::sleep_for(std::chrono::milliseconds(i * 3));
    const troupe::async_lock lock = co_await mutex.lock();
    log += name;
    co_await troupe::yield();
    const bool sent = co_await channel.send(i);
    log += sent ? '+' : '-';
  }
}

task<> drain(troupe::channel<int>& channel, std::string& log) {
  for (int i = 0; i < 15; ++i) {
    const std::optional<int> value = co_await channel.receive();
    log += value ? std::to_string(*value) : "?";
    const int more = co_await troupe::offload([] { return 1; });
    if (more == 0) break;
  }
}

task<std::string> much_at_once() {
  std::string log;
  troupe::async_mutex mutex;
  troupe::channel<int> channel(2);
  co_await troupe::when_all(worker(mutex, channel, log, 'a'), worker(mutex, channel, log, 'b'),
                            worker(mutex, channel, log, 'c'), drain(channel, log));
  co_return log;
}

struct trace {
  std::string log;
  std::uint64_t hash;
  std::uint64_t steps;
  troupe::time_point end;
  std::uint64_t random;

  friend bool operator==(const trace&, const trace&) = default;
};

trace traced(sim_options options) {
  sim_executor sim(options);
  std::string log = sim.run(much_at_once());
  return {std::move(log), sim.trace_hash(), sim.steps(), sim.now(), sim.random()};
}

}  // namespace

TEST_CASE("the same seed gives the same run, bit for bit", "[exec][sim]") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const unsigned threads : {1u, 3u}) {
      for (const bool buggify : {false, true}) {
        CAPTURE(seed, threads, buggify);
        const sim_options options{.seed = seed, .threads = threads, .buggify = buggify};
        const trace first = traced(options);
        // Other blocks of memory are free now than were then.
        const std::vector<std::unique_ptr<int[]>> noise = [] {
          std::vector<std::unique_ptr<int[]>> blocks;
          for (std::size_t i = 1; i < 20; ++i) blocks.push_back(std::make_unique<int[]>(i * 7));
          return blocks;
        }();
        REQUIRE(traced(options) == first);
      }
    }
  }
}

TEST_CASE("different seeds give different runs", "[exec][sim]") {
  std::set<std::uint64_t> hashes;
  std::set<std::string> logs;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const trace t = traced({.seed = seed});
    hashes.insert(t.hash);
    logs.insert(t.log);
  }
  REQUIRE(hashes.size() == 50);
  REQUIRE(logs.size() > 25);
}

TEST_CASE("what is ready together runs in any order", "[exec][sim]") {
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    sim_executor sim({.seed = seed});
    orders.insert(sim.run(three_at_once()));
  }
  REQUIRE(orders.size() == 6);
}

TEST_CASE("a simulation knows its seed", "[exec][sim]") {
  const sim_executor by_default;
  REQUIRE(by_default.seed() == 1);
}

namespace {

task<> note_times(sim_executor& sim, std::vector<troupe::time_point>& times) {
  for (int i = 1; i <= 3; ++i) {
    co_await troupe::sleep_for(std::chrono::hours(i));
    times.push_back(sim.now());
  }
}

}  // namespace

TEST_CASE("time jumps to the next timer when nothing is ready", "[exec][sim]") {
  sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(start != troupe::time_point{});
  std::vector<troupe::time_point> times;
  sim.run(note_times(sim, times));
  REQUIRE(times == std::vector{start + 1h, start + 3h, start + 6h});
}

TEST_CASE("running what does not wait takes no time", "[exec][sim]") {
  sim_executor sim;
  const troupe::time_point start = sim.now();
  REQUIRE(sim.run(give(4)) == 4);
  REQUIRE(sim.now() == start);
}

namespace {

/// A step that notes when it ran.
class noting_timer final : public troupe::timer {
public:
  noting_timer(sim_executor& sim, std::vector<troupe::time_point>& times)
      : timer(&noting_timer::on_time), sim_(sim), times_(times) {}

private:
  static void on_time(timer& t) noexcept {
    auto& self = static_cast<noting_timer&>(t);
    self.times_.push_back(self.sim_.now());
  }
  sim_executor& sim_;
  std::vector<troupe::time_point>& times_;
};

}  // namespace

TEST_CASE("advance runs all that becomes due on the way, in order", "[exec][sim]") {
  sim_executor sim;
  const troupe::time_point start = sim.now();
  std::vector<troupe::time_point> times;
  noting_timer first(sim, times);
  noting_timer second(sim, times);
  noting_timer third(sim, times);
  sim.arm(third, start + 9s);
  sim.arm(second, start + 2s);
  sim.arm(first, start + 1s);
  sim.advance(500ms);
  REQUIRE(times.empty());
  sim.advance(5s);
  REQUIRE(times == std::vector{start + 1s, start + 2s});
  REQUIRE(sim.now() == start + 5500ms);
  sim.advance(0s);
  REQUIRE(sim.disarm(third));
}

namespace {

task<> append(std::string& log, troupe::duration d, const char* text) {
  co_await troupe::sleep_for(d);
  log += text;
}

task<> advance_inside(sim_executor& sim) {
  sim.advance(1s);
  co_return;
}

}  // namespace

TEST_CASE("advance runs coroutines that others have started", "[exec][sim]") {
  sim_executor sim;
  std::string log;
  troupe::detail::started_task<void> background(append(log, 2s, "x").release());
  troupe::detail::result_slot<void> result;
  bool done = false;
  troupe::detail::root_done set_done(done);
  troupe::detail::root_link link(sim);
  background.promise().result = &result;
  background.promise().where = &sim;
  background.promise().chain = &link;
  background.promise().then = &set_done;
  sim.post(background.promise());
  sim.advance(1s);
  REQUIRE(log.empty());
  sim.advance(1s);
  REQUIRE(log == "x");
  REQUIRE(done);
}

TEST_CASE("the loop is not run from within itself", "[exec][sim]") {
  sim_executor sim;
  REQUIRE(sim.run(troupe::test::code_of(advance_inside(sim))) == errc::would_block);
}

namespace {

task<> fail() {
  throw std::runtime_error("mine");
  co_return;
}

task<> lock_twice(troupe::async_mutex& mutex) {
  const troupe::async_lock first = co_await mutex.lock();
  const troupe::async_lock second = co_await mutex.lock();
}

task<> dine(troupe::async_mutex& left, troupe::async_mutex& right) {
  const troupe::async_lock first = co_await left.lock();
  co_await troupe::yield();
  const troupe::async_lock second = co_await right.lock();
}

task<> dine_together() {
  troupe::async_mutex a;
  troupe::async_mutex b;
  co_await troupe::when_all(dine(a, b), dine(b, a));
}

std::coroutine_handle<> kept_for_ever;  // or leak checkers would find it lost

struct never {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept { kept_for_ever = h; }
  void await_resume() const noexcept {}
};
task<> wait_for_ever() { co_await never{}; }

}  // namespace

TEST_CASE("run throws what its task throws", "[exec][sim]") {
  sim_executor sim;
  REQUIRE_THROWS_WITH(sim.run(fail()), "mine");
  REQUIRE(sim.run(give(1)) == 1);
}

TEST_CASE("a deadlock is an error that names the seed", "[exec][sim]") {
  sim_executor sim({.seed = 77});
  troupe::async_mutex mutex;
  try {
    sim.run(lock_twice(mutex));
    FAIL("no deadlock was found");
  } catch (const troupe::error& e) {
    REQUIRE(e.code() == errc::deadlock);
    REQUIRE(std::string(e.what()).find("seed 77") != std::string::npos);
  }
  // It was asked to stop, and has ended.
  REQUIRE(mutex.try_lock().owns_lock());
  REQUIRE(sim.run(give(1)) == 1);
}

TEST_CASE("some seeds show a deadlock that others pass by", "[exec][sim]") {
  int deadlocks = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    sim_executor sim({.seed = seed});
    try {
      sim.run(dine_together());
    } catch (const troupe::error& e) {
      REQUIRE(e.code() == errc::deadlock);
      ++deadlocks;
    }
  }
  REQUIRE(deadlocks > 10);
  REQUIRE(deadlocks < 100);
}

TEST_CASE("what does not heed the stop after a deadlock is left behind", "[exec][sim]") {
  sim_executor sim;
  REQUIRE_THROWS_AS(sim.run(wait_for_ever()), troupe::error);
  REQUIRE(sim.run(give(2)) == 2);
}

TEST_CASE("while a simulator lives, its thread's sync_wait drives it", "[exec][sim]") {
  {
    sim_executor sim;
    const troupe::time_point start = sim.now();
    sync_wait(troupe::sleep_for(5h));
    REQUIRE(sim.now() - start == 5h);
  }
  REQUIRE(sync_wait(give(3)) == 3);
}

namespace {

task<std::string> offload_and_block(sim_executor& sim) {
  std::string log;
  const troupe::home* const inside = troupe::test::loop_of_this_thread();
  log += inside == &sim ? "loop " : "? ";
  const int waited = co_await troupe::offload([&log] {
    log += troupe::test::loop_of_this_thread() == nullptr ? "away " : "? ";
    sync_wait(troupe::sleep_for(1h));
    return sync_wait(give(7));
  });
  const troupe::home* const after = troupe::test::loop_of_this_thread();
  log += after == &sim ? "loop " : "? ";
  log += std::to_string(waited);
  co_return log;
}

task<troupe::trace_context> trace_here() {
  const troupe::trace_context trace = co_await troupe::this_task::trace();
  co_return trace;
}

task<bool> offloaded_keeps_trace() {
  const troupe::trace_context mine = co_await troupe::this_task::trace();
  const troupe::trace_context below =
      co_await troupe::offload([] { return sync_wait(trace_here()); });
  co_return mine == below;
}

task<std::error_code> block_inside() {
  std::error_code code;
  try {
    sync_wait(give(1));
  } catch (const troupe::error& e) {
    code = e.code();
  }
  co_return code;
}

}  // namespace

TEST_CASE("what is offloaded is a step that may block", "[exec][sim]") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CAPTURE(seed);
    sim_executor sim({.seed = seed});
    const troupe::time_point start = sim.now();
    REQUIRE(sim.run(offload_and_block(sim)) == "loop away loop 7");
    REQUIRE(sim.now() - start == 1h);
    REQUIRE(sim.run(block_inside()) == errc::would_block);
    REQUIRE(sim.run(offloaded_keeps_trace()));
  }
}

namespace {

class entry final : public troupe::runnable {
public:
  entry(std::vector<int>& order, int number)
      : runnable(&entry::write), order_(order), number_(number) {}

private:
  static void write(runnable& r) noexcept {
    auto& self = static_cast<entry&>(r);
    if (self.number_ % 3 == 0) sync_wait(troupe::sleep_for(1s));  // others run, this thread not
    self.order_.push_back(self.number_);
  }
  std::vector<int>& order_;
  const int number_;
};

}  // namespace

TEST_CASE("a simulated thread runs what is posted to it in order, one at a time", "[exec][sim]") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    sim_executor sim({.seed = seed});
    std::vector<int> first;
    std::vector<int> second;
    std::vector<std::unique_ptr<entry>> entries;
    troupe::home& a = sim.begin_thread();
    troupe::home& b = sim.begin_thread();
    REQUIRE(&a.base() == &sim);
    for (int i = 0; i < 10; ++i) {
      entries.push_back(std::make_unique<entry>(first, i));
      a.post(*entries.back());
      entries.push_back(std::make_unique<entry>(second, i));
      b.post(*entries.back());
    }
    sim.end_thread(b);  // ends when it has run all of it
    sim.advance(1min);
    sim.end_thread(a);
    const std::vector<int> expected{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    REQUIRE(first == expected);
    REQUIRE(second == expected);
  }
}

TEST_CASE("threads that are held up see their timers late", "[exec][sim]") {
  bool late = false;
  for (std::uint64_t seed = 0; seed < 50 && !late; ++seed) {
    sim_executor sim({.seed = seed, .buggify = true});
    const troupe::time_point start = sim.now();
    for (int i = 0; i < 10; ++i) sim.run(troupe::test::as_child(much_at_once()));
    sim_executor* const held_up = &sim;
    late = held_up->now() - start > 10 * 30ms;
    REQUIRE(held_up->now() - start >= 10 * 30ms);
  }
  REQUIRE(late);
}

TEST_CASE("buggify is never true where it was not asked for", "[exec][sim]") {
  sim_executor plain;
  int times = 0;
  for (int i = 0; i < 1000; ++i) times += plain.buggify() ? 1 : 0;
  REQUIRE(times == 0);
}

TEST_CASE("buggify is true now and then where it was asked for", "[exec][sim]") {
  sim_executor sim({.buggify = true});
  int times = 0;
  for (int i = 0; i < 10'000; ++i) times += sim.buggify() ? 1 : 0;
  REQUIRE(times > 50);
  REQUIRE(times < 500);
}

TEST_CASE("random numbers follow from the seed and do not change the order", "[exec][sim]") {
  std::uint64_t first = 0;
  std::uint64_t hash = 0;
  {
    sim_executor sim({.seed = 5});
    sim.run(much_at_once());
    hash = sim.trace_hash();
    first = sim.random();
  }
  {
    sim_executor sim({.seed = 5});
    sim.run(much_at_once());
    REQUIRE(sim.random() == first);
    REQUIRE(sim.random() != first);
  }
  sim_executor sim({.seed = 5});
  for (int i = 0; i < 10; ++i) sim.random();
  sim.run(much_at_once());
  REQUIRE(sim.trace_hash() == hash);
}

namespace {

class counting_step final : public troupe::runnable {
public:
  explicit counting_step(int& count) : runnable(&counting_step::add), count_(count) {}

private:
  static void add(runnable& r) noexcept { ++static_cast<counting_step&>(r).count_; }
  int& count_;
};

}  // namespace

TEST_CASE("what is ready when a simulator is destroyed runs before that ends", "[exec][sim]") {
  int count = 0;
  counting_step first(count);
  counting_step second(count);
  {
    sim_executor sim;
    sim.post(first);
    sim.yield(second);
    REQUIRE(count == 0);
  }
  REQUIRE(count == 2);
}

}  // namespace sim_executor_tests

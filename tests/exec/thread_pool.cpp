// SPDX-License-Identifier: MIT
// The pool with real threads: that work reaches all of them and nothing is left lying, whatever
// some of them are stuck in; and that it ends cleanly at any moment.

#include <troupe/exec/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/coro/channel.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>

#include "../coro/run_on.hpp"
#include "../support/catch.hpp"

namespace thread_pool_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::thread_pool;
using troupe::test::run_on;

/// A step made of any function.
template <class F>
class step final : public troupe::runnable {
public:
  explicit step(F f) : runnable(&step::call), function_(std::move(f)) {}

private:
  static void call(runnable& r) noexcept { static_cast<step&>(r).function_(); }
  F function_;
};

void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::yield();
}

task<> meet(std::atomic<int>& arrived, int expected) {
  arrived.fetch_add(1);
  while (arrived.load() < expected) std::this_thread::yield();
  co_return;
}

task<> meet_all(int count) {
  std::atomic<int> arrived{0};
  std::vector<task<>> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(meet(arrived, count));
  co_await troupe::when_all(std::move(tasks));
}

task<> spawn_and_meet(int count) {
  std::atomic<int> arrived{0};
  troupe::task_scope scope;
  for (int i = 1; i < count; ++i) scope.spawn(meet(arrived, count));
  co_await meet(arrived, count);
  co_await scope.join();
}

}  // namespace

TEST_CASE("forked work spreads over the threads, from inside and outside", "[exec][thread_pool]") {
  // Each child blocks its thread until all of them run: they only end on different threads.
  for (const unsigned threads : {1u, 2u, 4u}) {
    CAPTURE(threads);
    thread_pool pool({.threads = threads});
    run_on(pool, meet_all(static_cast<int>(threads)));
    run_on(pool, spawn_and_meet(static_cast<int>(threads)));
    troupe::detail::block_on(meet_all(static_cast<int>(threads)), &pool);
  }
}

TEST_CASE("a step left in the slot of a stuck thread is rescued", "[exec][thread_pool]") {
  thread_pool pool({.threads = 2});
  std::atomic<bool> ran{false};
  std::atomic<bool> released{false};
  step inner([&ran] { ran.store(true); });
  step outer([&] {
    pool.post(inner);  // private to this thread, which does not come back for it
    wait_for(ran);
    released.store(true);
  });
  pool.post(outer);
  wait_for(released);
  REQUIRE(ran.load());
}

TEST_CASE("what is left behind a stuck thread is taken by one that is never idle",
          "[exec][thread_pool]") {
  std::atomic<bool> ran{false};
  std::atomic<bool> over{false};
  std::atomic<int> turns{0};
  bool in_time = false;
  thread_pool* at = nullptr;
  step left([&ran] { ran.store(true); });
  troupe::runnable* again = nullptr;
  step busy([&] {
    turns.fetch_add(1);
    if (!over.load()) at->yield(*again);
  });
  again = &busy;
  step stuck([&] {
    const int seen = turns.load();
    while (turns.load() < seen + 3) std::this_thread::yield();  // it is the other one's
    at->fork(left);
    const auto late = troupe::steady_now() + 10s;
    while (!ran.load() && troupe::steady_now() < late) std::this_thread::yield();
    in_time = ran.load();
    over.store(true);
  });
  thread_pool pool({.threads = 2});
  at = &pool;
  pool.post(busy);
  pool.post(stuck);
  wait_for(over);
  wait_for(ran);
  REQUIRE(in_time);
}

namespace {

class flag_timer final : public troupe::timer {
public:
  explicit flag_timer(std::atomic<bool>& flag) : timer(&flag_timer::on_time), flag_(flag) {}

private:
  static void on_time(timer& t) noexcept { static_cast<flag_timer&>(t).flag_.store(true); }
  std::atomic<bool>& flag_;
};

task<> yield_until(const std::atomic<bool>& flag) {
  while (!flag.load()) co_await troupe::yield();
}
task<> sleep_and_set(std::atomic<bool>& flag) {
  co_await troupe::sleep_for(1ms);
  flag.store(true);
}
task<> busy_and_sleeping() {
  std::atomic<bool> flag{false};
  co_await troupe::when_all(yield_until(flag), yield_until(flag), yield_until(flag),
                            sleep_and_set(flag));
}

task<> nothing() { co_return; }
task<> await_until(const std::atomic<bool>& flag) {
  while (!flag.load()) co_await nothing();
}
task<> awaiting_and_sleeping() {
  std::atomic<bool> flag{false};
  co_await troupe::when_all(await_until(flag), await_until(flag), await_until(flag),
                            sleep_and_set(flag));
}

}  // namespace

TEST_CASE("a timer fires while every thread is stuck in a step", "[exec][thread_pool]") {
  for (int round = 0; round < 5; ++round) {
    thread_pool pool({.threads = 2});
    std::atomic<bool> fired{false};
    std::atomic<int> left{2};
    flag_timer timer(fired);
    auto stuck = [&] {
      wait_for(fired);
      left.fetch_sub(1);
    };
    step a(stuck);
    step b(stuck);
    pool.post(a);
    pool.post(b);
    pool.arm(timer, pool.now() + 1ms);
    while (left.load() != 0) std::this_thread::yield();
    pool.disarm(timer);
    REQUIRE(fired.load());
  }
}

TEST_CASE("timers fire while all threads are busy with loops that yield", "[exec][thread_pool]") {
  for (const unsigned threads : {1u, 2u}) {
    CAPTURE(threads);
    thread_pool pool({.threads = threads});
    run_on(pool, busy_and_sleeping());
  }
}

TEST_CASE("timers fire while all threads await what ends at once", "[exec][thread_pool]") {
  for (const unsigned threads : {1u, 2u}) {
    CAPTURE(threads);
    thread_pool pool({.threads = threads});
    run_on(pool, awaiting_and_sleeping());
  }
}

namespace {

task<> play(troupe::channel<int>& mine, troupe::channel<int>& theirs,
            const std::atomic<bool>& stop) {
  while (!stop.load()) {
    const bool sent = co_await theirs.send(1);
    const std::optional<int> ball = co_await mine.receive();
    if (!sent || !ball) break;
  }
  theirs.close();
  mine.close();
}

task<> set(std::atomic<bool>& flag) {
  flag.store(true);
  co_return;
}

task<> ping_pong_and_a_third(std::atomic<bool>& stop) {
  troupe::channel<int> a(2);
  troupe::channel<int> b(2);
  co_await troupe::when_all(play(a, b, stop), play(b, a, stop));
}

}  // namespace

TEST_CASE("two coroutines that wake each other do not starve an outsider", "[exec][thread_pool]") {
  thread_pool pool({.threads = 1});
  std::atomic<bool> stop{false};
  std::thread players([&] { run_on(pool, ping_pong_and_a_third(stop)); });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  run_on(pool, set(stop));
  players.join();
  REQUIRE(stop.load());
}

TEST_CASE("an outsider's work wakes a pool that sleeps", "[exec][thread_pool]") {
  thread_pool pool({.threads = 2});
  for (int i = 0; i < 2000; ++i) {
    std::atomic<bool> ran{false};
    step s([&ran] { ran.store(true); });
    pool.post(s);
    wait_for(ran);
  }
  const troupe::executor_stats stats = pool.stats();
  REQUIRE(stats.threads == 2);
  REQUIRE(stats.steps >= 2000 - 2);  // the last ones may not be counted yet
}

namespace {

/// Many steps, counted.
class flood {
public:
  explicit flood(int count) {
    for (int i = 0; i < count; ++i) steps_.push_back(std::make_unique<counting>(ran_));
  }
  int ran() const { return ran_.load(); }
  void post_to(thread_pool& pool) {
    for (auto& s : steps_) pool.post(*s);
  }
  void fork_to(thread_pool& pool) {
    for (auto& s : steps_) pool.fork(*s);
  }

private:
  class counting final : public troupe::runnable {
  public:
    explicit counting(std::atomic<int>& ran) : runnable(&counting::add), ran_(ran) {}

  private:
    static void add(runnable& r) noexcept { static_cast<counting&>(r).ran_.fetch_add(1); }
    std::atomic<int>& ran_;
  };

  std::atomic<int> ran_{0};
  std::vector<std::unique_ptr<counting>> steps_;
};

}  // namespace

TEST_CASE("a flood from outside runs, however many threads there are", "[exec][thread_pool]") {
  for (const unsigned threads : {1u, 2u, 3u, 17u}) {
    CAPTURE(threads);
    flood steps(2000);
    thread_pool pool({.threads = threads});
    steps.post_to(pool);
    while (steps.ran() != 2000) std::this_thread::yield();
    REQUIRE(steps.ran() == 2000);
  }
}

TEST_CASE("what is ready when a pool is destroyed runs before that ends", "[exec][thread_pool]") {
  for (int round = 0; round < 50; ++round) {
    flood steps(3000);
    {
      thread_pool pool({.threads = 1 + static_cast<unsigned>(round % 3)});
      steps.post_to(pool);
    }
    REQUIRE(steps.ran() == 3000);
  }
}

TEST_CASE("steps may post steps while their pool is destroyed", "[exec][thread_pool]") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran{0};
    thread_pool* the_pool = nullptr;
    step last([&ran] { ran.fetch_add(1); });
    step middle([&the_pool, &last] { the_pool->post(last); });
    step first([&the_pool, &middle] { the_pool->fork(middle); });
    {
      thread_pool pool({.threads = 2});
      the_pool = &pool;
      pool.post(first);
    }
    REQUIRE(ran.load() == 1);
  }
}

TEST_CASE("more work than a deque holds is not lost", "[exec][thread_pool]") {
  flood steps(5000);
  thread_pool pool({.threads = 2});
  step forking([&] { steps.fork_to(pool); });
  pool.post(forking);
  while (steps.ran() != 5000) std::this_thread::yield();
  REQUIRE(steps.ran() == 5000);
}

namespace {

task<int> offload_one() {
  const int value = co_await troupe::offload([] { return 1; });
  co_return value;
}

task<std::thread::id> sleep_then_tell() {
  co_await troupe::sleep_for(std::chrono::microseconds(50));
  co_return std::this_thread::get_id();
}

}  // namespace

TEST_CASE("a pool may go while who made its last step ready is still about to return",
          "[exec][thread_pool][stress]") {
  for (int round = 0; round < 300; ++round) {
    thread_pool pool({.threads = 1});
    REQUIRE(run_on(pool, offload_one()) == 1);
    REQUIRE(run_on(pool, sleep_then_tell()) != std::this_thread::get_id());
  }
}

namespace {

task<long> random_work(std::uint64_t seed, int depth) {
  const std::uint64_t random = troupe::splitmix64(seed);
  switch (random % 5) {
    case 0:
      co_await troupe::yield();
      break;
    case 1:
      co_await troupe::sleep_for(std::chrono::microseconds(random % 100));
      break;
    default:
      break;
  }
  long sum = 1;
  if (depth == 0) co_return sum;
  if (random % 2 == 0) {
    const auto [a, b] =
        co_await troupe::when_all(random_work(random, depth - 1), random_work(seed, depth - 1));
    sum += a + b;
  } else {
    sum += co_await random_work(random, depth - 1);
    sum += co_await random_work(seed, depth - 1);
  }
  co_return sum;
}

}  // namespace

TEST_CASE("pools come and go with random work", "[exec][thread_pool][stress]") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    thread_pool pool({.threads = 1 + static_cast<unsigned>(seed % 3)});
    REQUIRE(run_on(pool, random_work(seed, 4)) == 31);
  }
}

TEST_CASE("an idle pool comes and goes", "[exec][thread_pool][stress]") {
  for (int i = 0; i < 200; ++i) {
    const thread_pool pool({.threads = 2});
    REQUIRE(pool.stats().threads == 2);
  }
}

TEST_CASE("random numbers of a pool differ", "[exec][thread_pool]") {
  thread_pool pool({.threads = 2});
  const std::uint64_t first = pool.random();
  const std::uint64_t second = pool.random();
  REQUIRE(first != second);
}

// Instruments, claims and processes are named by them: a program that is started again, or beside
// itself, must not make the same names.
TEST_CASE("pools do not draw the same numbers, one after the other or at once",
          "[exec][thread_pool]") {
  std::set<std::uint64_t> drawn;
  constexpr std::size_t pools = 20;
  for (std::size_t i = 0; i < pools; ++i) {
    thread_pool one({.threads = 1});
    thread_pool other({.threads = 1});
    for (thread_pool* const pool : {&one, &other}) {
      drawn.insert(pool->random());  // from outside
      drawn.insert(run_on(*pool, [](thread_pool& p) -> troupe::task<std::uint64_t> {
        co_return p.random();
      }(*pool)));
    }
  }
  REQUIRE(drawn.size() == 4 * pools);
}

TEST_CASE("a pool can name and pin its threads", "[exec][thread_pool]") {
  thread_pool pool(
      {.threads = 2, .name = "a name that is longer than any system keeps", .pin = true});
  run_on(pool, meet_all(2));
}

TEST_CASE("by default there is a thread for each core", "[exec][thread_pool]") {
  const thread_pool pool;
  REQUIRE(pool.stats().threads == troupe::detail::core_count());
}

}  // namespace thread_pool_tests

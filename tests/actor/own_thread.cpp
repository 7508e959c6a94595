// SPDX-License-Identifier: MIT
// Workers with a thread of their own: always on it, never inline, free to block.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace own_thread_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::code_of;

/// A gate for threads.
class blocker {
public:
  void wait() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_for_arrivals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= count; });
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int arrived_ = 0;
};

}  // namespace

struct actor_own_thread_target;

struct actor_own_thread_shared {
  explicit actor_own_thread_shared(troupe::context& c) : ctx(c) {}
  /// Calls the worker back that waits for this.
  task<int> back(std::string key);
  task<int> back_later(std::string key);

  troupe::context& ctx;
  int value() { return 3; }
  task<int> value_later() {
    co_await troupe::yield();
    co_return 4;
  }
};

struct actor_own_thread_target {
  using self = actor_own_thread_target;
  explicit actor_own_thread_target(troupe::context& c) : ctx(c) { seen(); }
  ~actor_own_thread_target() {
    seen();
    not_there += wrong;
  }

  void on_start() { seen(); }
  task<> on_stop() {
    seen();
    co_await troupe::yield();
    seen();
  }

  std::thread::id plain() { return seen(); }
  task<std::thread::id> later() {
    const std::thread::id first = seen();
    co_await troupe::yield();
    co_await troupe::sleep_for(1ms);
    const std::thread::id second = seen();
    wrong += first != second ? 1 : 0;
    co_return second;
  }
  task<std::thread::id> call_first() {
    const auto p = ctx.worker<actor_own_thread_shared>();
    const int n = co_await p.call<&actor_own_thread_shared::value_later>();
    wrong += n != 4 ? 1 : 0;
    co_return seen();
  }
  int block(std::shared_ptr<blocker> b) {
    seen();
    b->wait();
    return 1;
  }
  /// Blocks in here until another worker has answered.
  int waits() {
    const auto p = ctx.worker<actor_own_thread_shared>();
    const int a = troupe::sync_wait(p.call<&actor_own_thread_shared::value>());
    const int b = troupe::sync_wait(p.call<&actor_own_thread_shared::value_later>());
    return a * 10 + b;
  }
  task<int> waits_later() {
    co_await troupe::yield();
    const int n = waits();
    co_return n;
  }
  void told() { seen(); }

  // What would never end: this thread waits for an answer that waits for this worker.
  int waits_for_itself() {
    const auto p = ctx.worker<actor_own_thread_shared>();
    return troupe::sync_wait(p.call<&actor_own_thread_shared::back>(std::string(ctx.key())));
  }
  task<int> waits_for_itself_later() {
    co_await troupe::yield();
    const int n = waits_for_itself();
    co_return n;
  }
  int waits_for_owning() {
    const auto p = ctx.worker<actor_own_thread_shared>();
    return troupe::sync_wait(
        p.call<&actor_own_thread_shared::back_later>(std::string(ctx.key())).within(1h));
  }
  /// Without blocking it is a call back like any other.
  task<int> calls_itself() {
    const auto p = ctx.worker<actor_own_thread_shared>();
    int n = co_await p.call<&actor_own_thread_shared::back>(std::string(ctx.key()));
    co_return n;
  }
  int wrong_count() { return wrong; }

  std::thread::id seen() {
    const std::thread::id now = std::this_thread::get_id();
    if (thread == std::thread::id()) thread = now;
    wrong += thread != now ? 1 : 0;
    return now;
  }

  troupe::context& ctx;
  std::thread::id thread;
  int wrong = 0;
  static inline std::atomic<int> not_there{0};
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
};

task<int> actor_own_thread_shared::back(std::string key) {
  const auto p = ctx.worker<actor_own_thread_target>(key);
  int wrong = co_await p.call<&actor_own_thread_target::wrong_count>();
  co_return wrong;
}
task<int> actor_own_thread_shared::back_later(std::string key) {
  co_await troupe::yield();
  const auto p = ctx.worker<actor_own_thread_target>(key);
  int wrong = co_await p.call<&actor_own_thread_target::wrong_count>();
  co_return wrong;
}

namespace {

using target = actor_own_thread_target;
using proxy = troupe::proxy<target>;

task<> one_thread(troupe::broker& broker) {
  const proxy p = broker.worker<target>("a");
  const std::thread::id plain = co_await p.call<&target::plain>();
  CHECK(plain != std::this_thread::get_id());
  const std::thread::id later = co_await p.call<&target::later>();
  CHECK(later == plain);
  const std::thread::id call_first = co_await p.call<&target::call_first>();
  CHECK(call_first == plain);
  const std::thread::id owning = co_await p.call<&target::plain>().within(1h);
  CHECK(owning == plain);
  const std::thread::id owning_later = co_await p.call<&target::later>().within(1h);
  CHECK(owning_later == plain);
  const bool told = p.tell<&target::told>();
  CHECK(told);
  auto [x, y] = co_await troupe::when_all(p.call<&target::plain>(), p.call<&target::later>());
  CHECK(x == plain);
  CHECK(y == plain);
  const int wrong = co_await p.call<&target::wrong_count>();
  CHECK(wrong == 0);
}

task<> threads_of_two(troupe::broker& broker) {
  std::set<std::thread::id> threads;
  for (int i = 0; i < 4; ++i) {
    const proxy p = broker.worker<target>(std::to_string(i));
    const std::thread::id on = co_await p.call<&target::plain>();
    threads.insert(on);
  }
  CHECK(threads.size() == 4);
}

/// With one thread in the pool: it is free while the worker blocks.
task<> blocks(troupe::broker& broker) {
  const proxy p = broker.worker<target>("a");
  const auto b = std::make_shared<blocker>();
  troupe::task_scope scope;
  scope.spawn([](proxy q, std::shared_ptr<blocker> at) -> task<> {
    const int n = co_await q.call<&target::block>(at);
    CHECK(n == 1);
  }(p, b));
  const auto other = broker.worker<actor_own_thread_shared>();
  for (int i = 0; i < 100; ++i) {
    const int n = co_await other.call<&actor_own_thread_shared::value_later>();
    CHECK(n == 4);
  }
  const std::error_code code = co_await code_of(p.call<&target::plain>().within(10ms));
  CHECK(code == errc::expired);
  b->open();
  co_await scope.join();
}

task<> waits(troupe::broker& broker) {
  const proxy p = broker.worker<target>("a");
  const int plain = co_await p.call<&target::waits>();
  CHECK(plain == 34);
  const int later = co_await p.call<&target::waits_later>();
  CHECK(later == 34);
  const int owning = co_await p.call<&target::waits>().within(1h);
  CHECK(owning == 34);
}

task<> waits_for_itself(troupe::broker& broker) {
  const proxy p = broker.worker<target>("a");
  const int called = co_await p.call<&target::calls_itself>();
  CHECK(called == 0);
  const std::error_code plain = co_await code_of(p.call<&target::waits_for_itself>());
  CHECK(plain == errc::deadlock);
  const std::error_code later = co_await code_of(p.call<&target::waits_for_itself_later>());
  CHECK(later == errc::deadlock);
  const std::error_code owning = co_await code_of(p.call<&target::waits_for_owning>());
  CHECK(owning == errc::deadlock);
  const std::error_code of_owning =
      co_await code_of(p.call<&target::waits_for_itself>().within(1h));
  CHECK(of_owning == errc::deadlock);
}

}  // namespace

TEST_CASE("a worker that blocks for an answer that needs it is refused",
          "[actor][own_thread][promise4]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  for (int i = 0; i < 20; ++i) broker.run(waits_for_itself(broker));
}

TEST_CASE("a worker with a thread of its own runs there alone, also its hooks",
          "[actor][own_thread]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  broker.run(one_thread(broker));
  REQUIRE(broker.run(broker.remove<target>("a")));
  broker.run(one_thread(broker));  // a new instance, with a new thread
}

TEST_CASE("two workers do not share a thread of their own", "[actor][own_thread]") {
  troupe::broker broker(troupe::broker_options{.threads = 2});
  broker.run(threads_of_two(broker));
}

TEST_CASE("a worker with a thread of its own may block it", "[actor][own_thread]") {
  troupe::broker broker(troupe::broker_options{.threads = 1});
  broker.run(blocks(broker));
}

TEST_CASE("a worker with a thread of its own may wait for others there", "[actor][own_thread]") {
  troupe::broker broker(troupe::broker_options{.threads = 1});
  broker.run(waits(broker));
}

TEST_CASE("threads of their own come and go with their workers", "[actor][own_thread]") {
  troupe::broker broker(troupe::broker_options{.threads = 1});
  for (int i = 0; i < 30; ++i) {
    const proxy p = broker.worker<target>("a");
    REQUIRE(broker.run(troupe::test::as_task(p.call<&target::wrong_count>())) == 0);
    REQUIRE(broker.run(broker.remove<target>("a")));
  }
  REQUIRE(target::not_there.load() == 0);
}

}  // namespace own_thread_tests

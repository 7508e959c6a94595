// SPDX-License-Identifier: MIT
// A run in which nothing can go on ends with an error that says who waits for whom.

#include <coroutine>
#include <string>

#include <troupe.hpp>

#include "../support/catch.hpp"

namespace {

using troupe::broker;
using troupe::errc;
using troupe::sim_executor;
using troupe::task;

std::coroutine_handle<> sim_deadlocks_kept;  // or leak checkers would find it lost

/// Nobody ever resumes who awaits it, unless the test does.
struct forgotten {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const noexcept { sim_deadlocks_kept = h; }
  void await_resume() const noexcept {}
};

struct sim_deadlocks_store {
  task<> wait_for_ever() { co_await forgotten{}; }
  int get() { return 1; }
};

struct sim_deadlocks_front {
  explicit sim_deadlocks_front(troupe::context& ctx) : ctx_(ctx) {}
  task<int> ask() {
    const auto store = ctx_.worker<sim_deadlocks_store>("disk");
    co_return co_await store.call<&sim_deadlocks_store::get>();
  }

private:
  troupe::context& ctx_;
};

task<> hang(broker& b) {
  const auto store = b.worker<sim_deadlocks_store>("disk");
  const auto front = b.worker<sim_deadlocks_front>("web");
  co_await troupe::when_all(store.call<&sim_deadlocks_store::wait_for_ever>(),
                            front.call<&sim_deadlocks_front::ask>());
}

template <class Run>
std::string text_of_hang(Run run) {
  sim_executor sim({.seed = 4711});
  broker b({.on = &sim});
  std::string text;
  try {
    run(sim, b);
  } catch (const troupe::error& e) {
    REQUIRE(e.code() == errc::deadlock);
    text = e.what();
  }
  sim_deadlocks_kept.resume();  // so that the broker can end
  return text;
}

void check_text(const std::string& text) {
  CAPTURE(text);
  const auto says = [&text](const char* part) { return text.find(part) != std::string::npos; };
  REQUIRE(says("seed 4711"));
  REQUIRE(says("sim_deadlocks_store(\"disk\").wait_for_ever"));
  REQUIRE(says("sim_deadlocks_front(\"web\").ask, waits for "));
  REQUIRE(says("waiting calls:"));
}

}  // namespace

TEST_CASE("a deadlock tells who waits for whom, and the seed", "[sim]") {
  check_text(text_of_hang([](sim_executor& sim, broker& b) { sim.run(hang(b)); }));
}

TEST_CASE("so it does under broker::run", "[sim]") {
  check_text(text_of_hang([](sim_executor&, broker& b) { b.run(hang(b)); }));
}

TEST_CASE("a search finds a deadlock", "[sim]") {
  const auto found = troupe::sim_search({.count = 1, .quiet = true}, [](sim_executor& sim) {
    troupe::async_semaphore never(0);
    sim.run([](troupe::async_semaphore& s) -> task<> { co_await s.acquire(); }(never));
  });
  REQUIRE(found.found());
  REQUIRE(found.what().find("nothing is ready and no timer is armed") != std::string::npos);
}

TEST_CASE("a run that takes more steps than it may is found", "[sim]") {
  const auto found = troupe::sim_search(
      {.count = 1, .run = {.max_steps = 1000}, .quiet = true}, [](sim_executor& sim) {
        sim.run([](troupe::stop_source) -> task<> {
          const troupe::stop_token token = co_await troupe::this_task::stop_token();
          while (!token.stop_requested()) co_await troupe::yield();
        }(troupe::stop_source()));
      });
  REQUIRE(found.found());
  REQUIRE(found.what().find("more steps than its limit") != std::string::npos);
}

// SPDX-License-Identifier: MIT
// What random programs on the simulator have found, as programs that show it and nothing else.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <troupe.hpp>

#include "../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using troupe::broker;
using troupe::errc;
using troupe::proxy;
using troupe::sim_executor;
using troupe::task;

constexpr std::uint64_t seeds = 200;

// --- calls in when_all, deep in other coroutines
// --------------------------------------------------

struct sim_regressions_log {
  int write(int n) {
    order.push_back(n);
    return n;
  }
  task<int> write_later(int n) {
    order.push_back(n);
    co_return n;
  }
  std::vector<int> read() const { return order; }
  std::vector<int> order;
};

template <auto Write>
task<> write_three(proxy<sim_regressions_log> log, int depth) {
  if (depth > 0) {
    co_await write_three<Write>(log, depth - 1);
    co_return;
  }
  co_await troupe::when_all(log.call<Write>(1), log.call<Write>(2), log.call<Write>(3));
}

template <auto Write>
task<std::vector<int>> order_written(broker& b, int depth) {
  const auto log = b.worker<sim_regressions_log>();
  co_await write_three<Write>(log, depth);
  co_return co_await log.call<&sim_regressions_log::read>();
}

template <auto Write>
void check_order() {
  const std::vector<int> in_order{1, 2, 3};
  for (int depth = 25; depth < 35; ++depth) {
    for (std::uint64_t seed = 1; seed <= seeds / 4; ++seed) {
      CAPTURE(depth, seed);
      sim_executor sim({.seed = seed});
      broker b({.on = &sim});
      REQUIRE(sim.run(order_written<Write>(b, depth)) == in_order);
    }
  }
}

}  // namespace

TEST_CASE("calls in when_all take their places in order at any depth", "[sim]") {
  check_order<&sim_regressions_log::write>();
  check_order<&sim_regressions_log::write_later>();
}

// --- an interleaved worker
// ------------------------------------------------------------------------

namespace {

struct sim_regressions_inter {
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
  explicit sim_regressions_inter(troupe::context& ctx) : ctx_(ctx) {}

  task<> write(int n) {
    order_.push_back(n);
    co_return;
  }
  void write_at_once(int n) { order_.push_back(n); }
  std::vector<int> read() const { return order_; }

  /// Waits for its own worker, or for another that does.
  task<int> ask(std::string other) {
    co_await troupe::sleep_for(1ms);
    if (other.empty()) {
      const std::vector<int> mine =
          co_await ctx_.self<sim_regressions_inter>().call<&sim_regressions_inter::read>();
      co_return static_cast<int>(mine.size());
    }
    co_return co_await ctx_.worker<sim_regressions_inter>(other).call<&sim_regressions_inter::ask>(
        "");
  }
  task<int> ask_back(std::string other) {
    co_await troupe::sleep_for(1ms);
    const auto theirs = ctx_.worker<sim_regressions_inter>(other);
    co_return co_await theirs.call<&sim_regressions_inter::nothing>();
  }
  int nothing() { return 0; }
  task<> ask_closer();

private:
  troupe::context& ctx_;
  std::vector<int> order_;
};

using inter = sim_regressions_inter;

task<std::vector<int>> tell_and_call(broker& b) {
  const auto a = b.worker<inter>();
  a.tell<&inter::write>(1);
  a.tell<&inter::write>(2);
  a.tell<&inter::write_at_once>(3);
  co_await a.call<&inter::write>(4).within(1s);
  co_return co_await a.call<&inter::read>();
}

task<> call_and_remove(broker& b) {
  const auto a = b.worker<inter>("a");
  troupe::task_scope scope;
  scope.spawn(
      [](proxy<inter> p) -> task<> { static_cast<void>(co_await p.call<&inter::ask>("")); }(a));
  co_await troupe::sleep_for(500us);
  static_cast<void>(co_await b.remove<inter>("a"));
  co_await scope.join();
}

/// a waits for b and b for a, each in a turn of its own; neither is held by it.
task<> cross_and_remove(broker& b) {
  const auto first = b.worker<inter>("a");
  const auto second = b.worker<inter>("b");
  const auto both = [](proxy<inter> p, std::string other) -> task<> {
    static_cast<void>(co_await p.call<&inter::ask_back>(other));
  };
  troupe::task_scope scope;
  scope.spawn(both(first, "b"));
  scope.spawn(both(second, "a"));
  co_await troupe::sleep_for(500us);
  co_await troupe::when_all(b.remove<inter>("a"), b.remove<inter>("b"), b.remove<inter>("a"));
  co_await scope.join();
}

using program = task<> (*)(broker&);

void check_ends(program p) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    sim_executor sim({.seed = seed});
    broker b({.on = &sim});
    REQUIRE_NOTHROW(sim.run(p(b)));
    REQUIRE(sim.now() < troupe::time_point(1h + 5s));
  }
}

}  // namespace

TEST_CASE("an interleaved worker begins what it was told in order", "[sim]") {
  const std::vector<int> in_order{1, 2, 3, 4};
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    sim_executor sim({.seed = seed});
    broker b({.on = &sim});
    REQUIRE(sim.run(tell_and_call(b)) == in_order);
  }
}

TEST_CASE("an interleaved worker that is removed serves what its open turns wait for", "[sim]") {
  check_ends(&call_and_remove);
  check_ends(&cross_and_remove);
}

// --- an end that waits for a turn that waits for who asked for the end
// ----------------------------

namespace {

struct sim_regressions_closer {
  task<> close(broker* b) {
    co_await troupe::sleep_for(500us);
    static_cast<void>(co_await b->remove<inter>("w"));
  }
  int nothing() { return 0; }
};

task<> sim_regressions_inter::ask_closer() {
  co_await troupe::sleep_for(1ms);
  const auto closer = ctx_.worker<sim_regressions_closer>();
  static_cast<void>(co_await closer.call<&sim_regressions_closer::nothing>());
}

}  // namespace

template <>
inline constexpr bool troupe::enable_sendable<troupe::broker*> = true;

namespace {

task<> inter_calls_closer(broker& b, int& deadlocks) {
  const auto closer = b.worker<sim_regressions_closer>();
  const auto w = b.worker<inter>("w");
  const auto close = [](proxy<sim_regressions_closer> p, broker* all, int& met) -> task<> {
    try {
      co_await p.call<&sim_regressions_closer::close>(all);
    } catch (const troupe::error& e) {
      if (e.code() == errc::deadlock) ++met;
    }
  };
  const auto call = [](proxy<inter> p, int& met) -> task<> {
    try {
      co_await p.call<&inter::ask_closer>();
    } catch (const troupe::error& e) {
      if (e.code() == errc::deadlock) ++met;
    }
  };
  co_await troupe::when_all(close(closer, &b, deadlocks), call(w, deadlocks));
}

}  // namespace

TEST_CASE("an end and a turn that wait for each other are a cycle", "[sim]") {
  int deadlocks = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    sim_executor sim({.seed = seed});
    broker b({.on = &sim});
    REQUIRE_NOTHROW(sim.run(inter_calls_closer(b, deadlocks)));
  }
  REQUIRE(deadlocks == static_cast<int>(seeds));
}

// --- a task that removes the worker it belongs to
// -------------------------------------------------

namespace {

struct sim_regressions_suicidal {
  explicit sim_regressions_suicidal(troupe::context& ctx) : ctx_(ctx) {}
  void begin(broker* b) { ctx_.spawn(end_me(*b)); }
  int nothing() { return 0; }

private:
  static task<> end_me(broker& b) {
    co_await troupe::sleep_for(1ms);
    static_cast<void>(co_await b.remove<sim_regressions_suicidal>());
  }
  troupe::context& ctx_;
};

}  // namespace

namespace {

task<> remove_from_a_task(broker& b) {
  const auto a = b.worker<sim_regressions_suicidal>();
  co_await a.call<&sim_regressions_suicidal::begin>(&b);
  co_await troupe::sleep_for(1s);
  static_cast<void>(co_await a.call<&sim_regressions_suicidal::nothing>());
}

}  // namespace

TEST_CASE("a worker's task may ask for the worker's end", "[sim]") {
  check_ends(&remove_from_a_task);
}

// --- a terminate from inside one of the workers that it closes
// -----------------------------------------------------------------

namespace {

/// Does not heed a stop request, and needs another worker for its end.
struct sim_regressions_leaf {
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
  explicit sim_regressions_leaf(troupe::context& ctx) : ctx_(ctx) {}
  task<> on_stop();
  void nap(troupe::duration d) { troupe::sync_wait(troupe::sleep_for(d)); }
  int nothing() { return 0; }

private:
  troupe::context& ctx_;
};

struct sim_regressions_terminator {
  explicit sim_regressions_terminator(troupe::context& ctx) : ctx_(ctx) {}

  /// By a task, itself or by way of another's method.
  void begin(broker* b, int way, int* code) {
    ctx_.spawn(way == 0 ? note(b->terminate(), code) : note(by_another(ctx_, b), code));
  }
  /// In one branch of a when_any: what waits for this method waits for its other branch too.
  task<> race(broker* b, troupe::duration patience) {
    co_await troupe::sleep_for(1ms);
    co_await troupe::when_any(b->terminate(), troupe::sleep_for(patience));
  }
  task<> end_all(broker* b) { co_await b->terminate(); }
  int nothing() { return 0; }

private:
  static task<> by_another(troupe::context& ctx, broker* b) {
    const auto other = ctx.worker<sim_regressions_terminator>("other");
    co_await other.call<&sim_regressions_terminator::end_all>(b);
  }
  static task<> note(task<> t, int* code) {
    const troupe::result<void> ended = co_await troupe::as_result(std::move(t));
    *code = ended.code().value();
  }
  troupe::context& ctx_;
};

using terminator = sim_regressions_terminator;
using leaf = sim_regressions_leaf;

task<> leaf::on_stop() {
  const auto other = ctx_.worker<terminator>();
  static_cast<void>(co_await other.call<&terminator::nothing>());
}

}  // namespace

template <>
inline constexpr bool troupe::enable_sendable<int*> = true;

namespace {

task<> terminate_from_a_task(broker& b, int way, int& code) {
  const auto a = b.worker<terminator>();
  static_cast<void>(co_await b.worker<leaf>().call<&leaf::nothing>());
  co_await a.call<&terminator::begin>(&b, way, &code);
  co_await troupe::sleep_for(1s);
  troupe::sim_expect(!b.exists<leaf>(), "what was waited for was not closed");
  static_cast<void>(co_await a.call<&terminator::nothing>());
}

/// The end for which it waits waits for its worker: only its patience ends that.
task<> terminate_in_when_any(broker& b) {
  const auto l = b.worker<leaf>();
  static_cast<void>(co_await l.call<&leaf::nothing>());
  l.tell<&leaf::nap>(1s);
  co_await b.worker<terminator>().call<&terminator::race>(&b, 500ms);
  co_await troupe::sleep_for(1s);
  troupe::sim_expect(!b.exists<leaf>(), "what was waited for was not closed");
}

}  // namespace

TEST_CASE("a worker's task that terminates the broker is told of the cycle", "[sim]") {
  for (const int way : {0, 1}) {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      CAPTURE(way, seed);
      int code = 0;
      sim_executor sim({.seed = seed});
      broker b({.on = &sim});
      REQUIRE_NOTHROW(sim.run(terminate_from_a_task(b, way, code)));
      REQUIRE(code == static_cast<int>(errc::deadlock));
      REQUIRE(sim.now() < troupe::time_point(1h + 5s));
    }
  }
}

TEST_CASE("a terminate within a method's when_any ends with the when_any", "[sim]") {
  check_ends(&terminate_in_when_any);
}

// SPDX-License-Identifier: MIT
// A stop request before, during and after a call: the code says whether the method ran.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace stop_requests_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

struct sleeper {
  int touch() { return ++touched; }
  task<int> sleep(troupe::duration d) {
    ++touched;
    co_await troupe::sleep_for(d);
    co_return touched;
  }
  task<int> ignore(gate* opened) {
    ++touched;
    co_await opened->pass_all_the_same();
    co_return touched;
  }
  int touched = 0;
};

struct fixture {
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim}};
  troupe::proxy<sleeper> p = broker.worker<sleeper>();
};

struct outcome {
  std::error_code code = errc::no_such_method;  // not told yet
  bool told = false;
};

enum class kind { plain, coroutine, timed_plain, timed_coroutine };

task<> call_and_note(troupe::proxy<sleeper> p, kind k, outcome& o) {
  switch (k) {
    case kind::plain:
      o.code = co_await code_of(p.call<&sleeper::touch>());
      break;
    case kind::coroutine:
      o.code = co_await code_of(p.call<&sleeper::sleep>(1h));
      break;
    case kind::timed_plain:
      o.code = co_await code_of(p.call<&sleeper::touch>().within(24h));
      break;
    case kind::timed_coroutine:
      o.code = co_await code_of(p.call<&sleeper::sleep>(1h).within(24h));
      break;
  }
  o.told = true;
}

task<> wait_then_call(troupe::proxy<sleeper> p, gate& go, kind k, outcome& o) {
  co_await go.pass_all_the_same();
  co_await call_and_note(p, k, o);
}

task<> stop_before(troupe::proxy<sleeper> p, kind k) {
  gate go;
  outcome o;
  troupe::task_scope scope;
  scope.spawn(wait_then_call(p, go, k, o));
  co_await troupe::yield();
  scope.request_stop();
  go.open();
  co_await scope.join();
  CHECK(o.code == errc::cancelled);
  CHECK(troupe::is_safe_to_retry(o.code));
}

task<> hold(troupe::proxy<sleeper> p, gate* opened) {
  const int n = co_await p.call<&sleeper::ignore>(opened);
  static_cast<void>(n);
}

task<> stop_while_waiting(troupe::broker& broker, troupe::proxy<sleeper> p, kind k) {
  gate opened;
  outcome o;
  troupe::task_scope holding;
  holding.spawn(hold(p, &opened));
  co_await until([&] { return broker.worker_count() == 1; });
  troupe::task_scope scope;
  scope.spawn(call_and_note(p, k, o));
  co_await until([&] { return broker.workers().at(0).waiting == 1; });
  scope.request_stop();
  opened.open();
  co_await scope.join();
  co_await holding.join();
  CHECK(o.code == errc::cancelled);
  const int touched = co_await p.call<&sleeper::touch>();
  CHECK(touched == 2);  // the holder and this one: what was cancelled did not run
}

task<> stop_while_running(troupe::proxy<sleeper> p, kind k) {
  outcome o;
  troupe::task_scope scope;
  scope.spawn(call_and_note(p, k, o));
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
  scope.request_stop();
  co_await scope.join();
  CHECK(o.code == errc::interrupted);
  CHECK_FALSE(troupe::is_safe_to_retry(o.code));
  CHECK(o.code == std::errc::operation_canceled);
}

task<> stop_afterwards(troupe::proxy<sleeper> p) {
  outcome o;
  troupe::task_scope scope;
  scope.spawn(call_and_note(p, kind::plain, o));
  co_await scope.join();
  CHECK_FALSE(o.code);
  scope.request_stop();
  const int touched = co_await p.call<&sleeper::touch>();
  CHECK(touched == 2);
}

}  // namespace

TEST_CASE("a stop before a call keeps it from starting", "[broker][stop_requests]") {
  for (const kind k : {kind::plain, kind::coroutine, kind::timed_plain, kind::timed_coroutine}) {
    fixture f;
    f.sim.run(stop_before(f.p, k));
    REQUIRE(f.broker.worker_count() == 0);
  }
}

TEST_CASE("a stop while a call waits keeps it from starting", "[broker][stop_requests]") {
  for (const kind k : {kind::plain, kind::coroutine, kind::timed_plain, kind::timed_coroutine}) {
    fixture f;
    f.sim.run(stop_while_waiting(f.broker, f.p, k));
  }
}

TEST_CASE("a stop while a method runs asks it, and it is interrupted", "[broker][stop_requests]") {
  for (const kind k : {kind::coroutine, kind::timed_coroutine}) {
    fixture f;
    const auto start = f.sim.now();
    f.sim.run(stop_while_running(f.p, k));
    REQUIRE(f.sim.now() == start);
  }
}

TEST_CASE("a stop after a call changes nothing", "[broker][stop_requests]") {
  fixture f;
  f.sim.run(stop_afterwards(f.p));
}

namespace {

/// Takes its time to start, whatever anybody asks.
struct slow_starter {
  task<> on_start() { co_await troupe::sleep_for(1h); }
  int touch() { return 1; }
  task<int> touch_later() { co_return 2; }
};

task<> touch_and_note(troupe::proxy<slow_starter> p, bool plain, outcome& o) {
  if (plain) {
    o.code = co_await code_of(p.call<&slow_starter::touch>());
  } else {
    o.code = co_await code_of(p.call<&slow_starter::touch_later>());
  }
  o.told = true;
}

task<> stop_while_starting(troupe::broker& broker, bool plain, bool starts_it) {
  const auto p = broker.worker<slow_starter>();
  outcome first;
  outcome o;
  troupe::task_scope others;
  troupe::task_scope scope;
  if (!starts_it) others.spawn(touch_and_note(p, true, first));
  co_await troupe::sleep_for(1min);
  scope.spawn(touch_and_note(p, plain, o));
  co_await troupe::sleep_for(1min);
  REQUIRE_FALSE(o.told);
  scope.request_stop();
  co_await scope.join();
  CHECK(o.code == errc::cancelled);
  CHECK_FALSE(broker.exists<slow_starter>());  // it still starts
  co_await others.join();
  if (!starts_it) CHECK_FALSE(first.code);
  const int touched = co_await p.call<&slow_starter::touch>();  // it has started all the same
  CHECK(touched == 1);
}

}  // namespace

TEST_CASE("a stop withdraws a call that waits for a start", "[broker][stop_requests]") {
  for (const bool plain : {true, false}) {
    for (const bool starts_it : {true, false}) {
      troupe::sim_executor sim;
      troupe::broker broker({.on = &sim});
      sim.run(stop_while_starting(broker, plain, starts_it));
    }
  }
}

namespace {

/// Takes its time to start and to end.
struct slow_changer {
  task<> on_start() { co_await troupe::sleep_for(1h); }
  task<> on_stop() { co_await troupe::sleep_for(1min); }
  int touch() { return 1; }
};

task<> touch_changer(troupe::proxy<slow_changer> p, outcome& o) {
  o.code = co_await code_of(p.call<&slow_changer::touch>());
  o.told = true;
}

/// The call is out of the mailbox, about to run, when the stop request comes.
task<> stop_by_the_constructor(troupe::broker& broker, troupe::task_scope*& stopped) {
  const auto p = broker.worker<slow_changer>();
  static_cast<void>(co_await p.call<&slow_changer::touch>());
  outcome o;
  troupe::task_scope scope;
  REQUIRE(broker.evict(p.id()));
  co_await troupe::sleep_for(1s);
  stopped = &scope;
  scope.spawn(touch_changer(p, o));
  co_await troupe::sleep_for(10min);
  CHECK(o.told);  // the worker still starts
  CHECK_FALSE(broker.exists<slow_changer>());
  stopped = nullptr;
  co_await scope.join();
  CHECK(o.code == errc::cancelled);
  const int touched = co_await p.call<&slow_changer::touch>();
  CHECK(touched == 1);
}

}  // namespace

TEST_CASE("a stop by the constructor of the instance that a call waits for withdraws the call",
          "[broker][stop_requests]") {
  troupe::task_scope* stopped = nullptr;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<slow_changer>([&stopped](troupe::context&) {
    if (stopped != nullptr) stopped->request_stop();
    return std::make_unique<slow_changer>();
  });
  sim.run(stop_by_the_constructor(broker, stopped));
}

namespace {

/// Calls another of its kind from its own turn. Has room for one who waits; the oldest makes way.
struct neighbour {
  explicit neighbour(troupe::context& c) : ctx(c) {}

  int touch() { return ++touched; }
  /// Holds its worker until the gate opens, and then wants the other one.
  task<int> wait_then_call(gate* opened, std::string other) {
    co_await opened->pass_all_the_same();
    co_return co_await ctx.worker<neighbour>(other).call<&neighbour::touch>();
  }
  /// Wants the other one, and then holds its worker until the gate opens.
  task<std::error_code> call_then_wait(std::string other, bool within, gate* opened) {
    std::error_code code;
    if (within) {
      code = co_await code_of(ctx.worker<neighbour>(other).call<&neighbour::touch>().within(24h));
    } else {
      code = co_await code_of(ctx.worker<neighbour>(other).call<&neighbour::touch>());
    }
    has_called = true;
    co_await opened->pass_all_the_same();
    co_return code;
  }

  static constexpr troupe::actor_options options{.mailbox_capacity = 1,
                                                 .overflow = troupe::overflow::drop_old};
  troupe::context& ctx;
  int touched = 0;
  static inline bool has_called = false;
};

task<> wait_then_call(troupe::proxy<neighbour> p, gate* opened, std::error_code& code) {
  code = co_await code_of(p.call<&neighbour::wait_then_call>(opened, "first"));
}
task<> call_then_wait(troupe::proxy<neighbour> p, bool within, gate* opened,
                      std::error_code& code) {
  code = co_await p.call<&neighbour::call_then_wait>("second", within, opened);
}

/// The stop request comes while the call from within the first one's turn waits, or earlier: the
/// tell that makes way for the call brings it, while the call is being put in line. Who waits for
/// the first one afterwards closes no cycle.
task<> stop_neighbours_call(troupe::broker& broker, bool waits, bool within,
                            troupe::task_scope*& stopped) {
  neighbour::has_called = false;
  const auto first = broker.worker<neighbour>("first");
  const auto second = broker.worker<neighbour>("second");
  gate first_goes;
  gate second_goes;
  std::error_code of_first = errc::no_such_method;
  std::error_code of_second = errc::no_such_method;
  troupe::task_scope others;
  troupe::task_scope scope;
  others.spawn(wait_then_call(second, &second_goes, of_second));
  co_await until([&] { return broker.exists<neighbour>("second"); });
  if (!waits) {
    const bool queued = second.tell<&neighbour::touch>();
    CHECK(queued);
    stopped = &scope;
  }
  scope.spawn(call_then_wait(first, within, &first_goes, of_first));
  if (waits) {
    co_await until([&] { return broker.find(second.id())->waiting == 1; });
    scope.request_stop();
  }
  co_await until([] { return neighbour::has_called; });
  CHECK(stopped == nullptr);  // the tell, if any, has made way
  second_goes.open();
  for (int i = 0; i < 100; ++i) co_await troupe::yield();
  first_goes.open();
  co_await scope.join();
  co_await others.join();
  CHECK(of_first == errc::cancelled);
  CHECK(of_second == std::error_code());
}

}  // namespace

TEST_CASE("a call that is stopped in line, or on its way there, waits for nobody any more",
          "[broker][stop_requests]") {
  for (const bool waits : {false, true}) {
    for (const bool within : {false, true}) {
      troupe::task_scope* stopped = nullptr;
      troupe::sim_executor sim;
      troupe::broker broker({.on = &sim, .on_dead_letter = [&](const troupe::dead_letter&) {
                               if (stopped != nullptr) {
                                 std::exchange(stopped, nullptr)->request_stop();
                               }
                             }});
      sim.run(stop_neighbours_call(broker, waits, within, stopped));
    }
  }
}

}  // namespace stop_requests_tests

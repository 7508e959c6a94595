// SPDX-License-Identifier: MIT
// Long chains, long lines and long loops: the stack stays bounded, and nobody is lost.

#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace depth_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::test::gate;
using troupe::test::world;

}  // namespace

struct actor_depth_node {
  using self = actor_depth_node;
  explicit actor_depth_node(troupe::context& c) : ctx(c) {}
  task<int> down(int levels) {
    int below = 0;
    if (levels > 0) {
      const auto next = ctx.worker<self>(std::to_string(levels));
      below = co_await next.call<&self::down>(levels - 1);
    }
    co_return below + 1;
  }
  task<int> down_owned(int levels) {
    int below = 0;
    if (levels > 0) {
      const auto next = ctx.worker<self>(std::to_string(levels));
      below = co_await next.call<&self::down_owned>(levels - 1).within(1h);
    }
    co_return below + 1;
  }
  task<int> at_once() { co_return ++count; }
  int plain() { return ++count; }
  task<> wait(gate g) { co_await g; }

  troupe::context& ctx;
  int count = 0;
};

namespace {

using node = actor_depth_node;
using proxy = troupe::proxy<node>;

task<int> loop(proxy p, int rounds) {
  int last = 0;
  for (int i = 0; i < rounds; ++i) {
    last = co_await p.call<&node::at_once>();
    last = co_await p.call<&node::plain>();
  }
  co_return last;
}

task<> line(troupe::broker& broker, int count) {
  const proxy p = broker.worker<node>("line");
  gate g;
  troupe::task_scope scope;
  scope.spawn(troupe::test::as_task(p.call<&node::wait>(g)));
  co_await troupe::test::reached(g);
  std::vector<task<int>> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(i % 2 == 0 ? troupe::test::as_task(p.call<&node::plain>())
                             : troupe::test::as_task(p.call<&node::at_once>()));
  }
  scope.spawn([](gate at) -> task<> {
    for (int i = 0; i < 100; ++i) co_await troupe::yield();
    at.open();
  }(g));
  const std::vector<int> numbers = co_await troupe::when_all(std::move(all));
  CHECK(static_cast<int>(numbers.size()) == count);
  co_await scope.join();
  const int next = co_await p.call<&node::plain>();
  CHECK(next == count + 1);
}

}  // namespace

// A simulator takes over what its thread waits for, so each part has its own scope.

TEST_CASE("a chain of calls through thousands of workers needs no stack of that depth",
          "[actor][depth]") {
  {
    world w;
    const proxy p = w.broker.worker<node>();
    REQUIRE(w.run(troupe::test::as_task(p.call<&node::down>(5000))) == 5001);
    REQUIRE(w.run(troupe::test::as_task(p.call<&node::down_owned>(5000))) == 5001);
  }
  troupe::broker broker(troupe::broker_options{.threads = 2});
  const proxy p = broker.worker<node>();
  REQUIRE(broker.run(troupe::test::as_task(p.call<&node::down>(5000))) == 5001);
}

TEST_CASE("calls that end at once are made in a loop without end", "[actor][depth]") {
  {
    world w;
    REQUIRE(w.run(loop(w.broker.worker<node>(), 100'000)) == 200'000);
  }
  troupe::broker broker(troupe::broker_options{.threads = 2});
  REQUIRE(broker.run(loop(broker.worker<node>(), 100'000)) == 200'000);
}

TEST_CASE("thousands of calls wait in one line, and all get their turn", "[actor][depth]") {
  {
    world w;
    w.run(line(w.broker, 5000));
  }
  troupe::broker broker(troupe::broker_options{.threads = 2});
  broker.run(line(broker, 5000));
}

}  // namespace depth_tests

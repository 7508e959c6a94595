// SPDX-License-Identifier: MIT

// However long a chain of awaits is, the stack stays bounded: sequential awaits, deep tasks, deep
// chains of workers, rings. To be run with every compiler, level and sanitizer: those that do not
// turn symmetric transfer into a jump are the ones that matter. The stack is the usual 8 MiB.

#include <chrono>
#include <string>

#include <troupe.hpp>

#include "../support/catch.hpp"

namespace {

troupe::task<int> one() { co_return 1; }

troupe::task<int> one_later() {
  co_await troupe::yield();
  co_return 1;
}

troupe::task<int> sum_of(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await one();
  co_return sum;
}

troupe::task<int> sum_of_later(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await one_later();
  co_return sum;
}

troupe::task<int> depth(int n, bool suspend) {
  if (n == 0) {
    if (!suspend) co_return 0;
    co_await troupe::yield();
    co_return 0;
  }
  const int below = co_await depth(n - 1, suspend);
  co_return below + 1;
}

struct stage {
  explicit stage(troupe::context& c) : ctx(c) {}

  troupe::task<int> follow(int left) {
    if (left == 0) co_return 0;
    const auto next = ctx.worker<stage>(std::to_string(left - 1));
    const int below = co_await next.call<&stage::follow>(left - 1);
    co_return below + 1;
  }

  troupe::task<int> follow_later(int left) {
    co_await troupe::yield();
    if (left == 0) co_return 0;
    const auto next = ctx.worker<stage>(std::to_string(left - 1));
    const int below = co_await next.call<&stage::follow_later>(left - 1);
    co_return below + 1;
  }

  troupe::context& ctx;
};

struct finish {
  void arrived(int where) { at = where; }
  int where() { return at; }
  int at = -1;
};

struct station {
  static constexpr int stations = 10'000;

  explicit station(troupe::context& c) : ctx(c) {}

  void hop(int me, int left) {
    if (left == 0) {
      ctx.worker<finish>().tell<&finish::arrived>(me);
      return;
    }
    const int next = (me + 1) % stations;
    ctx.worker<station>(std::to_string(next)).tell<&station::hop>(next, left - 1);
  }

  troupe::context& ctx;
};

troupe::task<int> run_ring(troupe::broker& broker, int hops) {
  broker.worker<station>("0").tell<&station::hop>(0, hops);
  const auto end = broker.worker<finish>();
  int at = -1;
  while (at < 0) {
    co_await troupe::sleep_for(std::chrono::milliseconds(1));
    at = co_await end.call<&finish::where>();
  }
  co_return at;
}

}  // namespace

TEST_CASE("a million sequential awaits that complete at once") {
  CHECK(troupe::sync_wait(sum_of(1'000'000)) == 1'000'000);
}

TEST_CASE("a hundred thousand sequential awaits that suspend") {
  CHECK(troupe::sync_wait(sum_of_later(100'000)) == 100'000);
}

TEST_CASE("a chain of tasks 100 000 deep") {
  CHECK(troupe::sync_wait(depth(100'000, false)) == 100'000);
  CHECK(troupe::sync_wait(depth(100'000, true)) == 100'000);
}

TEST_CASE("a call chain through 10 000 workers") {
  troupe::broker broker({.threads = 2});
  CHECK(troupe::sync_wait(broker.worker<stage>("10000").call<&stage::follow>(10'000).within(
            std::chrono::minutes(5))) == 10'000);
  CHECK(troupe::sync_wait(broker.worker<stage>("10000").call<&stage::follow>(10'000)) == 10'000);
  CHECK(troupe::sync_wait(broker.worker<stage>("10000").call<&stage::follow_later>(10'000)) ==
        10'000);
}

TEST_CASE("a ring of 10 000 actors and a million hops") {
  troupe::broker broker({.threads = 2});
  CHECK(broker.run(run_ring(broker, 1'000'000)) == 0);
}

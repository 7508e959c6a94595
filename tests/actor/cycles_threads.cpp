// SPDX-License-Identifier: MIT
// The search for cycles under load: none is seen where there is none, and where there are any
// nobody hangs.

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace cycles_threads_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::reentrancy;
using troupe::task;

#if TROUPE_TSAN
constexpr int rounds = 150;
#else
constexpr int rounds = 1500;
#endif

struct tally {
  std::atomic<long> calls{0};
  std::atomic<long> values{0};
  std::atomic<long> deadlocks{0};
  std::atomic<long> others{0};
};

}  // namespace

constexpr int actor_cycles_threads_workers = 8;

/// Calls others at random: upwards only, or anybody.
template <reentrancy R>
struct actor_cycles_threads_node {
  using self = actor_cycles_threads_node;
  explicit actor_cycles_threads_node(troupe::context& c)
      : ctx(c), index(std::stoi(std::string(c.key()))), random(static_cast<unsigned>(index) + 77) {}

  int draw(int below) {
    return static_cast<int>(troupe::splitmix64(random) % static_cast<unsigned>(below));
  }
  troupe::proxy<self> pick(bool upwards) {
    const int next = upwards ? index + 1 + draw(actor_cycles_threads_workers - index)
                             : draw(actor_cycles_threads_workers);
    return ctx.worker<self>(std::to_string(next));
  }

  int leaf() { return ++state; }
  task<int> go(int depth, bool upwards) {
    ++state;
    int n = 1;
    const bool last = upwards && index >= actor_cycles_threads_workers;
    if (depth > 0 && !last) {
      const auto p = pick(upwards);
      const auto q = pick(upwards);
      switch (draw(6)) {
        case 0:
          n += co_await p.template call<&self::leaf>() != 0 ? 1 : 0;
          break;
        case 1: {
          auto both = co_await troupe::when_all(p.template call<&self::go>(depth - 1, upwards),
                                                q.template call<&self::go>(depth - 1, upwards));
          n += std::get<0>(both) + std::get<1>(both);
          break;
        }
        case 2: {
          n += co_await p.template call<&self::go>(depth - 1, upwards).within(1h);
          break;
        }
        case 3: {
          troupe::task_scope scope;
          int a = 0;
          int b = 0;
          scope.spawn(into(a, p, depth - 1, upwards));
          scope.spawn(into(b, q, depth - 1, upwards));
          co_await troupe::yield();
          co_await scope.join();
          n += a + b;
          break;
        }
        case 4: {
          co_await troupe::yield();
          n += co_await p.template call<&self::go>(depth - 1, upwards);
          break;
        }
        default:
          n += co_await p.template call<&self::go>(depth - 1, upwards);
          break;
      }
    }
    ++state;
    co_return n;
  }
  static task<> into(int& n, troupe::proxy<self> p, int depth, bool upwards) {
    n = co_await p.template call<&self::go>(depth, upwards);
  }

  troupe::context& ctx;
  int index;
  std::uint64_t random;
  int state = 0;
  static constexpr troupe::actor_options options{.reentrancy = R};
};

namespace {

template <class A>
task<> client(troupe::broker& broker, int who, int count, bool upwards, std::uint64_t seed,
              tally& t) {
  std::uint64_t random = seed + static_cast<std::uint64_t>(who);
  for (int i = 0; i < count; ++i) {
    const int to =
        upwards ? static_cast<int>(troupe::splitmix64(random) % 3)
                : static_cast<int>(troupe::splitmix64(random) % actor_cycles_threads_workers);
    const auto p = broker.worker<A>(std::to_string(to));
    ++t.calls;
    try {
      const int n = co_await p.template call<&A::go>(upwards ? 4 : 3, upwards);
      static_cast<void>(n);
      ++t.values;
    } catch (const troupe::error& e) {
      if (e.code() == errc::deadlock) {
        ++t.deadlocks;
      } else {
        ++t.others;
        WARN(e.what());
      }
    }
  }
}

template <class A>
task<> clients(troupe::broker& broker, int callers, int count, bool upwards, std::uint64_t seed,
               tally& t) {
  std::vector<task<>> all;
  for (int i = 0; i < callers; ++i) {
    all.push_back(client<A>(broker, i, count, upwards, seed, t));
  }
  co_await troupe::when_all(std::move(all));
}

using chained = actor_cycles_threads_node<reentrancy::call_chain>;
using none = actor_cycles_threads_node<reentrancy::none>;
using inter = actor_cycles_threads_node<reentrancy::interleaved>;

template <class A>
void no_false_alarm(unsigned threads, std::uint64_t seed) {
  CAPTURE(threads, seed);
  tally t;
  troupe::broker broker(troupe::broker_options{.threads = threads});
  broker.run(clients<A>(broker, 6, rounds, true, seed, t));
  REQUIRE(t.calls.load() == 6L * rounds);
  REQUIRE(t.values.load() == t.calls.load());
}

template <class A>
void nobody_hangs(unsigned threads, std::uint64_t seed) {
  CAPTURE(threads, seed);
  tally t;
  troupe::broker broker(troupe::broker_options{.threads = threads});
  broker.run(clients<A>(broker, 6, rounds / 3, false, seed, t));
  REQUIRE(t.values.load() + t.deadlocks.load() == t.calls.load());
  REQUIRE(t.others.load() == 0);
}

}  // namespace

TEST_CASE("calls that form no cycle are never taken for one", "[actor][deadlock][stress]") {
  const std::uint64_t seed = Catch::rngSeed() + 1;
  for (const unsigned threads : {2U, 3U, 4U}) {
    no_false_alarm<chained>(threads, seed);
    no_false_alarm<none>(threads, seed);
    no_false_alarm<inter>(threads, seed);
  }
}

TEST_CASE("calls that form no cycle are never taken for one, in any order", "[actor][deadlock]") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    tally t;
    troupe::test::world w(seed, seed % 2 == 0 ? 4 : 1);
    w.run(clients<chained>(w.broker, 5, 15, true, seed, t));
    w.run(clients<none>(w.broker, 5, 15, true, seed, t));
    REQUIRE(t.values.load() == t.calls.load());
  }
}

TEST_CASE("calls of anybody by anybody all settle", "[actor][deadlock][promise2][promise4]") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    tally t;
    troupe::test::world w(seed, seed % 2 == 0 ? 4 : 1);
    w.run(clients<chained>(w.broker, 4, 10, false, seed, t));
    w.run(clients<none>(w.broker, 4, 10, false, seed, t));
    w.run(clients<inter>(w.broker, 4, 10, false, seed, t));
    REQUIRE(t.values.load() + t.deadlocks.load() == t.calls.load());
  }
}

TEST_CASE("calls of anybody by anybody all settle on threads",
          "[actor][deadlock][promise2][promise4][stress]") {
  const std::uint64_t seed = Catch::rngSeed() + 1;
  for (const unsigned threads : {2U, 4U}) {
    nobody_hangs<chained>(threads, seed);
    nobody_hangs<none>(threads, seed);
    nobody_hangs<inter>(threads, seed);
  }
}

}  // namespace cycles_threads_tests

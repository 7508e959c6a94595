// SPDX-License-Identifier: MIT
// Everything at once for a while: calls, tells, limits, floods, evictions, timers, tasks, threads
// of their own. After each round all of it is closed, and memory, threads and open files must be
// back where they were.
//
// TROUPE_SOAK_SECONDS=n runs for n seconds instead of a few.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/when_any.hpp>

#include "../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;

constexpr int clients = 8;
constexpr int steps = 400;
constexpr int keys = 500;

std::atomic<long> living{0};

/// Counts its instances.
struct counted {
  counted() { living.fetch_add(1); }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { living.fetch_sub(1); }
};

struct tenant : counted {
  explicit tenant(troupe::context& c) : ctx(c) {
    if (c.key().ends_with('7')) {
      c.every(1ms, [this] { ++ticks; });
      c.spawn(stay(c.stop_token()));
    }
  }

  static task<> stay(troupe::stop_token stop) {
    while (!stop.stop_requested()) co_await troupe::sleep_for(1ms);
  }

  std::size_t store(std::string text) {
    texts.push_back(std::move(text));
    return texts.size();
  }
  task<std::size_t> pass_on(std::string to, std::string text) {
    const auto next = ctx.worker<tenant>(to);
    const std::size_t n = co_await next.call<&tenant::store>(std::move(text));
    co_return n + texts.size();
  }
  task<> dawdle() { co_await troupe::sleep_for(50ms); }
  void fail() { throw std::runtime_error("as it should"); }

  troupe::context& ctx;
  std::vector<std::string> texts;
  long ticks = 0;
};

struct bounded : counted {
  task<> slow() { co_await troupe::sleep_for(1ms); }
  static constexpr troupe::actor_options options{.mailbox_capacity = 16,
                                                 .overflow = troupe::overflow::drop_old};
};

struct blocking : counted {
  int work() { return ++done; }
  int done = 0;
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
};

struct outcome_counts {
  std::atomic<long> values{0};
  std::atomic<long> errors{0};
};

task<> one_step(troupe::broker& broker, std::uint64_t& random, outcome_counts& counts) {
  const auto draw = [&random](unsigned below) {
    return static_cast<unsigned>(troupe::splitmix64(random) % below);
  };
  const std::string key = std::to_string(draw(keys));
  const auto p = broker.worker<tenant>(key);
  switch (draw(12)) {
    case 0:
      co_await p.call<&tenant::pass_on>(std::to_string(draw(keys)), std::string(300, 'x'));
      break;
    case 1:
      co_await p.call<&tenant::dawdle>().within(1ms);
      break;
    case 2:
      co_await p.call<&tenant::fail>();
      break;
    case 3:
      broker.evict(p.id());
      break;
    case 4:
      co_await broker.remove<tenant>(key);
      break;
    case 5: {
      const auto flooded = broker.worker<bounded>();
      for (int i = 0; i < 200; ++i) flooded.tell<&bounded::slow>();
      break;
    }
    case 6: {
      const auto own = broker.worker<blocking>(std::to_string(draw(4)));
      const int done = co_await own.call<&blocking::work>();
      static_cast<void>(done);
      break;
    }
    case 7: {
      const auto first =
          co_await troupe::when_any(p.call<&tenant::dawdle>(), troupe::sleep_for(1ms));
      static_cast<void>(first);
      break;
    }
    case 8: {
      const auto both =
          co_await troupe::when_all(p.call<&tenant::store>("a"), p.call<&tenant::store>("b"));
      static_cast<void>(both);
      break;
    }
    case 9: {
      const auto nothing = []() noexcept {};
      co_await troupe::offload(nothing);
      break;
    }
    default:
      co_await p.call<&tenant::store>(std::string(1000, 'y'));
      break;
  }
  ++counts.values;
}

task<> client(troupe::broker& broker, std::uint64_t seed, outcome_counts& counts) {
  std::uint64_t random = seed;
  for (int i = 0; i < steps; ++i) {
    const auto outcome = co_await troupe::as_result(one_step(broker, random, counts));
    if (!outcome.has_value()) ++counts.errors;
  }
}

task<> one_round(troupe::broker& broker, std::uint64_t seed, outcome_counts& counts) {
  std::vector<task<>> all;
  for (unsigned i = 0; i < clients; ++i) {
    all.push_back(client(broker, troupe::hash_combine(seed, i), counts));
  }
  co_await troupe::when_all(std::move(all));
  co_await broker.terminate();
}

/// What a process holds of its system.
struct holdings {
  long kilobytes = 0;
  long threads = 0;
  long files = 0;
};

long entries_of(const char* folder) {
  return static_cast<long>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

holdings look() {
  long pages = 0;
  long resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return {resident * 4, entries_of("/proc/self/task"), entries_of("/proc/self/fd")};
}

long seconds_to_run() {
  const char* const text = std::getenv("TROUPE_SOAK_SECONDS");
  return text != nullptr ? std::strtol(text, nullptr, 10) : 3;
}

}  // namespace

#if defined(__linux__)

TEST_CASE("after everything at once, everything is given back", "[stress][soak]") {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds_to_run());
  std::thread([] {}).join();  // with the first thread, ThreadSanitizer starts one of its own
  const long threads_before = entries_of("/proc/self/task");
  constexpr int warm_up = 3;
  holdings base;
  int round = 0;
  {
    troupe::broker broker({.threads = 2});
    for (; round <= warm_up || std::chrono::steady_clock::now() < end; ++round) {
      outcome_counts counts;
      broker.run(one_round(broker, static_cast<std::uint64_t>(round), counts));
      REQUIRE(counts.values + counts.errors == clients * steps);
      REQUIRE(counts.values > clients * steps / 2);
      REQUIRE(living.load() == 0);
      REQUIRE(broker.worker_count() == 0);
      if (round == warm_up) base = look();
    }
    const holdings last = look();
    std::printf("soak: %d rounds, %ld kB, %ld threads, %ld files; at first %ld, %ld, %ld\n", round,
                last.kilobytes, last.threads, last.files, base.kilobytes, base.threads, base.files);
    CHECK(last.files == base.files);
    CHECK(last.threads <= base.threads + 8);  // those that wait for more to offload
#  if !TROUPE_TSAN && !TROUPE_ASAN
    CHECK(last.kilobytes - base.kilobytes < 16 * 1024);
#  endif
  }
  CHECK(entries_of("/proc/self/task") == threads_before);
}

#endif

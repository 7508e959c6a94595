// SPDX-License-Identifier: MIT
// The broker goes at a random moment, two hundred times, while threads of the program and workers
// of its own call, tell, load and remove through proxies that outlive it.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;

constexpr int keys = 6;
constexpr int outsiders = 2;

std::atomic<long> made{0};
std::atomic<long> destroyed{0};
std::atomic<long> issued{0};
std::atomic<long> settled{0};
std::atomic<long> unexpected{0};

struct busy {
  explicit busy(troupe::context& c) : ctx(c) { ++made; }
  ~busy() { ++destroyed; }
  task<> on_stop() { co_await troupe::yield(); }
  int plain(int n) { return n; }
  task<int> later(int n) {
    co_await troupe::yield();
    co_return n;
  }
  // About as long as the time limits of its callers.
  task<int> nap(int n) {
    co_await troupe::sleep_for(30us);
    co_return n;
  }
  // Keeps itself and another one busy.
  void ripple(int n) {
    if (n == 0) return;
    ctx.worker<busy>(std::to_string(n % keys)).tell<&busy::ripple>(n - 1);
  }
  void tick() {
    ctx.every(100us, [this] { ctx.worker<busy>("0").tell<&busy::plain>(1); });
  }
  troupe::context& ctx;
};

template <class A>
task<bool> settle(A awaitable) {
  ++issued;
  const auto got = co_await troupe::as_result(std::move(awaitable));
  ++settled;
  if (got.has_value()) co_return true;
  const std::error_code code = got.code();
  if (code == errc::broker_gone) co_return false;
  const bool known = code == errc::worker_stopped || code == errc::timed_out ||
                     code == errc::expired || code == errc::cancelled;
  if (!known) {
    ++unexpected;
    std::printf("unexpected: %s\n", code.message().c_str());
  }
  co_return true;
}

// Calls until the broker is gone.
task<> call_until_gone(std::vector<troupe::proxy<busy>> proxies, std::uint64_t random) {
  bool there = true;
  while (there) {
    auto& p = proxies[troupe::splitmix64(random) % proxies.size()];
    switch (troupe::splitmix64(random) % 5) {
      case 4:
        there = co_await settle(
            p.call<&busy::nap>(1).within(std::chrono::microseconds(20 + random % 60)));
        break;
      case 0:
        there = co_await settle(p.call<&busy::plain>(1));
        break;
      case 1:
        there = co_await settle(p.call<&busy::later>(1));
        break;
      case 2:
        there = co_await settle(p.call<&busy::later>(1).within(1h));
        break;
      default:
        p.tell<&busy::ripple>(3);
        break;
    }
  }
}

task<> inside(troupe::broker& broker, std::uint64_t random) {
  for (int i = 0; i < 200; ++i) {
    const std::string key = std::to_string(troupe::splitmix64(random) % keys);
    switch (troupe::splitmix64(random) % 4) {
      case 0:
        static_cast<void>(co_await troupe::as_result(broker.load<busy>(key)));
        break;
      case 1:
        static_cast<void>(co_await troupe::as_result(broker.remove<busy>(key)));
        break;
      case 2:
        broker.evict(broker.worker<busy>(key).id());
        break;
      default:
        static_cast<void>(co_await settle(broker.worker<busy>(key).call<&busy::later>(1)));
    }
  }
}

void one_shutdown(std::uint64_t seed, troupe::executor* on) {
  INFO("seed " << seed);
  std::uint64_t random = seed;
  std::vector<std::thread> threads;
  {
    troupe::broker broker({.threads = 2, .on = on});
    std::vector<troupe::proxy<busy>> proxies;
    for (int i = 0; i < keys; ++i) proxies.push_back(broker.worker<busy>(std::to_string(i)));
    for (int i = 0; i < outsiders; ++i) {
      threads.emplace_back([proxies, r = troupe::splitmix64(random)] {
        troupe::sync_wait(call_until_gone(proxies, r));
      });
    }
    for (int i = 0; i < 3; ++i) broker.spawn(inside(broker, troupe::splitmix64(random)));
    proxies[1].tell<&busy::tick>();
    proxies[2].tell<&busy::ripple>(1000);
    // The random moment: when so many calls have been settled.
    const long target = settled + static_cast<long>(troupe::splitmix64(random) % 300);
    while (settled < target) std::this_thread::yield();
  }
  for (std::thread& t : threads) t.join();
  REQUIRE(settled == issued);
  REQUIRE(made == destroyed);
  REQUIRE(unexpected == 0);
}

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

TEST_CASE("a broker with a pool of its own goes at a random moment", "[stress][shutdown]") {
  const std::uint64_t first = number_from("TROUPE_SEED", 1);
  const std::uint64_t rounds = number_from("TROUPE_ROUNDS", 100);
  std::printf("shutdown: seeds %llu to %llu\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(first + rounds - 1));
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) one_shutdown(seed, nullptr);
}

TEST_CASE("a broker on a pool of the program's goes at a random moment", "[stress][shutdown]") {
  const std::uint64_t first = number_from("TROUPE_SEED", 1);
  const std::uint64_t rounds = number_from("TROUPE_ROUNDS", 100);
  troupe::thread_pool pool({.threads = 2});
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) one_shutdown(seed, &pool);
}

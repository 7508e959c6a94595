// SPDX-License-Identifier: MIT
// Several threads call, tell, evict, remove, load and terminate at random. Never two instances of
// one id at a time, never two turns, every call settled once, and as many destructors as
// constructors.
//
// TROUPE_SEEDS=n runs n seeds, TROUPE_SEED=s the one seed s.

#include <troupe/broker/broker.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>

#include "../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;

constexpr int ids = 12;
constexpr int mixers = 8;
constexpr int steps = 250;

struct counts {
  std::array<std::atomic<int>, 2 * ids> living{};
  std::atomic<long> made{0};
  std::atomic<long> destroyed{0};
  std::atomic<long> issued{0};
  std::atomic<long> values{0};
  std::atomic<long> errors{0};
  std::atomic<long> told{0};     // tells that were queued
  std::atomic<long> ran{0};      // ... and ran
  std::atomic<long> lost{0};     // ... or are dead letters
  std::atomic<long> refused{0};  // tells that were not queued
  std::atomic<long> violations{0};
};
counts* now = nullptr;

// One instance. `Slow`: with hooks that wait, and options that make trouble likelier.
template <bool Slow>
struct mixed_worker {
  explicit mixed_worker(troupe::context& c) : ctx(c), index(std::stoi(std::string(c.key()))) {
    ++now->made;
    if (now->living[slot()].fetch_add(1) != 0) ++now->violations;
  }
  ~mixed_worker() {
    if (now->living[slot()].fetch_sub(1) != 1) ++now->violations;
    ++now->destroyed;
  }
  task<> on_start() {
    if constexpr (Slow) co_await troupe::yield();
    enter();
    leave();
    co_return;
  }
  task<> on_stop() {
    enter();
    if constexpr (Slow) co_await troupe::yield();
    leave();
    co_return;
  }

  int plain(int n) {
    enter();
    leave();
    return n;
  }
  task<int> later(int n) {
    enter();
    co_await troupe::yield();
    leave();
    co_return n;
  }
  // Only downwards, so that no cycle closes.
  task<int> ask_next(int n) {
    if (index + 1 >= ids) co_return n;
    auto next = ctx.worker<mixed_worker<!Slow>>(std::to_string(index + 1));
    const auto got = co_await troupe::as_result(next.template call<&mixed_worker<!Slow>::plain>(n));
    co_return got.value_or(n);
  }
  void note() { ++now->ran; }
  task<> note_later() {
    co_await troupe::yield();
    ++now->ran;
  }
  void go() {
    ++now->ran;
    ctx.deactivate_when_idle();
  }

  void enter() {
    if (turns.fetch_add(1) != 0) ++now->violations;
  }
  void leave() { turns.fetch_sub(1); }
  std::size_t slot() const { return static_cast<std::size_t>(index + (Slow ? ids : 0)); }

  static constexpr troupe::actor_options options{
      .mailbox_capacity = Slow ? std::size_t{3} : std::size_t{1024},
      .overflow = Slow ? troupe::overflow::drop_old : troupe::overflow::wait};
  troupe::context& ctx;
  const int index;
  std::atomic<int> turns{0};
};

template <class A>
task<> settle(A awaitable, int expected) {
  ++now->issued;
  const auto got = co_await troupe::as_result(std::move(awaitable));
  if (got.has_value()) {
    if (got.value() != expected) ++now->violations;
    ++now->values;
  } else {
    const std::error_code code = got.code();
    const bool known = code == errc::worker_stopped || code == errc::timed_out ||
                       code == errc::expired || code == errc::mailbox_full ||
                       code == errc::cancelled || code == errc::interrupted;
    if (!known) {
      ++now->violations;
      std::printf("unexpected: %s\n", code.message().c_str());
    }
    ++now->errors;
  }
}

void count_tell(bool queued) {
  if (queued) {
    ++now->told;
  } else {
    ++now->refused;
  }
}

template <bool Slow>
task<> mix(troupe::broker& broker, std::uint64_t seed) {
  using worker = mixed_worker<Slow>;
  std::uint64_t random = seed;
  for (int i = 0; i < steps; ++i) {
    const int n = static_cast<int>(troupe::splitmix64(random) % ids);
    const std::string key = std::to_string(n);
    auto p = broker.worker<worker>(key);
    switch (troupe::splitmix64(random) % 16) {
      case 0:
      case 1:
      case 2:
        co_await settle(p.template call<&worker::plain>(i), i);
        break;
      case 3:
      case 4:
        co_await settle(p.template call<&worker::later>(i), i);
        break;
      case 5:
        co_await settle(p.template call<&worker::ask_next>(i), i);
        break;
      case 6:
        co_await settle(p.template call<&worker::later>(i).within(1h), i);
        break;
      case 7:
        co_await settle(
            p.template call<&worker::later>(i).within(std::chrono::microseconds(i % 60)), i);
        break;
      case 8:
        count_tell(p.template tell<&worker::note>());
        break;
      case 9:
        count_tell(p.template tell<&worker::note_later>());
        break;
      case 10:
        static_cast<void>(broker.evict(p.id()));
        break;
      case 11: {
        const bool was_there = co_await broker.remove<worker>(key);
        static_cast<void>(was_there);
        break;
      }
      case 12: {
        const auto loaded = co_await troupe::as_result(broker.load<worker>(key));
        if (!loaded.has_value() && loaded.code() != errc::worker_stopped) ++now->violations;
        break;
      }
      case 13: {
        auto both = troupe::when_all(settle(p.template call<&worker::plain>(i), i),
                                     settle(p.template call<&worker::later>(i), i));
        co_await std::move(both);
        break;
      }
      case 14:
        count_tell(p.template tell<&worker::go>());
        break;
      default:
        if (troupe::splitmix64(random) % 16 == 0) {
          co_await broker.terminate();
        } else {
          co_await troupe::yield();
        }
    }
    if (broker.worker_count() > 2 * ids) ++now->violations;
  }
}

task<> churn(troupe::broker& broker, std::uint64_t seed) {
  troupe::task_scope scope;
  for (std::uint64_t i = 0; i < mixers; ++i) {
    if (i % 2 == 0) {
      scope.spawn(mix<false>(broker, troupe::hash_combine(seed, i)));
    } else {
      scope.spawn(mix<true>(broker, troupe::hash_combine(seed, i)));
    }
  }
  co_await scope.join();
}

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

void run_seed(std::uint64_t seed) {
  std::printf("churn: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  INFO("seed " << seed);
  counts c;
  now = &c;
  {
    const unsigned threads = 1 + static_cast<unsigned>(seed % 4);
    troupe::broker broker({.threads = threads, .on_dead_letter = [](const troupe::dead_letter& l) {
                             const bool told = l.method.starts_with("note") || l.method == "go";
                             if (told) ++now->lost;
                           }});
    broker.run(churn(broker, seed));
  }
  REQUIRE(c.violations == 0);
  REQUIRE(c.made == c.destroyed);
  REQUIRE(c.values + c.errors == c.issued);
  REQUIRE(c.ran + c.lost == c.told + c.refused);
  for (const auto& living : c.living) REQUIRE(living == 0);
  now = nullptr;
}

}  // namespace

TEST_CASE("under a churn of all operations every promise of the broker holds", "[stress][churn]") {
  if (std::getenv("TROUPE_SEED") != nullptr) return run_seed(number_from("TROUPE_SEED", 1));
  const std::uint64_t seeds = number_from("TROUPE_SEEDS", 20);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) run_seed(seed);
}

// SPDX-License-Identifier: MIT
// Under a cleaner, a worker costs the same whether it is the first or the millionth: counted by
// allocations, of which each look-up of a worker by its id is some, since these ids are long.

#include <troupe/broker/lru_cleaner.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

#include <troupe/broker/broker.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>

#include "../support/catch.hpp"
#include "heap.hpp"
#include "support.hpp"

namespace cleaners_at_scale_tests {
namespace {

using namespace troupe::test;
using troupe::task;

struct tenant_with_a_name_too_long_for_a_short_string {
  int touch() { return ++touched; }
  task<> stay(gate* g) { co_await g->pass(); }
  int touched = 0;
};
using tenant = tenant_with_a_name_too_long_for_a_short_string;

#if TROUPE_TSAN || TROUPE_ASAN
constexpr std::size_t part = 5'000;
#elif !defined(__OPTIMIZE__)
constexpr std::size_t part = 20'000;  // the million is for builds that are tested at length
#else
constexpr std::size_t part = 100'000;
#endif
constexpr std::size_t parts = 10;
constexpr std::size_t limit = 1'000;

task<> touch(troupe::broker& broker, std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    // All of one length, and longer than what lies inside a cell's record.
    const auto p = broker.worker<tenant>("tenant number " + std::to_string(1'000'000 + i));
    co_await p.call<&tenant::touch>();
  }
}

}  // namespace

TEST_CASE("work and memory are flat under a limit of a thousand, for a million keys",
          "[broker][cleaner][lru]") {
  troupe::broker broker({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = limit})});
  broker.run(touch(broker, 0, 2 * limit));
  std::array<long, parts> work{};
  std::array<long, parts> bytes{};
  for (std::size_t i = 0; i < parts; ++i) {
    const long before = allocations();
    broker.run(touch(broker, 2 * limit + i * part, part));
    work.at(i) = allocations() - before;
    bytes.at(i) = bytes_in_use();
    REQUIRE(broker.worker_count() <= limit);
  }
  const troupe::broker_stats stats = broker.stats();
  CHECK(stats.created == 2 * limit + parts * part);
  CHECK(stats.created - stats.removed == broker.worker_count());
  INFO("allocations: " << work.front() << " for the first part, " << work.back()
                       << " for the last");
  INFO("bytes: " << bytes.front() << " after the first part, " << bytes.back() << " at the end");
  CHECK(work.back() <= work.front() + work.front() / 100);
  CHECK(work.back() <= static_cast<long>(30 * part));
  CHECK(bytes.back() - bytes.front() < 100'000);
}

namespace {

task<> until_there_are(troupe::broker& broker, std::size_t count) {
  while (broker.worker_count() != count) co_await troupe::sleep_for(std::chrono::milliseconds(1));
}

/// Keeps `count` workers busy, and says what it costs to make as many more.
task<> all_in_use(troupe::broker& broker, std::size_t count, long& work) {
  gate opened;
  troupe::task_scope scope;
  const auto stay = [](troupe::broker& b, gate& g, std::size_t i) -> task<> {
    const auto p = b.worker<tenant>("busy tenant number " + std::to_string(i));
    co_await p.call<&tenant::stay>(&g);
  };
  for (std::size_t i = 0; i < count; ++i) scope.spawn(stay(broker, opened, i));
  co_await until_there_are(broker, count);
  const long before = allocations();
  for (std::size_t i = count; i < 2 * count; ++i) scope.spawn(stay(broker, opened, i));
  co_await until_there_are(broker, 2 * count);
  work = allocations() - before;
  opened.open();
  co_await scope.join();
}

}  // namespace

TEST_CASE("a creation does not look at all workers that are in use", "[broker][cleaner][lru]") {
  troupe::broker broker({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = limit})});
  long work = 0;
  broker.run(all_in_use(broker, limit, work));
  INFO(work / static_cast<long>(limit) << " allocations for each");
  CHECK(work < 500 * static_cast<long>(limit));
  broker.run(touch(broker, 0, 1));
  CHECK(broker.worker_count() <= limit);
}

}  // namespace cleaners_at_scale_tests

// SPDX-License-Identifier: MIT
// What an idle worker costs beyond its actor and its key.

#include <troupe/broker/broker.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/config.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "heap.hpp"

namespace memory_tests {
namespace {

struct empty {
  int touch() { return 1; }
};

/// A thread that looks workers up, one after the other, again and again.
class looker {
public:
  looker(troupe::broker& broker, int workers) : broker_(broker), workers_(workers) {
    thread_ = std::thread([this] { run(); });
  }
  ~looker() {
    ends_.store(true);
    thread_.join();
  }
  /// True if a whole round is done in five seconds.
  bool does_a_round() const {
    const int wanted = begun_.load() + 1;
    for (int i = 0; i != 5000; ++i) {
      if (ended_.load() >= wanted) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

private:
  void run() {
    while (!ends_.load()) {
      ++begun_;
      for (int i = 0; i != workers_; ++i)
        static_cast<void>(broker_.worker<empty>(std::to_string(i)));
      ended_.store(begun_.load());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  troupe::broker& broker_;
  int workers_;
  std::atomic<int> begun_{0};
  std::atomic<int> ended_{0};
  std::atomic<bool> ends_{false};
  std::thread thread_;
};

const looker* other_thread = nullptr;
bool other_waits = false;
std::set<std::size_t> asked_for;

void see_whether_other_waits(std::size_t size) {
  if (other_waits) return;
  const looker* const l = std::exchange(other_thread, nullptr);  // what follows asks for memory too
  if (l == nullptr) return;
  asked_for.insert(size);
  other_waits = !l->does_a_round();
  other_thread = l;
}

}  // namespace

TEST_CASE("nobody waits while memory is asked for a worker", "[broker][memory]") {
  if (!troupe::test::counts_bytes()) return;
  constexpr int workers = 1000;           // some of each shard of the registry
  constexpr std::size_t key_size = 4999;  // no power of two, as tables and slabs are
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  std::vector<troupe::proxy<empty>> held;
  held.reserve(4 * workers);
  for (int i = 0; i != workers; ++i) held.push_back(broker.worker<empty>(std::to_string(i)));
  asked_for.clear();
  other_waits = false;
  {
    const looker other(broker, workers);
    troupe::test::when_asked_for(700, &see_whether_other_waits);
    for (int i = workers; i != 4 * workers; ++i) {
      std::string key = std::to_string(i);
      if (i % 500 == 0) key.resize(key_size, 'x');
      other_thread = &other;
      held.push_back(broker.worker<empty>(key));
      other_thread = nullptr;
    }
    troupe::test::when_asked_for(0, nullptr);
  }
  REQUIRE_FALSE(other_waits);
  REQUIRE(asked_for.count(key_size) == 1);
  REQUIRE(*asked_for.begin() < key_size);       // tables
  REQUIRE(*asked_for.rbegin() > 3 * key_size);  // slabs
}

TEST_CASE("an idle worker costs at most 256 bytes beyond actor and key", "[broker][memory]") {
  constexpr int workers = 10'000;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  REQUIRE(troupe::sync_wait(broker.worker<empty>("first").call<&empty::touch>()) == 1);
  const long before = troupe::test::bytes_in_use();
  for (int i = 0; i < workers; ++i) {
    REQUIRE(troupe::sync_wait(broker.worker<empty>(std::to_string(i)).call<&empty::touch>()) == 1);
  }
  const long each = (troupe::test::bytes_in_use() - before) / workers;
  // An empty actor takes the smallest block there is; keys have four bytes, almost all of them.
  const long actor_and_key = troupe::test::smallest_block() + 4;
  INFO(each << " bytes each, " << actor_and_key << " of them for actor and key; a cell is "
            << sizeof(troupe::detail::cell));
  if (troupe::test::counts_bytes()) {
    REQUIRE(each > 0);
    REQUIRE(each - actor_and_key <= 256);
  }
  REQUIRE(broker.worker_count() == workers + 1);
}

TEST_CASE("workers that are gone give their memory back", "[broker][memory]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  long after_first = 0;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 1000; ++i) {
      REQUIRE(troupe::sync_wait(broker.worker<empty>(std::to_string(i)).call<&empty::touch>()) ==
              1);
    }
    troupe::sync_wait(broker.terminate());
    if (round == 0) after_first = troupe::test::bytes_in_use();
  }
  const long grown = troupe::test::bytes_in_use() - after_first;
  INFO(grown << " bytes more after five rounds than after one");
  REQUIRE(grown < 4096);
}

TEST_CASE("workers that are gone give their memory back while others stay", "[broker][memory]") {
  constexpr int workers = 5000;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto touch = [&](int i) {
    REQUIRE(troupe::sync_wait(broker.worker<empty>(std::to_string(i)).call<&empty::touch>()) == 1);
  };
  touch(0);
  const long before = troupe::test::bytes_in_use();
  for (int i = 1; i <= workers; ++i) touch(i);
  const long full = troupe::test::bytes_in_use();
  for (int i = 1; i <= workers; ++i) {
    REQUIRE(troupe::sync_wait(broker.remove<empty>(std::to_string(i))));
  }
  const long after = troupe::test::bytes_in_use();
  INFO(before << " bytes before, " << full << " with " << workers << " workers, " << after
              << " without them");
  if (troupe::test::counts_bytes()) {
    REQUIRE(full - before > workers * 200L);
    // What stays is the registry's table, and at most the slabs where cells are made next.
    REQUIRE(after - before < (full - before) / 3);
  }
  touch(0);
}

TEST_CASE("what a look-up reads of a worker lies in half a cache line", "[broker][memory]") {
  if (!TROUPE_POOL_FRAMES || sizeof(void*) != 8) return;
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  std::vector<troupe::proxy<empty>> held;
  std::set<std::uintptr_t> halves;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "nineteen letters " + std::to_string(10 + i % 90);
    held.push_back(broker.worker<empty>(key));
    const std::string_view kept = held.back().key();
    REQUIRE(kept == key);
    // Its class and the count of references come before the key.
    const auto key_begin = reinterpret_cast<std::uintptr_t>(kept.data());
    const std::uintptr_t begin = key_begin - sizeof(void*) - sizeof(std::uint32_t);
    constexpr std::uintptr_t half = troupe::cache_line_size / 2;
    REQUIRE(begin / half == (key_begin + kept.size() - 1) / half);
    halves.insert(begin / half);
  }
  // They are side by side, but for what lies between slabs.
  REQUIRE(halves.size() == 90);
  std::size_t gaps = 0;
  for (auto at = std::next(halves.begin()); at != halves.end(); ++at) {
    if (*at != *std::prev(at) + 1) ++gaps;
  }
  REQUIRE(gaps <= 1);
}

TEST_CASE("keys of all lengths are kept whole", "[broker][memory]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  std::vector<std::string> keys;
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 11, 12, 18, 19, 20, 21, 64,
                                                                   254, 255, 256, 257, 70'000}) {
    for (const char last : {'a', 'b', '\0', '\xff'}) {
      std::string key(size, 'x');
      if (!key.empty()) key.back() = last;
      keys.push_back(key);
    }
  }
  std::vector<troupe::proxy<empty>> held;
  for (const std::string& key : keys) held.push_back(broker.worker<empty>(key));
  for (std::size_t i = 0; i != keys.size(); ++i) {
    REQUIRE(held[i].key() == keys[i]);
    for (std::size_t j = 0; j != i; ++j) REQUIRE((held[i] == held[j]) == (keys[i] == keys[j]));
  }
}

}  // namespace memory_tests

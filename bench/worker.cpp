// SPDX-License-Identifier: MIT

// What does a worker cost: memory while idle, time to create, call once and remove?

#include "support/measure.hpp"

#include <malloc.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe.hpp>

namespace {

struct tiny : bench::counter {};

troupe::task<> touch(troupe::broker& broker, std::size_t first, std::size_t n) {
  for (std::size_t i = first; i < first + n; ++i) {
    const auto p = broker.worker<tiny>(std::to_string(i));
    co_await p.call<&tiny::add>(1);
  }
}

troupe::task<> churn(troupe::broker& broker, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::string key = std::to_string(i);
    {
      const auto p = broker.worker<tiny>(key);
      co_await p.call<&tiny::add>(1);
    }
    co_await broker.remove<tiny>(key);
  }
}

/// In steps of `stride`: one after the other, or so that no look-up helps the next one's caches.
double look_up(troupe::broker& broker, const std::vector<std::string>& keys, std::size_t stride) {
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      static_cast<void>(broker.worker<tiny>(keys[i * stride % keys.size()]));
    }
  });
}

/// The same of a map that is nobody else's: no lock, a counted pointer for each key.
using plain_map = std::unordered_map<std::string, std::shared_ptr<tiny>>;
double look_up_plainly(const plain_map& map, const std::vector<std::string>& keys,
                       std::size_t stride) {
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::shared_ptr<tiny> found = map.find(keys[i * stride % keys.size()])->second;
      if (!found) std::abort();
    }
  });
}

/// With what was mapped for itself.
std::size_t heap_in_use() {
  const auto heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  troupe::broker broker({.threads = 2});

  constexpr std::size_t count = 100'000;
  broker.run(touch(broker, 0, 1000));
  const std::size_t before = heap_in_use();
  broker.run(touch(broker, 1000, count));
  const double bytes = static_cast<double>(heap_in_use() - before) / count;
  std::printf("%-58s %10.1f bytes (heap, with actor, key and table)\n", "idle worker", bytes);

  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(std::to_string(1000 + i));
  plain_map map;
  for (const std::string& key : keys) map.emplace(key, std::make_shared<tiny>());
  for (const auto& [order, stride] : {std::pair("the same one", 0), std::pair("in order", 1),
                                      std::pair("all over memory", 7919)}) {
    const auto by = static_cast<std::size_t>(stride);
    const double plain = look_up_plainly(map, keys, by);
    const double hit = look_up(broker, keys, by);
    const std::string what = std::string("worker<A>(key), 100 000 keys, ") + order;
    bench::row(what.c_str(), hit, plain, "unordered_map");
    bench::row_scaled("", hit, 60, mutex);
  }
  broker.run(broker.terminate());

  bench::row_scaled("create, call once, remove",
                    bench::ns_per_op(100'000, [&](std::size_t n) { broker.run(churn(broker, n)); }),
                    1500, mutex);
}

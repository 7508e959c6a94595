// SPDX-License-Identifier: MIT

// What does a worker cost: memory while idle, time to create, call once and remove?

#include "support/measure.hpp"

#include <malloc.h>

#include <string>

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

std::size_t heap_in_use() { return mallinfo2().uordblks; }

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
  bench::row("worker<A>(key), 100 000 keys, the same one", look_up(broker, keys, 0), mutex,
             "mutex");
  bench::row("worker<A>(key), 100 000 keys, in order", look_up(broker, keys, 1), mutex, "mutex");
  bench::row("worker<A>(key), 100 000 keys, all over memory", look_up(broker, keys, 7919), mutex,
             "mutex");
  broker.run(broker.terminate());

  bench::row_scaled("create, call once, remove",
                    bench::ns_per_op(100'000, [&](std::size_t n) { broker.run(churn(broker, n)); }),
                    1500, mutex);
}

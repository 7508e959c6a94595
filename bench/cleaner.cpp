// SPDX-License-Identifier: MIT

// What does it cost to keep the number of workers down?

#include "support/measure.hpp"

#include <cstdlib>
#include <string>

#include <troupe.hpp>

namespace {

using worker = bench::counter;

troupe::task<> touch(troupe::broker& broker, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) {
    co_await broker.worker<worker>(std::to_string(i)).call<&worker::add>(1);
  }
}

troupe::task<> calls(troupe::proxy<worker> p, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_await p.call<&worker::add>(1);
}

/// Each call goes to another worker than the one before, so that each of them is a use to order.
troupe::task<> alternating_calls(troupe::proxy<worker> p, troupe::proxy<worker> q, std::size_t n) {
  for (std::size_t i = 0; i < n; i += 2) {
    co_await p.call<&worker::add>(1);
    co_await q.call<&worker::add>(1);
  }
}

double one_worker(troupe::broker& broker) {
  const auto p = broker.worker<worker>("p");
  return bench::ns_per_op(5'000'000, [&](std::size_t n) { broker.run(calls(p, n)); });
}

double two_workers(troupe::broker& broker) {
  const auto p = broker.worker<worker>("p");
  const auto q = broker.worker<worker>("q");
  return bench::ns_per_op(5'000'000,
                          [&](std::size_t n) { broker.run(alternating_calls(p, q, n)); });
}

/// Creation with a cleaner at its limit: each new worker costs an old one its place.
double under_pressure(std::size_t limit, std::size_t keys) {
  troupe::broker broker({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = limit})});
  broker.run(touch(broker, 0, limit));
  std::size_t next = limit;
  const double ns = bench::ns_per_op(
      keys / 4,
      [&](std::size_t n) {
        broker.run(touch(broker, next, next + n));
        next += n;
      },
      4);
  if (broker.worker_count() > limit) std::abort();
  return ns;
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  troupe::broker free({.threads = 1});
  troupe::broker limited({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = 1000})});
  const double without = one_worker(free);
  bench::row("call, no cleaner", without, mutex, "mutex");
  bench::row("call, lru_cleaner", one_worker(limited), without, "call without");
  const double turns = two_workers(free);
  bench::row("call of two workers in turn, no cleaner", turns, mutex, "mutex");
  bench::row("call of two workers in turn, lru_cleaner", two_workers(limited), turns,
             "call without");
  bench::row_scaled("create under pressure, 1 000 workers, 200 000 keys",
                    under_pressure(1000, 200'000), 2000, mutex);
  bench::row_scaled("create under pressure, 1 000 workers, 1 000 000 keys",
                    under_pressure(1000, 1'000'000), 2000, mutex);
}

// SPDX-License-Identifier: MIT

// What does it cost to keep the number of workers down?

#include "support/measure.hpp"

#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

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

/// Nanoseconds that the cleaner adds to a call, and the most it may add.
void added(const char* what, double with, double without, double mutex) {
  std::printf("%-58s %10.1f ns  %6.1f ns without\n", what, with, without);
  bench::row_scaled("... which adds", std::max(0.0, with - without), 2, mutex);
}

/// Creation with a cleaner at its limit: each new worker costs an old one its place. A million keys
/// by hundred thousands: the last are to cost what the first did.
void under_pressure(double mutex) {
  constexpr std::size_t limit = 1000, part = 100'000, parts = 10;
  troupe::broker broker({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = limit})});
  broker.run(touch(broker, 0, limit));
  std::vector<double> ns;
  std::vector<std::size_t> bytes;
  for (std::size_t i = 0; i < parts; ++i) {
    const std::size_t first = limit + i * part;
    const auto begin = std::chrono::steady_clock::now();
    broker.run(touch(broker, first, first + part));
    const auto end = std::chrono::steady_clock::now();
    ns.push_back(std::chrono::duration<double, std::nano>(end - begin).count() / part);
    bytes.push_back(troupe::resident_memory());
  }
  if (broker.worker_count() > limit) std::abort();
  const double mean = std::accumulate(ns.begin(), ns.end(), 0.0) / parts;
  bench::row_scaled("create under pressure, 1 000 workers, 1 000 000 keys", mean, 2000, mutex);
  bench::row("... the last 100 000", ns.back(), ns.front(), "the first", 1.5);
  std::printf("%-58s %10.2f MiB, after the first %.2f\n", "... resident memory after the last",
              static_cast<double>(bytes.back()) / (1 << 20),
              static_cast<double>(bytes.front()) / (1 << 20));
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  troupe::broker free({.threads = 1});
  troupe::broker limited({.threads = 1, .cleaner = troupe::lru_cleaner({.worker_count = 1000})});
  const double without = one_worker(free);
  bench::row("call, no cleaner", without, mutex, "mutex");
  added("call, lru_cleaner", one_worker(limited), without, mutex);
  const double turns = two_workers(free);
  bench::row("call of two workers in turn, no cleaner", turns, mutex, "mutex");
  added("call of two workers in turn, lru_cleaner", two_workers(limited), turns, mutex);
  under_pressure(mutex);
}

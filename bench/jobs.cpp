// SPDX-License-Identifier: MIT

// What does a job cost that does nothing, from the client to its result, on a network in memory?

#include "support/measure.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <vector>

#include <troupe.hpp>
#include <troupe/job.hpp>

namespace {
std::atomic<std::size_t> allocations{0};
}

[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

struct nothing {
  using params = int;
  using result = int;
  int operator()(int n) { return n; }
};

troupe::task<> plays(troupe::client& jobs, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) {
    const int one = co_await jobs.play<nothing>(1);
    if (one != 1) std::abort();
  }
}

troupe::task<> plays_together(troupe::client& jobs, std::size_t callers, std::size_t n) {
  troupe::task_scope scope;
  for (std::size_t i = 0; i != callers; ++i) scope.spawn(plays(jobs, n / callers));
  co_await scope.join();
}

troupe::task<> queue_all(troupe::client& jobs, std::size_t n) {
  troupe::job_id last;
  for (std::size_t i = 0; i != n; ++i) last = co_await jobs.queue<nothing>(1);
  static_cast<void>(co_await jobs.result<nothing>(last));
}

troupe::task<> timed(troupe::client& jobs, std::vector<double>& took) {
  for (double& t : took) {
    const auto begin = std::chrono::steady_clock::now();
    static_cast<void>(co_await jobs.play<nothing>(1));
    const auto end = std::chrono::steady_clock::now();
    t = std::chrono::duration<double, std::nano>(end - begin).count();
  }
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  troupe::broker broker({.threads = 2});
  troupe::memory_network net(broker.runs_on());
  troupe::workspace scripts;
  scripts.add<nothing>();
  troupe::composer c{net};
  troupe::instrument i{net, scripts, {.workers = 32}};
  troupe::client jobs{net, scripts};
  constexpr double limit = 1e9 / 300'000;
  const auto many = [&](std::size_t callers) {
    return bench::ns_per_op(
        200'000, [&](std::size_t n) { broker.run(plays_together(jobs, callers, n)); }, 5);
  };
  bench::row_scaled("play, one caller, two threads", many(1), limit, mutex);
  bench::row_scaled("play, 32 callers, two threads", many(32), limit, mutex);
  bench::row_scaled("queue, and run, results kept",
                    bench::ns_per_op(
                        100'000, [&](std::size_t n) { broker.run(queue_all(jobs, n)); }, 5),
                    limit, mutex);
  std::vector<double> took(50'000);
  const std::size_t before = allocations.load();
  broker.run(timed(jobs, took));
  const double each = static_cast<double>(allocations.load() - before) / 50'000;
  std::sort(took.begin(), took.end());
  bench::row_scaled("play, nothing else, the median", took[took.size() / 2], 10'000, mutex);
  std::printf("%-58s %10.1f ns\n", "play, nothing else, 99 of 100", took[took.size() * 99 / 100]);
  std::printf("%-58s %10.1f\n", "play, allocations", each);
}

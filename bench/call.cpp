// SPDX-License-Identifier: MIT

// What does an awaited call cost? Against an uncontended mutex around the same method, in one run.

#include "support/measure.hpp"

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include <troupe.hpp>

namespace {

std::atomic<std::size_t> allocations{0};

struct worker : bench::counter {
  [[gnu::noinline]] troupe::task<int> add_later(int a) {
    value += a;
    co_return value;
  }
};

troupe::task<> plain_calls(troupe::proxy<worker> p, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_await p.call<&worker::add>(1);
}

troupe::task<> coroutine_calls(troupe::proxy<worker> p, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_await p.call<&worker::add_later>(1);
}

/// Calls and checks that none overtook another: what comes back only grows.
troupe::task<> ordered_calls(troupe::proxy<worker> p, std::size_t n) {
  int last = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const int now = co_await p.call<&worker::add>(1);
    if (now <= last) std::abort();
    last = now;
  }
}

template <class Calls>
std::size_t allocations_of(troupe::broker& broker, Calls calls, troupe::proxy<worker> p) {
  broker.run(calls(p, 1000));
  const std::size_t one_root = [&] {
    const std::size_t before = allocations.load();
    broker.run(calls(p, 0));
    return allocations.load() - before;
  }();
  const std::size_t before = allocations.load();
  broker.run(calls(p, 100'000));
  return allocations.load() - before - one_root;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

int main() {
  troupe::broker broker({.threads = 2});
  const auto p = broker.worker<worker>("a");
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);

  const double plain =
      bench::ns_per_op(5'000'000, [&](std::size_t n) { broker.run(plain_calls(p, n)); });
  bench::row("call, idle worker, plain method", plain, mutex, "mutex", 1.5);

  const double below = bench::ns_per_op(5'000'000, [&](std::size_t n) {
    broker.run(troupe::when_all(plain_calls(p, n), plain_calls(p, 0)));
  });
  bench::row("the same below when_all, which can be stopped", below, plain, "plain call", 2);

  const double coroutine =
      bench::ns_per_op(2'000'000, [&](std::size_t n) { broker.run(coroutine_calls(p, n)); });
  bench::row("call, idle worker, coroutine method", coroutine, plain, "plain call", 5);

  const double outside = bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) troupe::sync_wait(p.call<&worker::add>(1));
  });
  bench::row("call from outside, sync_wait", outside, plain, "plain call", 10);

  const double two_callers = bench::ns_per_op(4'000'000, [&](std::size_t n) {
    broker.run(troupe::when_all(ordered_calls(broker.worker<worker>(std::to_string(n)), n / 2),
                                ordered_calls(broker.worker<worker>(std::to_string(n)), n / 2)));
    broker.run(broker.remove<worker>(std::to_string(n)));
  });
  bench::row("one worker, two coroutines on two threads", two_callers, plain, "plain call", 3);

  const double two_threads = bench::ns_per_op(4'000'000, [&](std::size_t n) {
    const auto shared = broker.worker<worker>(std::to_string(n));
    std::thread other([&] { broker.run(ordered_calls(shared, n / 2)); });
    broker.run(ordered_calls(shared, n / 2));
    other.join();
    const int total = troupe::sync_wait(shared.call<&worker::add>(0));
    if (total != static_cast<int>(n / 2 * 2)) std::abort();
    broker.run(broker.remove<worker>(std::to_string(n)));
  });
  bench::row("one worker, two threads from outside", two_threads, plain, "plain call", 3);

  std::printf("%-58s %10zu in 100000\n", "allocations, plain calls",
              allocations_of(broker, plain_calls, p));
  std::printf("%-58s %10zu in 100000\n", "allocations, coroutine calls",
              allocations_of(broker, coroutine_calls, p));
}

// SPDX-License-Identifier: MIT

// Does anybody starve? Four ping-pong pairs and two endless call loops on two threads; meanwhile a
// seventh actor is called, a bystander sleeps, and afterwards idle threads use no CPU.

#include "support/measure.hpp"

#include <sys/resource.h>

#include <atomic>
#include <thread>

#include <troupe.hpp>

using namespace std::chrono_literals;

namespace {

struct pong : bench::counter {};

struct ping {
  explicit ping(troupe::context& c) : ctx(c) {}
  troupe::task<> play(std::string other) {
    const auto to = ctx.worker<pong>(other);
    troupe::stop_token stop = co_await troupe::this_task::stop_token();
    while (!stop.stop_requested()) co_await to.call<&pong::add>(1);
  }
  troupe::context& ctx;
};

troupe::task<> pair(troupe::broker& broker, std::string key) {
  const auto p = broker.worker<ping>(key);
  co_await p.call<&ping::play>(key);
}

troupe::task<> endless(troupe::broker& broker, std::string key) {
  const auto p = broker.worker<pong>(key);
  troupe::stop_token stop = co_await troupe::this_task::stop_token();
  while (!stop.stop_requested()) co_await p.call<&pong::add>(1);
}

double cpu_ms() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto ms = [](timeval t) { return 1e3 * double(t.tv_sec) + 1e-3 * double(t.tv_usec); };
  return ms(u.ru_utime) + ms(u.ru_stime);
}

using clock = std::chrono::steady_clock;
double us_since(clock::time_point t) {
  return std::chrono::duration<double, std::micro>(clock::now() - t).count();
}

troupe::task<> observe(troupe::broker& broker, std::vector<double>& calls,
                       std::vector<double>& sleeps) {
  const auto p = broker.worker<pong>("seventh");
  for (int i = 0; i < 20'000; ++i) {
    const auto begin = clock::now();
    co_await p.call<&pong::add>(1);
    calls.push_back(us_since(begin));
    if (i % 8 == 0) co_await troupe::yield();
    if (i % 500 == 0) {
      const auto asleep = clock::now();
      co_await troupe::sleep_for(5ms);
      sleeps.push_back(us_since(asleep) - 5000);
    }
  }
}

troupe::task<> load(troupe::broker& broker, std::vector<double>& calls,
                    std::vector<double>& sleeps) {
  troupe::task_scope scope;
  for (int i = 0; i < 4; ++i) scope.spawn(pair(broker, "pair" + std::to_string(i)));
  for (int i = 0; i < 2; ++i) scope.spawn(endless(broker, "loop" + std::to_string(i)));
  troupe::task_scope watched;
  watched.spawn(observe(broker, calls, sleeps));
  co_await watched.join();
  scope.request_stop();
  troupe::result<void> stopped = co_await troupe::as_result(scope.join());
}

double at(std::vector<double> v, double quantile) {
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(quantile * static_cast<double>(v.size() - 1))];
}

}  // namespace

int main() {
  troupe::broker broker({.threads = 2});
  std::vector<double> calls;
  std::vector<double> sleeps;
  broker.run(load(broker, calls, sleeps));
  std::printf("call under load, us: p50 %.1f  p99 %.1f (at most 1000)  p99.9 %.1f  max %.1f\n",
              at(calls, 0.5), at(calls, 0.99), at(calls, 0.999), at(calls, 1));
  std::printf("sleep_for(5ms) late by, us: p50 %.0f  max %.0f (at most 20000)\n", at(sleeps, 0.5),
              at(sleeps, 1));
  std::this_thread::sleep_for(100ms);
  const double before = cpu_ms();
  std::this_thread::sleep_for(2s);
  std::printf("CPU of two idle threads in 2 s: %.2f ms\n", cpu_ms() - before);
}

// SPDX-License-Identifier: MIT
// What a call of a module costs that runs in this process: loaded already (hot), and to be loaded
// for it (cold). The baselines are a call of a worker of the same broker, and the bare dynamic
// linker with the same library, in the same run.

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <troupe.hpp>
#include <troupe/function.hpp>

#include "support/measure.hpp"

namespace {

constexpr troupe::function_request add{
    .module = "bench_module", .version = "v1.0.0", .func = "add"};

struct adder {
  double add(double a, double b) { return a + b; }
};

/// The distribution of single times, in nanoseconds.
class times {
public:
  explicit times(std::size_t expected) { all_.reserve(expected); }
  void note(troupe::duration d) { all_.push_back(static_cast<double>(d.count())); }
  double at(double share) {
    std::sort(all_.begin(), all_.end());
    return all_[static_cast<std::size_t>(share * static_cast<double>(all_.size() - 1))];
  }
  double average() const {
    double sum = 0;
    for (const double one : all_) sum += one;
    return sum / static_cast<double>(all_.size());
  }

private:
  std::vector<double> all_;
};

void print(const char* what, times& t, const char* unit, double per_unit) {
  std::printf("%-46s Min %9.3f  P50 %9.3f  Avg %9.3f  P95 %9.3f %s\n", what, t.at(0) / per_unit,
              t.at(0.5) / per_unit, t.average() / per_unit, t.at(0.95) / per_unit, unit);
}

/// Batches, because the clock takes as long as a call.
constexpr int batch = 16;

troupe::task<> call_hot(troupe::function_host& host, times& t, int rounds) {
  double sum = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = troupe::steady_now();
    for (int k = 0; k < batch; ++k) sum += co_await host.trigger<double>(add, 2.0, 3.0);
    t.note((troupe::steady_now() - begin) / batch);
  }
  if (sum < 1) std::printf("impossible\n");
}

troupe::task<> call_worker(troupe::broker& b, times& t, int rounds) {
  auto worker = b.worker<adder>();
  double sum = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = troupe::steady_now();
    for (int k = 0; k < batch; ++k) sum += co_await worker.call<&adder::add>(2.0, 3.0);
    t.note((troupe::steady_now() - begin) / batch);
  }
  if (sum < 1) std::printf("impossible\n");
}

troupe::task<> call_cold(troupe::function_host& host, times& t, int rounds) {
  co_await host.terminate();
  for (int i = 0; i < rounds; ++i) {
    const auto begin = troupe::steady_now();
    static_cast<void>(co_await host.trigger<double>(add, 2.0, 3.0));
    t.note(troupe::steady_now() - begin);
    co_await host.terminate();
  }
}

void open_bare(const std::string& path, times& t, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const auto begin = troupe::steady_now();
    void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    t.note(troupe::steady_now() - begin);
    if (handle != nullptr) ::dlclose(handle);
  }
}

}  // namespace

int main() {
  const std::string path = std::string(TROUPE_BENCH_MODULES) + "/bench_module-v1.0.0.so";
  troupe::broker broker({.threads = 1});
  troupe::function_host_options options;
  options.kept = troupe::isolation::in_process;
  troupe::function_host host(broker, options);
  host.define_loader([path](std::string_view, std::string_view) { return path; });

  constexpr int rounds = 20'000;
  times warm_up(rounds);
  broker.run(call_hot(host, warm_up, rounds / 10));
  times worker(rounds);
  broker.run(call_worker(broker, worker, rounds));
  print("call of a worker of this program", worker, "us", 1e3);
  times hot(rounds);
  broker.run(call_hot(host, hot, rounds));
  print("hot trigger, in process (p50 at most 1 us)", hot, "us", 1e3);

  constexpr int starts = 500;
  times bare(starts);
  open_bare(path, bare, starts);
  print("dlopen alone", bare, "ms", 1e6);
  times cold(starts);
  broker.run(call_cold(host, cold, starts));
  print("cold trigger, in process (p50 at most 0.5 ms)", cold, "ms", 1e6);

  bench::row("hot trigger (p50)", hot.at(0.5), worker.at(0.5), "a call of a worker");
  bench::row("cold trigger (p50)", cold.at(0.5), bare.at(0.5), "dlopen");
}

// SPDX-License-Identifier: MIT
// Prints the traces of a few runs, for who compares them with those of another process or another
// compiler.

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <troupe.hpp>

namespace print_traces {

using troupe::task;

struct counter {
  int get() const { return value; }
  void set(int v) { value = v; }
  task<int> add_slowly(int v) {
    co_await troupe::sleep_for(std::chrono::milliseconds(v));
    co_return value += v;
  }
  int value = 0;
};

struct blocking {
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
  int wait(int v) {
    troupe::sync_wait(troupe::sleep_for(std::chrono::milliseconds(v)));
    return v;
  }
};

task<> client(troupe::broker& broker, int number) {
  for (int i = 0; i < 5; ++i) {
    const auto mine = broker.worker<counter>(std::to_string((number + i) % 7));
    const int before = co_await mine.call<&counter::get>();
    co_await mine.call<&counter::set>(before + 1);
    static_cast<void>(co_await mine.call<&counter::add_slowly>(i));
    const auto aside = broker.worker<blocking>(std::to_string(i % 2));
    const int waited = co_await aside.call<&blocking::wait>(i);
    const int more = co_await troupe::offload([waited] { return waited + 1; });
    if (more == 3) static_cast<void>(co_await broker.remove<counter>(std::to_string(i)));
  }
}

task<int> program(troupe::broker& broker) {
  co_await troupe::when_all(client(broker, 1), client(broker, 2), client(broker, 3));
  int sum = 0;
  for (int key = 0; key < 7; ++key) {
    const auto worker = broker.worker<counter>(std::to_string(key));
    const int value = co_await worker.call<&counter::get>();
    sum = 10 * sum + value;
  }
  co_await broker.terminate();  // in the order of the registry
  co_return sum;
}

}  // namespace print_traces

int main() {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    troupe::sim_executor sim({.seed = seed, .buggify = seed % 2 == 0});
    int sum = 0;
    {
      troupe::broker broker({.on = &sim});
      sum = sim.run(print_traces::program(broker));
    }
    std::printf("%" PRIu64 ": %016" PRIx64 ", %" PRIu64 " steps, %d, %" PRId64 "\n", seed,
                sim.trace_hash(), sim.steps(), sum,
                static_cast<std::int64_t>(sim.now().time_since_epoch().count()));
  }
}

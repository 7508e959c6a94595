// SPDX-License-Identifier: MIT

// What does a one-way message cost, sent and run?

#include "support/measure.hpp"

#include <string>
#include <vector>

#include <troupe.hpp>

namespace {

struct sink : bench::counter {
  static constexpr troupe::actor_options options{.mailbox_capacity = 4096};
};

constexpr std::size_t burst = 1000;

/// Sends bursts of tells, each followed by a call, so that the mailbox is bounded and all are run.
troupe::task<> bursts(troupe::proxy<sink> to, std::size_t n) {
  for (std::size_t sent = 0; sent < n; sent += burst) {
    for (std::size_t i = 0; i < burst; ++i) {
      if (!to.tell<&sink::add>(1)) std::abort();
    }
    co_await to.call<&sink::add>(0);
  }
}

troupe::task<> four_tellers(troupe::proxy<sink> to, std::size_t n) {
  std::vector<troupe::task<>> tellers;
  for (int i = 0; i < 4; ++i) tellers.push_back(bursts(to, n / 4));
  co_await troupe::when_all(std::move(tellers));
}

double measure(troupe::broker& broker, bool four) {
  const auto to = broker.worker<sink>("sink");
  return bench::ns_per_op(2'000'000, [&](std::size_t n) {
    n = (n + 4 * burst - 1) / (4 * burst) * (4 * burst);
    troupe::task_scope scope;
    scope.spawn(four ? four_tellers(to, n) : bursts(to, n));
    broker.run(scope.join());
  });
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  {
    troupe::broker broker({.threads = 1});
    bench::row_scaled("tell, same thread", measure(broker, false), 40, mutex);
  }
  {
    troupe::broker broker({.threads = 2});
    bench::row_scaled("tell, one teller, two threads", measure(broker, false), 120, mutex);
    bench::row_scaled("tell, four tellers, two threads", measure(broker, true), 120, mutex);
  }
}

// SPDX-License-Identifier: MIT

// What does it cost to look? Calls and tells with nobody looking, with an observer, with the debug
// log switched off, and with waits measured, in one run.

#include "support/measure.hpp"

#include <cstdlib>

#include <troupe.hpp>

namespace {

constexpr std::size_t burst = 64;

troupe::task<> calls(troupe::proxy<bench::counter> to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_await to.call<&bench::counter::add>(1);
}

/// Bursts of tells, each followed by a call, so that the mailbox is bounded and all are run.
troupe::task<> tells(troupe::proxy<bench::counter> to, std::size_t n) {
  for (std::size_t sent = 0; sent < n; sent += burst) {
    for (std::size_t i = 0; i < burst; ++i) {
      if (!to.tell<&bench::counter::add>(1)) std::abort();
    }
    co_await to.call<&bench::counter::add>(0);
  }
}

double measure(const troupe::broker_options& options, bool tell) {
  troupe::broker broker(options);
  const auto to = broker.worker<bench::counter>("a");
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    troupe::task_scope scope;
    scope.spawn(tell ? tells(to, n) : calls(to, n));
    broker.run(scope.join());
  });
}

}  // namespace

int main() {
  troupe::observer silent;
  troupe::debug_log log;  // switched off
  const double call = measure({.threads = 1}, false);
  std::printf("%-58s %10.1f ns\n", "call, idle worker, nobody looks", call);
  bench::row("call, an observer that does nothing",
             measure({.threads = 1, .observe = &silent}, false), call, "nobody");
  bench::row("call, the debug log switched off", measure({.threads = 1, .observe = &log}, false),
             call, "nobody");
  bench::row("call, waits are measured", measure({.threads = 1, .measure_waits = true}, false),
             call, "nobody");
  const double tell = measure({.threads = 1}, true);
  std::printf("%-58s %10.1f ns\n", "tell, nobody looks", tell);
  bench::row("tell, an observer that does nothing",
             measure({.threads = 1, .observe = &silent}, true), tell, "nobody");
  bench::row("tell, waits are measured", measure({.threads = 1, .measure_waits = true}, true), tell,
             "nobody");
}

// SPDX-License-Identifier: MIT
// The waiter goes as soon as it has been notified, and not while it still is.

#include <model/checker/checker.hpp>

#include <troupe/coro/home.hpp>

#include <memory>

namespace {

namespace model = troupe::model;

void notified() {
  auto w = std::make_unique<troupe::waiter>();
  troupe::waiter& shared = *w;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        shared.notify();
      },
      [&] {
        w->wait();
        model::check(data.get() == 1, "notified without what was written before");
        w.reset();
      });
}

/// Who only looks needs no permit, and may go just as soon.
void looked_at() {
  auto w = std::make_unique<troupe::waiter>();
  troupe::waiter& shared = *w;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        shared.notify();
      },
      [&] {
        while (!w->done()) troupe::detail::cpu_relax();
        model::check(data.get() == 1, "notified without what was written before");
        w.reset();
      });
}

const model::scenario all[] = {
    {"waiter.notified", notified, {.preemptions = 5, .stale_reads = 3, .spurious = 1}},
    {"waiter.looked_at", looked_at, {.preemptions = 5, .stale_reads = 3}}};

}  // namespace

// SPDX-License-Identifier: MIT
// A permit is not lost, is taken once, and brings with it what was written before.

#include <model/checker/checker.hpp>

#include <troupe/sync/parker.hpp>

#include <chrono>
#include <memory>

namespace {

namespace model = troupe::model;
using troupe::parker;
constexpr auto soon = std::chrono::steady_clock::time_point() + std::chrono::seconds(1);

/// The parker is gone as soon as `park` has returned.
void permit() {
  auto p = std::make_unique<parker>();
  parker& shared = *p;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        shared.unpark();
      },
      [&] {
        p->park();
        model::check(data.get() == 1, "the permit came without what was written before");
        p.reset();
      });
}

/// Two rounds: no permit of the first is left for the second.
void rounds() {
  parker there;
  parker back;
  model::var<int> data(0);
  model::run(
      [&] {
        for (int i = 1; i != 3; ++i) {
          data.set(i);
          there.unpark();
          back.park();
        }
      },
      [&] {
        for (int i = 1; i != 3; ++i) {
          there.park();
          model::check(data.get() == i, "a round was skipped");
          back.unpark();
        }
      });
}

/// Whatever the time limit does, the permit is taken by one of the two waits.
void limited() {
  parker p;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        p.unpark();
      },
      [&] {
        const bool in_time = p.park_until(soon);
        if (!in_time) p.park();
        model::check(data.get() == 1, "the permit came without what was written before");
        model::check(!p.park_until(soon), "a permit was taken twice");
      });
}

/// Permits do not add up, and many who give them need no order among them.
void several() {
  parker p;
  model::var<int> first(0);
  model::var<int> second(0);
  troupe::detail::atomic<int> given{0};
  model::run(
      [&] {
        first.set(1);
        given.fetch_add(1, troupe::detail::order::relaxed);
        p.unpark();
      },
      [&] {
        second.set(1);
        given.fetch_add(1, troupe::detail::order::relaxed);
        p.unpark();
      },
      [&] {
        while (given.load(troupe::detail::order::relaxed) != 2) p.park();
      });
}

const model::scenario all[] = {
    {"parker.permit", permit, {.preemptions = 4, .spurious = 1}},
    {"parker.rounds", rounds, {.preemptions = 3}},
    {"parker.limited", limited, {.preemptions = 4, .spurious = 1, .timeouts = 3}},
    {"parker.several", several, {.preemptions = 2}}};

}  // namespace

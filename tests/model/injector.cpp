// SPDX-License-Identifier: MIT
// Every element comes out once, in the order of its producer, with what it points to; and nobody
// goes to sleep beside an element.

#include <model/checker/checker.hpp>

#include <troupe/sync/injector.hpp>

#include <cstdint>

namespace {

namespace model = troupe::model;
namespace order = troupe::detail::order;

struct item {
  item* next = nullptr;
  model::var<int> payload{0};
  int taken = 0;
};

struct world {
  troupe::injector<item, &item::next> queue;
  item items[4];
  int newest_of_first = 0;  // the last one taken of the producer of 0 and 1

  void push(int i) {
    items[i].payload.set(i + 1);
    queue.push(items[i]);
  }
  void take(item* i) {
    if (i == nullptr) return;
    model::check(i->payload.get() == static_cast<int>(i - items) + 1, "half an element");
    ++i->taken;
  }
  void end(int pushed) {
    while (item* const i = queue.pop()) take(i);
    for (int i = 0; i != pushed; ++i) model::check(items[i].taken == 1, "not taken exactly once");
  }
};

void two_producers() {
  world w;
  model::run(
      [&] {
        w.push(0);
        w.push(1);
      },
      [&] { w.push(2); },
      [&] {
        item* taken[2];
        for (int round = 0; round != 2; ++round) {
          const std::size_t count = w.queue.pop_some(taken, 2);
          for (std::size_t i = 0; i != count; ++i) {
            w.take(taken[i]);
            if (taken[i] == &w.items[1]) model::check(w.items[0].taken == 1, "out of order");
          }
        }
      });
  w.end(3);
}

void two_consumers() {
  world w;
  w.push(0);
  model::run([&] { w.push(1); }, [&] { w.take(w.queue.pop()); }, [&] { w.take(w.queue.pop()); });
  w.end(2);
}

/// The promise of `empty_hint`: of an announcement before the look, and a push before the look for
/// announcements, one is seen.
void nobody_sleeps() {
  world w;
  troupe::detail::atomic<bool> asleep{false};
  bool slept = false;
  bool woken = false;
  model::run(
      [&] {
        w.push(0);
        woken = asleep.load(order::seq_cst);
      },
      [&] {
        asleep.store(true, order::seq_cst);
        slept = w.queue.empty_hint();
      });
  model::check(!slept || woken, "asleep beside an element");
  w.end(1);
}

/// The same while another consumer moves the elements from the stack to the queue.
void nobody_sleeps_beside_a_consumer() {
  world w;
  troupe::detail::atomic<bool> asleep{false};
  bool slept = false;
  bool woken = false;
  model::run(
      [&] {
        w.push(0);
        w.push(1);
        woken = asleep.load(order::seq_cst);
      },
      [&] { w.take(w.queue.pop()); },
      [&] {
        asleep.store(true, order::seq_cst);
        slept = w.queue.empty_hint();
        if (slept) model::note(1);
      });
  const bool left = w.items[0].taken + w.items[1].taken != 2;
  model::check(!slept || woken || !left, "asleep beside an element");
  w.end(2);
}

const model::scenario all[] = {
    {"injector.two_producers", two_producers, {.preemptions = 2}},
    {"injector.two_consumers", two_consumers, {.preemptions = 2, .spurious = 1}},
    {"injector.nobody_sleeps", nobody_sleeps, {.preemptions = 4, .spurious = 1}},
    {"injector.beside_a_consumer",
     nobody_sleeps_beside_a_consumer,
     {.preemptions = 3, .stale_reads = 3}}};

}  // namespace

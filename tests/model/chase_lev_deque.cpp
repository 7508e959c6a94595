// SPDX-License-Identifier: MIT
// Every element comes out once, with what it points to.

#include <model/checker/checker.hpp>

#include <troupe/sync/chase_lev_deque.hpp>

namespace {

namespace model = troupe::model;

struct item {
  model::var<int> payload{0};
  int taken = 0;
};

template <int Items, std::size_t Capacity>
struct world {
  troupe::chase_lev_deque<item, Capacity> deque;
  item items[Items];

  bool push(int i) {
    items[i].payload.set(i + 1);
    return deque.push(&items[i]);
  }
  void take(item* i) {
    if (i == nullptr) return;
    model::check(i->payload.get() == static_cast<int>(i - items) + 1, "half an element");
    ++i->taken;
  }
  void steal() { take(deque.steal().get()); }
  void pop() { take(deque.pop()); }
  void end() {
    while (item* const i = deque.pop()) take(i);
    for (const item& i : items) model::check(i.taken == 1, "not taken exactly once");
  }
};

/// The owner pushes and pops while one thief steals.
void one_thief() {
  world<2, 2> w;
  model::run(
      [&] {
        w.push(0);
        w.push(1);
        w.pop();
        w.pop();
      },
      [&] {
        w.steal();
        w.steal();
      });
  w.end();
}

void two_thieves() {
  world<2, 2> w;
  w.push(0);
  model::run(
      [&] {
        w.push(1);
        w.pop();
      },
      [&] { w.steal(); }, [&] { w.steal(); });
  w.end();
}

/// The last element, fought for by the owner and two thieves.
void last_element() {
  world<1, 2> w;
  w.push(0);
  model::run([&] { w.pop(); }, [&] { w.steal(); }, [&] { w.steal(); });
  w.end();
}

/// Two elements; a thief that is late by one must not take what the owner took without a claim.
void two_left() {
  world<2, 2> w;
  w.push(0);
  w.push(1);
  model::run(
      [&] {
        w.pop();
        w.pop();
      },
      [&] { w.steal(); }, [&] { w.steal(); });
  w.end();
}

/// Slots are used again: a push overwrites what a thief has taken.
void wraps() {
  world<4, 2> w;
  w.push(0);
  w.push(1);
  model::run(
      [&] {
        for (int i = 2; i != 4;) {
          if (w.push(i)) {
            ++i;
          } else {
            w.pop();
          }
        }
      },
      [&] {
        w.steal();
        w.steal();
      });
  w.end();
}

/// Who has seen that an element was taken may look: the hint is not older than that.
void hint() {
  world<1, 2> w;
  w.push(0);
  troupe::detail::atomic<bool> is_taken{false};
  model::run(
      [&] {
        w.steal();
        is_taken.store(true, troupe::detail::order::release);
      },
      [&] {
        if (is_taken.load(troupe::detail::order::acquire)) {
          model::check(w.deque.empty_hint(), "the hint is older than what was known");
        }
      });
  w.end();
}

constexpr model::limits bounds{.preemptions = 3, .stale_reads = 3};

const model::scenario all[] = {{"chase_lev_deque.one_thief", one_thief, bounds},
                               {"chase_lev_deque.two_thieves", two_thieves, bounds},
                               {"chase_lev_deque.last_element", last_element, bounds},
                               {"chase_lev_deque.two_left", two_left, bounds},
                               {"chase_lev_deque.wraps", wraps, bounds},
                               {"chase_lev_deque.hint", hint, bounds}};

}  // namespace

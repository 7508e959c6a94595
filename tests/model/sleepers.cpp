// SPDX-License-Identifier: MIT
// Nobody sleeps beside work: the threads of a pool in small, with the real queues, the real event
// count and the real parkers, and the steps of thread_pool in their order.

#include <model/checker/checker.hpp>

#include <troupe/exec/sleepers.hpp>
#include <troupe/sync/chase_lev_deque.hpp>
#include <troupe/sync/injector.hpp>
#include <troupe/sync/parker.hpp>

#include <cstdint>
#include <utility>

namespace {

namespace model = troupe::model;
using troupe::detail::sleepers;

struct item {
  item* next = nullptr;
  model::var<int> payload{0};
  int taken = 0;
};

struct pool {
  explicit pool(std::uint32_t threads) : asleep(threads) {}

  troupe::injector<item, &item::next> injected;
  troupe::chase_lev_deque<item, 4> deques[2];  // one of each thread
  sleepers asleep;
  troupe::parker sleep[2];
  item items[3];

  void notify() {
    const std::uint32_t index = asleep.wake_one();
    if (index != sleepers::nobody) sleep[index].unpark();
  }
  void inject(int i, int value) {
    items[i].payload.set(value);
    injected.push(items[i]);
    notify();
  }
  void fork(std::uint32_t self, int i, int value) {
    items[i].payload.set(value);
    push(self, &items[i]);
  }
  void push(std::uint32_t self, item* i) {
    model::check(deques[self].push(i), "the deque is full");
    notify();
  }

  item* take_injected(std::uint32_t self) {
    item* taken[2];
    const std::size_t count = injected.pop_some(taken, 2);
    if (count == 2) push(self, taken[1]);
    return count != 0 ? taken[0] : nullptr;
  }
  item* search(std::uint32_t self) {
    if (item* const i = deques[1 - self].steal().get()) return i;
    return injected.pop();
  }
  bool anything_ready() const {
    return !injected.empty_hint() || !deques[0].empty_hint() || !deques[1].empty_hint();
  }

  /// Takes `count` items, and sleeps in between, as thread_pool::work does.
  void work(std::uint32_t self, int count) {
    bool searching = false;
    while (count != 0) {
      item* found = deques[self].empty_hint() ? nullptr : deques[self].pop();
      if (found == nullptr) found = take_injected(self);
      if (found == nullptr) {
        searching = searching || asleep.begin_search();
        if (searching) found = search(self);
      }
      if (found != nullptr) {
        if (std::exchange(searching, false)) {
          asleep.end_search();
          if (anything_ready()) notify();
        }
        ++found->taken;
        model::check(found->payload.get() != 0, "half an item");
        --count;
        continue;
      }
      asleep.enter(self, std::exchange(searching, false));
      const bool stays = anything_ready();
      if (!stays) sleep[self].park();
      searching = !asleep.leave(self);
      if (stays && !searching) troupe::detail::cpu_relax();  // the other one searches: it will find
    }
    if (searching) asleep.end_search();
  }
};

/// One sleeper, one outsider that adds.
void injected() {
  pool p(1);
  model::run([&] { p.work(0, 2); },
             [&] {
               p.inject(0, 1);
               p.inject(1, 2);
             });
  model::check(p.items[0].taken + p.items[1].taken == 2, "an item was lost");
}

/// One sleeper, one thread that adds to its own deque.
void forked() {
  pool p(1);
  model::run([&] { p.work(0, 2); },
             [&] {
               p.fork(1, 0, 1);
               p.fork(1, 1, 2);
             });
  model::check(p.items[0].taken + p.items[1].taken == 2, "an item was lost");
}

/// Two threads search and sleep. What one of them adds last must reach the other: it has taken
/// itself what it waits for, so it would not look again.
void two_threads() {
  pool p(2);
  model::run([&] { p.work(0, 1); }, [&] { p.work(1, 1); },
             [&] {
               p.inject(0, 1);
               p.inject(1, 2);
             });
  model::check(p.items[0].taken + p.items[1].taken == 2, "an item was lost");
}

/// The bare rule: of work made visible before the look for sleepers, and an announcement before the
/// look for work, one is seen.
void rule() {
  sleepers s(1);
  troupe::chase_lev_deque<item, 2> deque;
  item i;
  bool slept = false;
  std::uint32_t woken = sleepers::nobody;
  model::run(
      [&] {
        static_cast<void>(deque.push(&i));
        woken = s.wake_one();
      },
      [&] {
        s.enter(0, false);
        slept = deque.empty_hint();
      });
  model::check(!slept || woken == 0, "asleep beside an item");
}

/// The same where the announcement ends a search.
void rule_after_search() {
  sleepers s(1);
  troupe::chase_lev_deque<item, 2> deque;
  item i;
  bool slept = false;
  std::uint32_t woken = sleepers::nobody;
  model::run(
      [&] {
        static_cast<void>(deque.push(&i));
        woken = s.wake_one();
      },
      [&] {
        const bool searches = s.begin_search();
        if (!deque.empty_hint()) return;
        s.enter(0, searches);
        slept = deque.empty_hint();
      });
  model::check(!slept || woken == 0, "asleep beside an item");
}

/// One who ends its search hands over what others have added meanwhile.
void search_handed_on() {
  sleepers s(2);
  troupe::chase_lev_deque<item, 2> deque;
  item i;
  s.enter(1, false);  // sleeps
  model::check(s.begin_search(), "nobody searches");
  std::uint32_t woken_by_adder = sleepers::nobody;
  std::uint32_t woken_by_searcher = sleepers::nobody;
  model::run(
      [&] {
        static_cast<void>(deque.push(&i));
        woken_by_adder = s.wake_one();
      },
      [&] {
        s.end_search();
        if (!deque.empty_hint()) woken_by_searcher = s.wake_one();
      });
  model::check(woken_by_adder == 1 || woken_by_searcher == 1, "nobody searches beside an item");
}

/// The observer sleeps when all do: who leaves afterwards sees that it must be woken.
void counted() {
  sleepers s(1);
  s.enter(0, false);
  troupe::detail::atomic<bool> observer_sleeps{false};
  bool slept = false;
  bool woken = false;
  model::run(
      [&] {
        observer_sleeps.store(true, troupe::detail::order::seq_cst);
        slept = s.count() == 1;
      },
      [&] {
        s.leave(0);
        woken = observer_sleeps.load(troupe::detail::order::seq_cst);
      });
  model::check(!slept || woken, "the observer sleeps while a thread is awake");
}

const model::scenario all[] = {
    {"sleepers.rule", rule, {.preemptions = 5, .stale_reads = 5}},
    {"sleepers.rule_after_search", rule_after_search, {.preemptions = 5, .stale_reads = 5}},
    {"sleepers.search_handed_on", search_handed_on, {.preemptions = 5, .stale_reads = 5}},
    {"sleepers.counted", counted, {.preemptions = 5, .stale_reads = 5}},
    {"sleepers.injected", injected, {.preemptions = 2, .executions = 300'000, .draws = 50'000}},
    {"sleepers.forked", forked, {.preemptions = 2, .executions = 300'000, .draws = 50'000}},
    {"sleepers.two_threads",
     two_threads,
     {.preemptions = 1, .executions = 200'000, .draws = 100'000}}};

}  // namespace

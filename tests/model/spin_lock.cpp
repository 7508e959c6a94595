// SPDX-License-Identifier: MIT
// What is written under the lock is seen under the lock, and by nobody else.

#include <model/checker/checker.hpp>

#include <troupe/sync/spin_lock.hpp>

namespace {

namespace model = troupe::model;

void counted() {
  troupe::spin_lock lock;
  model::var<int> count(0);
  const auto twice = [&] {
    for (int i = 0; i != 2; ++i) {
      const troupe::spin_guard guard(lock);
      count.set(count.get() + 1);
    }
  };
  model::run(twice, twice);
  model::check(count.get() == 4, "a section was lost");
}

void tried() {
  troupe::spin_lock lock;
  model::var<int> count(0);
  int taken = 0;
  const auto once = [&] {
    if (!lock.try_lock()) return;
    count.set(count.get() + 1);
    ++taken;
    lock.unlock();
  };
  model::run(once, once, once);
  model::check(count.get() == taken && taken != 0, "a section was lost");
}

const model::scenario all[] = {{"spin_lock.counted", counted, {.preemptions = 3}},
                               {"spin_lock.tried", tried, {.preemptions = 3}}};

}  // namespace

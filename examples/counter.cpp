// SPDX-License-Identifier: MIT
// One class, many workers: each key has an instance of its own, and a worker runs one method at a
// time, so its state needs no lock.
#include <iostream>
#include <stdexcept>
#include <troupe.hpp>

struct counter {
  int add(int n) {
    if (n < 0) throw std::invalid_argument("a counter only goes up");
    return value += n;
  }
  int get() const { return value; }

  int value = 0;
};
TROUPE_METHODS(counter, add, get)

// 1000 calls, one after the other.
troupe::task<> count_to_1000(troupe::proxy<counter> target) {
  for (int i = 0; i < 1000; ++i) co_await target->add(1);
}

troupe::task<> count(troupe::broker& broker) {
  auto apples = broker.worker<counter>("apples");
  auto pears = broker.worker<counter>("pears");

  // Two tasks at once, on any threads, at the same worker: no update is lost.
  co_await troupe::when_all(count_to_1000(apples), count_to_1000(apples));
  co_await pears->add(3);
  std::cout << "apples: " << co_await apples->get() << '\n';
  std::cout << "pears: " << co_await pears->get() << '\n';

  // What a method throws reaches whoever calls it, unchanged.
  try {
    co_await pears->add(-1);
  } catch (const std::invalid_argument& e) {
    std::cout << "refused: " << e.what() << '\n';
  }

  // One way: nobody waits for it. The call behind it in the mailbox finds it done.
  pears.tell<&counter::add>(4);
  std::cout << "pears: " << co_await pears.call<&counter::get>() << '\n';

  // A removed worker is created anew by the next call.
  co_await broker.remove<counter>("pears");
  std::cout << "pears, anew: " << co_await pears->get() << '\n';
}

int main() {
  troupe::broker broker;
  broker.run(count(broker));
}

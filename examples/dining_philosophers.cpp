// SPDX-License-Identifier: MIT
// Five philosophers, five forks, each eats with two. A fork is a worker, and holding it is being in
// its turn. Everybody takes the left one first: sooner or later all hold one and wait for the next,
// in a circle. Such a circle is found when it closes; the call that would close it is refused.
#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <troupe.hpp>
#include <vector>

using namespace std::chrono_literals;

struct table_fork;
TROUPE_METHODS(table_fork, take, take_both)

struct table_fork {
  troupe::task<> take() { co_await troupe::sleep_for(1ms); }  // eating

  // Held until the other one was taken and used as well.
  troupe::task<> take_both(troupe::proxy<table_fork> other) {
    co_await troupe::sleep_for(20ms);  // long enough for all to have taken their first
    co_await other->take();
  }
};

std::atomic<int> refusals = 0;

// One meal; false if the circle would have closed here.
troupe::task<bool> try_to_eat(troupe::proxy<table_fork> left, troupe::proxy<table_fork> right) {
  try {
    co_await left->take_both(right);
    co_return true;
  } catch (const troupe::error& e) {
    if (e.code() != troupe::errc::deadlock) throw;
    ++refusals;
  }
  co_return false;
}

troupe::task<int> dine(troupe::proxy<table_fork> left, troupe::proxy<table_fork> right) {
  int meals = 0;
  while (meals < 10) {
    const bool has_eaten = co_await try_to_eat(left, right);
    if (has_eaten) ++meals;
  }
  co_return meals;
}

troupe::task<> dinner(troupe::broker& broker) {
  constexpr int seats = 5;
  const auto fork_at = [&](int seat) {
    return broker.worker<table_fork>(std::to_string(seat % seats));
  };
  std::vector<troupe::task<int>> philosophers;
  for (int seat = 0; seat < seats; ++seat) {
    philosophers.push_back(dine(fork_at(seat), fork_at(seat + 1)));
  }
  const std::vector<int> meals = co_await troupe::when_all(std::move(philosophers));
  for (int seat = 0; seat < seats; ++seat) {
    std::cout << "philosopher " << seat << " ate " << meals[static_cast<std::size_t>(seat)]
              << " times\n";
  }
  std::cout << "circles refused: " << (refusals > 0 ? "some" : "none") << '\n';
}

int main() {
  troupe::broker broker;
  broker.run(dinner(broker));
}

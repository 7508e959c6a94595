// SPDX-License-Identifier: MIT

// How to test actors of one's own on the simulator: a bank with a race in it, which real threads
// show once in a blue moon. A search finds a seed that shows it; the seed shows it every time.

#include <cstdint>
#include <iostream>
#include <string>
#include <troupe.hpp>

struct account {
  int balance() const { return money; }
  void set_balance(int value) { money = value; }
  int deposit(int amount) { return money += amount; }
  int money = 0;
};
TROUPE_METHODS(account, balance, set_balance, deposit)

struct cashier {
  explicit cashier(troupe::context& c) : ctx(c) {}

  /// The race: between the two awaits another cashier may serve the same account.
  troupe::task<> pay_in(std::string who, int amount) {
    const auto theirs = ctx.worker<account>(who);
    const int before = co_await theirs->balance();
    co_await theirs->set_balance(before + amount);
  }
  /// The cure: one call, which nothing gets into.
  troupe::task<> pay_in_safely(std::string who, int amount) {
    co_await ctx.worker<account>(who)->deposit(amount);
  }
  troupe::context& ctx;
};
TROUPE_METHODS(cashier, pay_in, pay_in_safely)

/// The test: two cashiers, one customer. It ends by saying what must be true.
troupe::task<> two_cashiers(troupe::broker& bank, bool safely) {
  const auto left = bank.worker<cashier>("left");
  const auto right = bank.worker<cashier>("right");
  if (safely) {
    co_await troupe::when_all(left->pay_in_safely("ann", 10), right->pay_in_safely("ann", 5));
  } else {
    co_await troupe::when_all(left->pay_in("ann", 10), right->pay_in("ann", 5));
  }
  const int balance = co_await bank.worker<account>("ann")->balance();
  troupe::sim_expect(balance == 15, "money was lost");
}

void run(troupe::sim_executor& sim, bool safely) {
  troupe::broker bank({.on = &sim});  // everything of this broker runs on the simulator
  sim.run(two_cashiers(bank, safely));
}

/// The trace of the run with this seed, and what it fails with.
std::string replay(std::uint64_t seed) {
  troupe::sim_executor sim({.seed = seed});
  std::string outcome = "nothing";
  try {
    run(sim, false);
  } catch (const troupe::sim_failure& failure) {
    outcome = failure.what();
  }
  return outcome + ", trace " + std::to_string(sim.trace_hash());
}

int main() {
  // In a test this would stand in REQUIRE(!...); without `quiet` it also prints
  //   replay: TROUPE_SEED=... ./program
  const auto racy = troupe::sim_search({.count = 1000, .quiet = true},
                                       [](troupe::sim_executor& sim) { run(sim, false); });
  std::cout << "pay_in: " << (racy.found() ? racy.what() : "no seed fails") << '\n';

  const std::string once = replay(racy.seed());
  const std::string again = replay(racy.seed());
  std::cout << "replayed: " << once.substr(0, once.find(','))
            << (once == again ? ", twice with the same trace" : ", but differently") << '\n';

  const auto safe = troupe::sim_search({.count = 1000, .quiet = true},
                                       [](troupe::sim_executor& sim) { run(sim, true); });
  std::cout << "pay_in_safely: " << (safe.found() ? safe.what() : "no seed fails") << '\n';
}

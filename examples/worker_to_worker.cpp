// SPDX-License-Identifier: MIT
// Workers that call workers. A worker finds the others through its context; a method that asks for
// its `caller` is told who calls, by the library and not by the caller.
#include <iostream>
#include <stdexcept>
#include <troupe.hpp>

struct account;
TROUPE_METHODS(account, deposit, transfer, balance)

struct account {
  explicit account(troupe::context& surroundings) : ctx(surroundings) {}

  int deposit(troupe::caller from, int amount) {
    const std::string who = from ? to_string(from.id()) : "cash";
    std::cout << ctx.key() << " gets " << amount << " from " << who << '\n';
    return money += amount;
  }

  troupe::task<int> transfer(std::string to, int amount) {
    if (amount > money) throw std::runtime_error("not enough money");
    money -= amount;
    auto receiver = ctx.worker<account>(to);
    co_await receiver->deposit(amount);
    co_return money;
  }

  int balance() const { return money; }

  troupe::context& ctx;
  int money = 0;
};

troupe::task<> bank(troupe::broker& broker) {
  auto alice = broker.worker<account>("alice");
  auto bob = broker.worker<account>("bob");
  co_await alice->deposit(100);
  co_await alice->transfer("bob", 30);
  try {
    co_await bob->transfer("alice", 500);
  } catch (const std::exception& e) {
    std::cout << "bob's transfer failed: " << e.what() << '\n';
  }
  auto [a, b] = co_await troupe::when_all(alice->balance(), bob->balance());
  std::cout << "alice has " << a << ", bob has " << b << '\n';
}

int main() {
  troupe::broker broker;
  broker.run(bank(broker));
}

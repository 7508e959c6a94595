// SPDX-License-Identifier: MIT
#include <chrono>
#include <iostream>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis.hpp>

// Nobody listens at port 1: that is what it says, by hiredis or without.
int main() {
  troupe::broker broker;
  troupe::redis_options options = troupe::redis_options::parse("redis://127.0.0.1:1");
  options.command_limit = std::chrono::milliseconds(100);
  troupe::redis_network net(broker.runs_on(), options);
  try {
    broker.run(net.ready());
  } catch (const troupe::error& e) {
    std::cout << e.code().message() << '\n';
  }
}

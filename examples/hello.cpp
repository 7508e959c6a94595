// SPDX-License-Identifier: MIT
#include <iostream>
#include <troupe.hpp>

struct greeter {
  std::string hello(std::string_view name) {
    return "Hello " + std::string(name) + " #" + std::to_string(++calls);
  }
  int calls = 0;
};
TROUPE_METHODS(greeter, hello)

troupe::task<> serve(troupe::broker& broker) {
  auto alice = broker.worker<greeter>("alice");         // nothing is created yet
  std::cout << co_await alice->hello("World") << '\n';  // created here, for "alice" alone
}

int main() {
  troupe::broker broker;
  broker.run(serve(broker));
}

// SPDX-License-Identifier: MIT
// What a user writes first. Every way to get the library must be able to build and run it.
#include <iostream>
#include <string>
#include <string_view>

#include <troupe.hpp>

struct greeter {
  std::string hello(std::string_view name) {
    return "Hello " + std::string(name) + " #" + std::to_string(++calls);
  }
  int calls = 0;
};
TROUPE_METHODS(greeter, hello)

troupe::task<> serve(troupe::broker& broker) {
  auto alice = broker.worker<greeter>("alice");
  std::cout << co_await alice->hello("World") << '\n';
}

int main() {
  std::cout << "troupe " << TROUPE_VERSION_STRING << '\n';
  troupe::broker broker;
  broker.run(serve(broker));
}

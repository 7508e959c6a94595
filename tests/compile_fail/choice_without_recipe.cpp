// SPDX-License-Identifier: MIT
// expect: troupe: who chooses by key is called with a std::string_view
#include <troupe.hpp>

struct counter {};

void f(troupe::broker& broker) {
  const troupe::recipe<counter> plain;
#ifdef CORRECT
  broker.provide_by_key<counter>([plain](std::string_view) { return plain; });
#else
  broker.provide_by_key<counter>([plain](int) { return plain; });
#endif
}

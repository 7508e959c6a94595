// SPDX-License-Identifier: MIT
// expect: troupe: each class shares its turn with others, and is named once
#include <troupe.hpp>

struct cart {};
struct stock {};

void f(troupe::broker& broker) {
#ifdef CORRECT
  broker.share_turn<cart, stock>();
#else
  broker.share_turn<cart, stock, cart>();
#endif
}

// SPDX-License-Identifier: MIT
// expect: troupe: a factory returns the class itself, one derived from it
#include <troupe.hpp>

struct icounter {};
struct counter
#ifdef CORRECT
    : icounter
#endif
{
};

void f(troupe::broker& broker) {
  broker.provide<icounter>("key", [](troupe::context&) { return counter(); });
}

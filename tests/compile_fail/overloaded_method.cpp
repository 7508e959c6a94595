// SPDX-License-Identifier: MIT
// expect: troupe: target has no method 'set' that can be listed in TROUPE_METHODS
// expect: overloaded
#include <troupe.hpp>

struct target {
  void set(int) {}
#ifndef CORRECT
  void set(double) {}
#endif
};
TROUPE_METHODS(target, set)

troupe::task<> f(troupe::proxy<target> p) { co_await p->set(1); }

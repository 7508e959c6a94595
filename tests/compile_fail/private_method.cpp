// SPDX-License-Identifier: MIT
// expect: troupe: target has no method 'set' that can be listed in TROUPE_METHODS
#include <troupe.hpp>

class target {
#ifdef CORRECT
public:
#endif
  void set(int) {}
};
TROUPE_METHODS(target, set)

troupe::task<> f(troupe::proxy<target> p) { co_await p->set(1); }

// SPDX-License-Identifier: MIT
// expect: troupe: target has no method 'reset' that can be listed in TROUPE_METHODS
#include <troupe.hpp>

struct target {
  void set(int) {}
#ifdef CORRECT
  void reset() {}
#endif
};
TROUPE_METHODS(target, set, reset)

troupe::task<> f(troupe::proxy<target> p) { co_await p->reset(); }

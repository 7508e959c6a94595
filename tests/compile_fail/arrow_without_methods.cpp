// SPDX-License-Identifier: MIT
// expect: troupe: -> needs TROUPE_METHODS(class, its methods...) at global scope
#include <troupe.hpp>

struct target {
  void set(int) {}
};
#ifdef CORRECT
TROUPE_METHODS(target, set)
#endif

troupe::task<> f(troupe::proxy<target> p) { co_await p->set(1); }

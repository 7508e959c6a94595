// SPDX-License-Identifier: MIT
// expect: troupe: the call has another number of arguments than the method has parameters
// Whoever calls is stamped, not passed.
#include <troupe.hpp>

struct target {
  int add(troupe::caller, int a) { return a; }
};
TROUPE_METHODS(target, add)

troupe::task<> f(troupe::proxy<target> p) {
#ifdef CORRECT
  int n = co_await p->add(1);
#else
  int n = co_await p->add(troupe::caller(), 1);
#endif
  static_cast<void>(n);
}

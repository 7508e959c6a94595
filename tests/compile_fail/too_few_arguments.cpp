// SPDX-License-Identifier: MIT
// expect: troupe: the call has another number of arguments than the method has parameters
#include <troupe.hpp>

struct target {
  int add(int a, int b) { return a + b; }
};
TROUPE_METHODS(target, add)

troupe::task<> f(troupe::proxy<target> p) {
#ifdef CORRECT
  int n = co_await p->add(1, 2);
#else
  int n = co_await p->add(1);
#endif
  static_cast<void>(n);
}

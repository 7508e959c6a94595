// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy takes a non-const reference
// A worker does not write to its caller's variables.
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  void m(const int&) {}
#else
  void m(int&) {}
#endif
};

troupe::task<> f(troupe::proxy<target> p) {
  int mine = 1;
  co_await p.call<&target::m>(mine);
}

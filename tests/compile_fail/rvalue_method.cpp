// SPDX-License-Identifier: MIT
// expect: troupe: a method of a worker is neither volatile, nor for rvalues only
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  void run() {}
#else
  void run() && {}
#endif
};

troupe::task<> f(troupe::proxy<target> p) { co_await p.call<&target::run>(); }

// SPDX-License-Identifier: MIT
// expect: troupe: the method is not one of the worker's class
#include <troupe.hpp>

struct other {
  void set(int) {}
};
#ifdef CORRECT
struct target : other {};
#else
struct target {};
#endif

troupe::task<> f(troupe::proxy<target> p) { co_await p.call<&other::set>(1); }

// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy returns a reference into its worker
// The same of a coroutine.
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  troupe::task<int> value() { co_return v; }
#else
  troupe::task<int&> value() { co_return v; }
#endif
  int v = 1;
};

troupe::task<> f(troupe::proxy<target> p) {
  int value = co_await p.call<&target::value>();
  static_cast<void>(value);
}

// SPDX-License-Identifier: MIT
// expect: troupe: a hook's name with another signature: on_start() takes nothing
// A member that looks like a hook and is none would never be called.
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  troupe::task<> on_start() { co_return; }
#else
  troupe::task<> on_start(int) { co_return; }
#endif
  void m() {}
};

troupe::proxy<target> f(troupe::broker& broker) { return broker.worker<target>(); }

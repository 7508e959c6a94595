// SPDX-License-Identifier: MIT
// expect: troupe: a hook's name with another signature: on_stop() takes nothing
// A member that looks like a hook and is none would never be called.
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  void on_stop() {}
#else
  int on_stop() { return 1; }
#endif
  void m() {}
};

troupe::proxy<target> f(troupe::broker& broker) { return broker.worker<target>(); }

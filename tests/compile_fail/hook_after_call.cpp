// SPDX-License-Identifier: MIT
// expect: troupe: a hook's name with another signature: after_call takes
// A member that looks like a hook and is none would never be called.
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  void after_call(const troupe::call_info&) {}
#else
  bool after_call(const troupe::call_info&) { return true; }
#endif
  void m() {}
};

troupe::proxy<target> f(troupe::broker& broker) { return broker.worker<target>(); }

// SPDX-License-Identifier: MIT
// expect: troupe: a hook's name with another signature: on_start() takes nothing
// A hook that the library cannot reach would never be called.
#include <troupe.hpp>

class target {
#ifdef CORRECT
public:
#endif
  void on_start() {}
};

troupe::proxy<target> f(troupe::broker& broker) { return broker.worker<target>(); }

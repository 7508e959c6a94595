// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy returns a reference into its worker
// What a method returns outlives its turn.
#include <string>
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  std::string name() { return n; }
#else
  const std::string& name() { return n; }
#endif
  std::string n;
};

troupe::task<> f(troupe::proxy<target> p) { std::string name = co_await p.call<&target::name>(); }

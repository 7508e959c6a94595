// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy returns a view of something it does not own
// The view would show what the worker changes meanwhile.
#include <string>
#include <string_view>
#include <troupe.hpp>

struct target {
#ifdef CORRECT
  std::string name() { return n; }
#else
  std::string_view name() { return n; }
#endif
  std::string n;
};

troupe::task<> f(troupe::proxy<target> p) { std::string name(co_await p.call<&target::name>()); }

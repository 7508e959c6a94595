// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy returns a view of something it does not own
// The same of a coroutine that returns a span.
#include <span>
#include <troupe.hpp>
#include <vector>

struct target {
#ifdef CORRECT
  troupe::task<std::vector<int>> all() { co_return v; }
#else
  troupe::task<std::span<const int>> all() { co_return v; }
#endif
  std::vector<int> v;
};

troupe::task<> f(troupe::proxy<target> p) { auto all = co_await p.call<&target::all>(); }

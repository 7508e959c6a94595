// SPDX-License-Identifier: MIT
// expect: troupe: this is awaited once, as an rvalue: write co_await std::move(it)
// A call is awaited once.
#include <troupe.hpp>
#include <utility>

struct target {
  int get() { return 1; }
};

troupe::task<int> f(troupe::proxy<target> p) {
  auto call = p.call<&target::get>();
#ifdef CORRECT
  int n = co_await std::move(call);
#else
  int n = co_await call;
#endif
  co_return n;
}

// SPDX-License-Identifier: MIT
// expect: troupe: this is awaited once, as an rvalue: write co_await std::move(it)
// The same of a call with a limit.
#include <chrono>
#include <troupe.hpp>
#include <utility>

struct target {
  int get() { return 1; }
};

troupe::task<int> f(troupe::proxy<target> p) {
  auto call = p.call<&target::get>().within(std::chrono::seconds(1));
#ifdef CORRECT
  int n = co_await std::move(call);
#else
  int n = co_await call;
#endif
  co_return n;
}

// SPDX-License-Identifier: MIT
// expect: a call does nothing until it is awaited
#include <troupe.hpp>

#ifdef __clang__
#  pragma clang diagnostic error "-Wunused-result"
#else
#  pragma GCC diagnostic error "-Wunused-result"
#endif

struct target {
  int get() { return 1; }
};

troupe::task<> f(troupe::proxy<target> p) {
#ifdef CORRECT
  int n = co_await p.call<&target::get>();
  static_cast<void>(n);
#else
  p.call<&target::get>();
  co_return;
#endif
}

// SPDX-License-Identifier: MIT
// expect: troupe: an aggregate with a base class cannot be taken apart
// Its fields can be listed.
#include <troupe.hpp>

struct base {
  int a = 0;
};
struct derived : base {
  int b = 0;
};
#ifdef CORRECT
TROUPE_FIELDS(derived, a, b)
#endif

auto f(const derived& d) { return troupe::encode(d); }

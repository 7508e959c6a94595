// SPDX-License-Identifier: MIT
// expect: troupe: a reference, or an aggregate with one, cannot be encoded
// Nothing elsewhere could be referred to.
#include <troupe.hpp>

struct shared {
#ifdef CORRECT
  std::string name;
#else
  std::string& name;
#endif
};

auto f(const shared& s) { return troupe::encode(s); }

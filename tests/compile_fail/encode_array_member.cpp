// SPDX-License-Identifier: MIT
// expect: troupe: an aggregate with a C array cannot be taken apart
// Structured bindings see one field where brace initialisation counts sixteen.
#include <troupe.hpp>

struct named {
  int id = 0;
#ifdef CORRECT
  std::array<char, 16> name{};
#else
  char name[16] = {};
#endif
};

auto f(const named& n) { return troupe::encode(n); }

// SPDX-License-Identifier: MIT
// expect: troupe: a raw pointer cannot be encoded
// An address means nothing elsewhere.
#include <troupe.hpp>

struct node {
  int value = 0;
#ifdef CORRECT
  std::vector<node> next;
#else
  node* next = nullptr;
#endif
};

auto f() { return troupe::encode(node{}); }

// SPDX-License-Identifier: MIT
// expect: troupe: an argument of the call does not convert to the method's parameter
// The rules of calls are the rules of tells.
#include <string>
#include <troupe.hpp>

struct target {
  void note(std::string) {}
};

bool f(troupe::proxy<target> p) {
#ifdef CORRECT
  return p.tell<&target::note>("5");
#else
  return p.tell<&target::note>(5);
#endif
}

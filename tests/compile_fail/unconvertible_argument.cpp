// SPDX-License-Identifier: MIT
// expect: troupe: an argument of the call does not convert to the method's parameter
#include <string>
#include <troupe.hpp>

struct target {
  int length(std::string s) { return static_cast<int>(s.size()); }
};
TROUPE_METHODS(target, length)

troupe::task<> f(troupe::proxy<target> p) {
#ifdef CORRECT
  int n = co_await p->length("5");
#else
  int n = co_await p->length(5);
#endif
  static_cast<void>(n);
}

// SPDX-License-Identifier: MIT
// expect: troupe: a method called through a proxy takes a raw pointer
// A raw pointer says nothing of who owns what it points to.
#include <troupe.hpp>

struct thing {};
#ifdef CORRECT
template <>
inline constexpr bool troupe::enable_sendable<thing*> = true;
#endif

struct target {
  void m(thing*) {}
};

troupe::task<> f(troupe::proxy<target> p) {
  thing mine;
  co_await p.call<&target::m>(&mine);
}

// SPDX-License-Identifier: MIT
// expect: troupe: the options of a class are a static member
#include <troupe.hpp>

struct target {
  void run() {}
#ifdef CORRECT
  static constexpr
#endif
      troupe::actor_options options{.mailbox_capacity = 4};
};

troupe::task<> f(troupe::broker& b) { co_await b.worker<target>().call<&target::run>(); }

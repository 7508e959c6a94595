// SPDX-License-Identifier: MIT
// An untrusted module, in a sandboxed process.

#include "state.hpp"

#include <stdexcept>

class test1 {
public:
  troupe::web_reply ok() { return troupe::web_reply::text(200, "OK"); }
  troupe::web_reply forbidden() {
    throw troupe::thrown_reply(troupe::web_reply::text(403, "Forbidden"));
  }
  troupe::web_reply redirect() { return troupe::web_reply::redirect("/test1/ok"); }
  troupe::web_reply error() { throw std::runtime_error("this is nobody's business"); }
  troupe::web_reply state(const app::query& q) { return own_.state(q); }
  troupe::web_reply global(const app::query& q) { return own_.global_state(q); }

private:
  app::keeper own_{"test1"};
};
TROUPE_METHODS(test1, ok, forbidden, redirect, error, state, global)
TROUPE_MODULE(test1, "v1.0.0");

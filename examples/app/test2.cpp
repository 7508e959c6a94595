// SPDX-License-Identifier: MIT
// An untrusted module, in a sandboxed process.

#include "state.hpp"

class test2 {
public:
  troupe::web_reply state(const app::query& q) { return own_.state(q); }
  troupe::web_reply global(const app::query& q) { return own_.global_state(q); }

private:
  app::keeper own_{"test2"};
};
TROUPE_METHODS(test2, state, global)
TROUPE_MODULE(test2, "v1.0.0");

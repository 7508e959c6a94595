// SPDX-License-Identifier: MIT
// An untrusted module, in a sandboxed process.

#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/web_reply.hpp>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct hello {
  troupe::web_reply world() { return troupe::web_reply::text(200, "Hello World"); }
};
TROUPE_METHODS(hello, world)
TROUPE_MODULE(hello, "v1.0.0");

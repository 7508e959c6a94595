// SPDX-License-Identifier: MIT
// An untrusted module, in a sandboxed process: it has no network, and asks the trusted `fetch`.

#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/web_reply.hpp>

#include <string>

#include <troupe.hpp>
#include <troupe/function/host_of.hpp>
#include <troupe/function/module.hpp>

#include "fetched.hpp"

class fetch_example {
public:
  explicit fetch_example(troupe::context& ctx) : host_(troupe::host_of(ctx)) {}

  /// What `/fetch_example` answers.
  troupe::task<troupe::web_reply> index() { return fetch("http://test.local/greeting"); }

  /// Anything else is not fetched: the trusted module says no.
  troupe::task<troupe::web_reply> elsewhere() { return fetch("http://example.org/"); }

private:
  troupe::task<troupe::web_reply> fetch(std::string url) {
    const troupe::function_request get{.module = "fetch", .func = "get"};
    const app::fetched got = co_await host_.trigger<app::fetched>(get, url);
    troupe::web_reply reply;
    reply.http_status = got.status;
    reply.http_fields.emplace_back("Content-Type", got.type);
    reply.http_body = got.body;
    co_return reply;
  }

  troupe::module_host host_;
};
TROUPE_METHODS(fetch_example, index, elsewhere)
TROUPE_MODULE(fetch_example, "v1.0.0");

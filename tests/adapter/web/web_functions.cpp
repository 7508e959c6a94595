// SPDX-License-Identifier: MIT
// Functions of modules over HTTP, without a server: what the router answers.
#if defined(TROUPE_TEST_WEB_MODULES)
#  include <troupe/adapter/web/web_functions.hpp>

#  include <catch2/catch.hpp>

#  include <string>
#  include <string_view>
#  include <utility>

#  include <troupe.hpp>
#  include <troupe/function.hpp>

namespace web_functions_tests {
namespace {

struct site {
  explicit site(troupe::method_route route = {}) {
    functions.define_loader([](std::string_view module, std::string_view version) {
      return std::string(TROUPE_TEST_WEB_MODULES "/") + std::string(module) + "-" +
             (version.empty() ? "v1.0.0" : std::string(version)) + ".so";
    });
    troupe::route_module(router, "/p", functions, "pages", std::move(route));
    troupe::route_module(router, "/none", functions, "none");
    troupe::route_module(router, "/old", functions, "pages", {.version = "v0.0.1"});
  }
  troupe::response get(std::string target) { return ask("GET", std::move(target), {}); }
  troupe::response post(std::string target, std::string body) {
    return ask("POST", std::move(target), std::move(body));
  }
  troupe::response ask(std::string method, std::string target, std::string body) {
    troupe::request asked(std::move(method), std::move(target), std::move(body));
    return broker.run(router.answer(std::move(asked)));
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::function_host functions{
      broker, troupe::function_host_options{.kept = troupe::isolation::in_process}};
  troupe::web_router router;
};

std::string text(const troupe::response& r) { return std::string(r.body.view()); }

}  // namespace

TEST_CASE("a function of a module is called by its name") {
  site s;
  CHECK(text(s.get("/p/hello?name=Ann")) == "\"hello Ann\"");
  CHECK(text(s.get("/p/hello")) == "\"hello world\"");
  CHECK(text(s.post("/p/hello", R"({"name": "Ben"})")) == "\"hello Ben\"");
  CHECK(text(s.get("/p/who")) == "\"\"");
  CHECK(text(s.post("/p/add", "[1, 2]")) == "3");
  CHECK(s.get("/p/nothing").status == 204);
  CHECK(s.post("/p/nothing", "").status == 204);
  CHECK(s.get("/p/hello").fields.get("content-type") == "application/json");
}

TEST_CASE("a module's reply is an answer, given or thrown") {
  site s;
  const troupe::response there = s.get("/p/redirect");
  CHECK(there.status == 302);
  CHECK(there.fields.get("location") == "/there");
  CHECK(s.get("/p/forbidden").status == 403);
  CHECK(text(s.get("/p/forbidden")) == "no");
  CHECK(text(s.get("/p/like_a_reply")) == R"({"http_status":403})");
  CHECK(s.get("/p/like_a_reply").status == 200);
}

TEST_CASE("names make a module's arguments of a query") {
  site s({.names = {{"add", {"a", "b"}}, {"greet", {"name", "times"}}}});
  CHECK(text(s.get("/p/add?b=40&a=2")) == "42");
  CHECK(text(s.post("/p/add", R"({"b": 40, "a": 2})")) == "42");
  CHECK(text(s.get("/p/greet?name=Ann&times=3")) == "\"Ann3\"");
  CHECK(s.get("/p/add?a=2").status == 400);
}

TEST_CASE("a module's key is the client's choice where it may choose") {
  site s({.key_parameter = "id"});
  CHECK(text(s.get("/p/who?id=ann")) == "\"ann\"");
  CHECK(text(s.get("/p/who")) == "\"\"");
}

TEST_CASE("what goes wrong with a module has its status and says nothing of it") {
  site s;
  CHECK(s.get("/p/none").status == 404);
  CHECK(s.get("/none/hello").status == 404);
  CHECK(s.get("/old/hello").status == 404);
  CHECK(s.get("/p/who?x=1").status == 400);
  CHECK(s.get("/p/add?a=1&b=2").status == 400);
  CHECK(s.get("/p/hello?name=a&name=b").status == 400);
  CHECK(s.get("/p/hello?name=%ff").status == 400);
  CHECK(s.post("/p/add", "[1, 2").status == 400);
  CHECK(s.post("/p/add", "[1]").status == 400);
  CHECK(s.post("/p/add", "7").status == 400);
  for (const char* function : {"fail", "splits", "splits_by_throwing", "no_text"}) {
    INFO(function);
    const troupe::response r = s.get("/p/" + std::string(function));
    CHECK(r.status == 500);
    CHECK(text(r) == "internal error");
  }
  CHECK(text(s.get("/p/framed")) == "xyz");
  site talkative({.tell_exceptions = true});
  CHECK(text(talkative.get("/p/fail")) == "a secret");
}

}  // namespace web_functions_tests

#endif

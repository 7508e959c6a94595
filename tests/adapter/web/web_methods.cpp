// SPDX-License-Identifier: MIT
// Methods of workers over HTTP, without a server: what the router answers.
#include <troupe/adapter/web/web_methods.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/json/json.hpp>

namespace web_methods_tests {

using namespace std::chrono_literals;

struct order {
  std::string item;
  int count = 0;
  std::optional<double> price;
};

/// Has a bit of everything.
class shop {
public:
  explicit shop(troupe::context& ctx) : key_(ctx.key()), worker_(ctx) {}

  void before_call(const troupe::call_info& info) {
    if (info.method == "guarded") throw troupe::http_error(403, "not for you");
    if (info.method == "closed") throw std::runtime_error("a secret");
  }

  std::string who() const { return key_; }
  int add(int a, int b) { return a + b; }
  std::string greet(std::string_view name, bool loud) {
    return "Hello " + std::string(name) + (loud ? "!" : "");
  }
  order buy(order o) {
    ++o.count;
    return o;
  }
  std::map<std::string, std::string> echo(std::map<std::string, std::string> all) { return all; }
  std::size_t total(const std::vector<int>& all) const { return all.size(); }
  std::optional<int> maybe(std::optional<int> one) { return one; }
  void forget() { ++forgotten_; }
  int forgotten() const { return forgotten_; }
  std::string bytes() { return "\xff"; }
  troupe::web_reply redirect() { return troupe::web_reply::redirect("/elsewhere"); }
  troupe::response teapot() { return troupe::text_response(418, "short and stout"); }
  int refuse() { throw troupe::http_error(402, "pay first"); }
  int reply() { throw troupe::thrown_reply(troupe::web_reply::text(409, "line\n\nanother")); }
  int fail() { throw std::runtime_error("a secret"); }
  int late() { throw troupe::error(troupe::errc::bad_message, {}, "somebody else's secret"); }
  int guarded() { return 1; }
  int closed() { return 1; }
  troupe::task<int> slow() {
    co_await troupe::sleep_for(1h);
    co_return 1;
  }
  troupe::task<int> below();

private:
  std::string key_;
  troupe::context& worker_;
  int forgotten_ = 0;
};

struct broken {
  broken() { throw std::runtime_error("a secret"); }
  int f() { return 1; }
};

troupe::task<int> shop::below() {
  auto other = worker_.worker<broken>();
  co_return co_await other.call<&broken::f>();
}

}  // namespace web_methods_tests

TROUPE_FIELDS(web_methods_tests::order, item, count, price)
TROUPE_METHODS(web_methods_tests::shop, who, add, greet, buy, echo, total, maybe, forget, forgotten,
               bytes, redirect, teapot, refuse, reply, fail, late, guarded, closed, slow, below)
TROUPE_METHODS(web_methods_tests::broken, f)

namespace web_methods_tests {
namespace {

struct site {
  explicit site(troupe::method_route route = {}) {
    troupe::route_methods<shop>(router, "/shop", broker, std::move(route));
    troupe::route_methods<broken>(router, "/broken", broker);
  }
  troupe::response get(std::string target) {
    return ask(troupe::request("GET", std::move(target)));
  }
  troupe::response post(std::string target, std::string body) {
    return ask(troupe::request("POST", std::move(target), troupe::shared_bytes(std::move(body))));
  }
  troupe::response ask(troupe::request asked) {
    return broker.run(router.answer(std::move(asked)));
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::web_router router;
};

std::string text(const troupe::response& r) { return std::string(r.body.view()); }

}  // namespace

TEST_CASE("a method is called by its name; its result is JSON") {
  site s;
  const troupe::response sum = s.get("/shop/add?a=2&b=40");
  CHECK(sum.status == 200);
  CHECK(text(sum) == "42");
  CHECK(sum.fields.get("content-type") == "application/json");
  CHECK(sum.fields.get("cache-control") == "no-store");
  CHECK(text(s.post("/shop/add", "[2, 40]")) == "42");
  CHECK(text(s.get("/shop/greet?name=J%C3%BCrgen+K&loud=true")) == "\"Hello J\xC3\xBCrgen K!\"");
  CHECK(text(s.post("/shop/greet", R"(["Ann", false])")) == "\"Hello Ann\"");
  CHECK(text(s.get("/shop/greet?name=12&loud=false")) == "\"Hello 12\"");
  CHECK(text(s.post("/shop/total", "[[1, 2, 3]]")) == "3");
  CHECK(text(s.get("/shop/total?all=[1,2]")) == "2");
  CHECK(text(s.post("/shop/maybe", "[null]")) == "null");
  CHECK(text(s.get("/shop/maybe?x=7")) == "7");
}

TEST_CASE("an only parameter that is an object gets the query, or an object in the body") {
  site s;
  CHECK(text(s.get("/shop/buy?item=5&count=2")) == R"({"count":3,"item":"5","price":null})");
  CHECK(text(s.get("/shop/buy?price=1.5&item=tea&count=0")) ==
        R"({"count":1,"item":"tea","price":1.5})");
  CHECK(text(s.post("/shop/buy", R"({"item": "tea", "count": 1})")) ==
        R"({"count":2,"item":"tea","price":null})");
  CHECK(text(s.get("/shop/echo?b=2&a=x+y")) == R"({"a":"x y","b":"2"})");
  CHECK(text(s.get("/shop/echo")) == "{}");
}

TEST_CASE("what gives nothing is 204, and an answer is an answer") {
  site s;
  CHECK(s.post("/shop/forget", "").status == 204);
  CHECK(s.post("/shop/forget", "[]").status == 204);
  CHECK(s.get("/shop/forget").status == 204);
  CHECK(text(s.get("/shop/forgotten")) == "3");
  const troupe::response elsewhere = s.get("/shop/redirect");
  CHECK(elsewhere.status == 302);
  CHECK(elsewhere.fields.get("location") == "/elsewhere");
  CHECK(s.get("/shop/teapot").status == 418);
  const troupe::response thrown = s.get("/shop/reply");
  CHECK(thrown.status == 409);
  CHECK(text(thrown) == "line\n\nanother");
  CHECK(thrown.fields.get("content-type") == "text/plain; charset=utf-8");
}

TEST_CASE("names make arguments independent of their order") {
  site s({.names = {{"add", {"a", "b"}}, {"greet", {"name", "loud"}}}});
  CHECK(text(s.get("/shop/greet?loud=true&name=Ann")) == "\"Hello Ann!\"");
  CHECK(text(s.post("/shop/greet", R"({"loud": true, "name": "Ann"})")) == "\"Hello Ann!\"");
  CHECK(text(s.post("/shop/greet", R"(["Ann", true])")) == "\"Hello Ann!\"");
  CHECK(s.get("/shop/greet?loud=true&other=Ann").status == 400);
  CHECK(s.get("/shop/greet?loud=true").status == 400);
  CHECK(s.get("/shop/greet?loud=true&loud=true&name=x").status == 400);
  CHECK(s.post("/shop/add", R"({"a": 1, "c": 2})").status == 400);
}

TEST_CASE("a client chooses the key only where it may") {
  site closed;
  CHECK(text(closed.get("/shop/who")) == "\"\"");
  CHECK(closed.get("/shop/who?id=alice").status == 400);
  site open({.key_parameter = "id"});
  CHECK(text(open.get("/shop/who?id=alice")) == "\"alice\"");
  CHECK(text(open.post("/shop/who?id=bob", "")) == "\"bob\"");
  CHECK(text(open.get("/shop/add?id=bob&a=1&b=2")) == "3");
  site own({.key = [](const troupe::request& asked) {
    if (asked.fields.get("Authorization").empty()) throw troupe::http_error(401, "who are you?");
    return std::string(asked.fields.get("Authorization"));
  }});
  CHECK(own.get("/shop/who").status == 401);
  troupe::request known("GET", "/shop/who");
  known.fields.set("Authorization", "cyd");
  CHECK(text(own.ask(known)) == "\"cyd\"");
}

TEST_CASE("what is no call gets a status and a short word") {
  site s;
  CHECK(s.get("/shop/none").status == 404);
  CHECK(s.get("/none/add").status == 404);
  CHECK(s.get("/shop").status == 404);
  CHECK(s.ask(troupe::request("DELETE", "/shop/add")).status == 405);
  for (const char* query : {"a=1", "a=1&b=2&c=3", "a=1&b=x", "a=1&b=1.5", "a=1&b=99999999999",
                            "a=1&b=", "a=1&b=\"2\"", "a=1&b=[", ""}) {
    INFO(query);
    CHECK(s.get("/shop/add?" + std::string(query)).status == 400);
  }
  for (const char* body : {"", "[1]", "[1, 2, 3]", "[1, \"2\"]", "{\"a\": 1, \"b\": 2}", "[1, 2",
                           "7", "[1, 2] x", "null", "\xff"}) {
    INFO(body);
    CHECK(s.post("/shop/add", body).status == 400);
  }
  CHECK(s.get("/shop/echo?text=%ff").status == 400);
  CHECK(s.get("/shop/echo?%ff=text").status == 400);
  CHECK(text(s.post("/shop/add", "[1, true]")) == "$[1]: it is not an integer");
  CHECK(s.get("/shop/buy?item=x").status == 400);
  CHECK(s.get("/shop/buy?item=x&item=y&count=1").status == 400);
  CHECK(s.get("/shop/buy?item=x&count=1&more=1").status == 400);
  CHECK(s.post("/shop/buy", R"({"item": "x", "count": 1, "item": "y"})").status == 400);
  CHECK(s.post("/shop/echo", std::string(100'000, '[')).status == 413);
}

TEST_CASE("who is refused hears nothing of the arguments") {
  troupe::method_route route;
  route.key = [](const troupe::request&) -> std::string {
    throw troupe::http_error(401, "who are you?");
  };
  site s(std::move(route));
  CHECK(s.get("/shop/add?a=x").status == 401);
  CHECK(s.post("/shop/add", "[[[").status == 401);
}

TEST_CASE("only POST calls where that is wished") {
  troupe::method_route route;
  route.by_post_alone = true;
  site s(std::move(route));
  CHECK(s.post("/shop/add", "[1, 2]").status == 200);
  CHECK(s.get("/shop/add?a=1&b=2").status == 405);
  CHECK(s.ask(troupe::request("HEAD", "/shop/forget")).status == 405);
}

TEST_CASE("what a method throws stays inside, unless it is meant for the client") {
  site s;
  CHECK(s.get("/shop/refuse").status == 402);
  CHECK(text(s.get("/shop/refuse")) == "pay first");
  for (const char* method : {"fail", "late", "bytes"}) {
    INFO(method);
    const troupe::response r = s.get("/shop/" + std::string(method));
    CHECK(r.status == 500);
    CHECK(text(r) == "internal error");
  }
  CHECK(s.get("/shop/guarded").status == 403);
  CHECK(text(s.get("/shop/guarded")) == "not for you");
  CHECK(s.get("/shop/closed").status == 503);
  CHECK(text(s.get("/shop/closed")).find("secret") == std::string::npos);
  CHECK(s.get("/broken/f").status == 503);
  CHECK(text(s.get("/broken/f")).find("secret") == std::string::npos);
  CHECK(s.get("/shop/below").status == 503);
  site talkative({.tell_exceptions = true});
  CHECK(text(talkative.get("/shop/fail")) == "a secret");
}

TEST_CASE("a call has its time, and no more") {
  site s({.limit = 20ms});
  CHECK(s.get("/shop/slow").status == 504);
  CHECK(text(s.get("/shop/add?a=1&b=2")) == "3");
  CHECK(s.post("/shop/forget", "").status == 204);
}

TEST_CASE("a single method has a path of its own") {
  troupe::broker broker({.threads = 1});
  troupe::web_router router;
  troupe::route_method<&shop::add>(router, "/sum", broker, {.names = {{"/sum", {"a", "b"}}}});
  const auto ask = [&](std::string method, std::string target, std::string body) {
    troupe::request asked(std::move(method), std::move(target), std::move(body));
    return broker.run(router.answer(std::move(asked)));
  };
  CHECK(text(ask("GET", "/sum?b=2&a=1", "")) == "3");
  CHECK(text(ask("POST", "/sum", "[3, 4]")) == "7");
  CHECK(ask("GET", "/who", "").status == 404);
}

TEST_CASE("a thrown reply says itself again, and other texts are none") {
  troupe::web_reply r = troupe::web_reply::redirect("/a b");
  r.http_fields.emplace_back("X-Empty", "");
  r.http_body = "x\n\ny";
  const auto again = troupe::thrown_reply::read(troupe::thrown_reply(r).what());
  REQUIRE(again);
  CHECK(again->http_status == 302);
  CHECK(again->http_fields == r.http_fields);
  CHECK(again->http_body == r.http_body);
  for (const char* no : {"", "302", "302\n", "302\nx", "302\nx\n\n", "x\n\n", "\n", "302 \n\n"}) {
    INFO(no);
    CHECK_FALSE(troupe::thrown_reply::read(no));
  }
}

TEST_CASE("a thrown reply has no line breaks in its fields") {
  using troupe::thrown_reply;
  using troupe::web_reply;
  CHECK_THROWS_AS(thrown_reply(web_reply::redirect("/x\nSet-Cookie:sid=evil")),
                  std::invalid_argument);
  CHECK_THROWS_AS(thrown_reply(web_reply::redirect("/x\n\n<script>")), std::invalid_argument);
  web_reply r;
  r.http_fields.emplace_back("X\nY", "z");
  CHECK_THROWS_AS(thrown_reply(r), std::invalid_argument);
}

}  // namespace web_methods_tests

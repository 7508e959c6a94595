// SPDX-License-Identifier: MIT
// A module whose functions are reached by HTTP.
#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/web_reply.hpp>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

class pages {
public:
  using query = std::map<std::string, std::string>;

  explicit pages(troupe::context& ctx) : key_(ctx.key()) {}

  std::string hello(const query& q) {
    const auto at = q.find("name");
    return "hello " + (at == q.end() ? "world" : at->second);
  }
  std::string who() const { return key_; }
  int add(int a, int b) { return a + b; }
  std::string greet(std::string name, int times) { return name + std::to_string(times); }
  void nothing() {}
  troupe::web_reply redirect() { return troupe::web_reply::redirect("/there"); }
  int forbidden(const query&) { throw troupe::thrown_reply(troupe::web_reply::text(403, "no")); }
  int fail(const query&) { throw std::runtime_error("a secret"); }
  troupe::web_reply splits() {
    return {.http_status = 200, .http_fields = {{"X", "a\r\nSet-Cookie: b"}}, .http_body = {}};
  }
  int splits_by_throwing() { throw troupe::thrown_reply(splits()); }
  troupe::web_reply framed() {
    return {.http_status = 99999, .http_fields = {{"Content-Length", "1"}}, .http_body = "xyz"};
  }
  std::string no_text() { return "\xff"; }
  std::map<std::string, int> like_a_reply() { return {{"http_status", 403}}; }

private:
  std::string key_;
};
TROUPE_METHODS(pages, hello, who, add, greet, nothing, redirect, forbidden, fail, splits,
               splits_by_throwing, framed, no_text, like_a_reply)
TROUPE_MODULE(pages, "v1.0.0");

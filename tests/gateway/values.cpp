// SPDX-License-Identifier: MIT
// Header fields, targets, and the box of what waits for a peer.

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

using namespace std::chrono_literals;

TEST_CASE("header fields: names without regard to case, several of one name, in order") {
  troupe::headers h;
  h.add("Set-Cookie", "a=1");
  h.add("set-cookie", "b=2");
  h.add("Host", "here");
  CHECK(h.get("SET-COOKIE") == "a=1");
  CHECK(h.get("nothing").empty());
  CHECK_FALSE(h.contains("nothing"));
  CHECK(h.size() == 3);
  h.set("SET-cookie", "c=3");
  CHECK(h.size() == 2);
  CHECK(h.get("Set-Cookie") == "c=3");
  h.erase("host");
  CHECK(h.size() == 1);
  CHECK(h.begin()->value == "c=3");
}

TEST_CASE("a header field cannot end early, or begin another one") {
  troupe::headers h;
  CHECK_THROWS_AS(h.add("Location", "/a\r\nSet-Cookie: x=1"), std::invalid_argument);
  CHECK_THROWS_AS(h.set("Location", "/a\nb"), std::invalid_argument);
  CHECK_THROWS_AS(h.set("Location", std::string("/a\0b", 4)), std::invalid_argument);
  CHECK_THROWS_AS(h.add("Bad Name", "x"), std::invalid_argument);
  CHECK_THROWS_AS(h.add("Bad:", "x"), std::invalid_argument);
  CHECK_THROWS_AS(h.add("", "x"), std::invalid_argument);
  CHECK(h.empty());
  CHECK_THROWS_AS(troupe::response(200, "x", "text/html\r\nX: y"), std::invalid_argument);
}

TEST_CASE("a target has a path and parameters") {
  const troupe::request asked("GET", "/a/b?x=1&y=&z&w=a+b%20%C3%A4%2&x=2&&=v");
  CHECK(asked.path() == "/a/b");
  CHECK(asked.parameter("x") == "1");
  CHECK(asked.parameter("y") == "");
  CHECK(asked.parameter("z") == "");
  CHECK(asked.parameter("w") == "a b \xC3\xA4%2");
  CHECK(asked.parameter("") == "v");
  CHECK_FALSE(asked.parameter("v"));
  CHECK(troupe::percent_decode("%41%zz%4") == "A%zz%4");
  CHECK(troupe::percent_decode("a+b") == "a+b");
  CHECK(troupe::request("GET", "/").query().empty());
}

TEST_CASE("a request that lists websocket among others asks for one") {
  troupe::request asked = troupe::socket_request();
  asked.fields.set("Connection", "keep-alive, Upgrade");
  asked.fields.set("Upgrade", "foo ,WebSocket");
  CHECK(asked.connect().status == 101);
  asked.fields.set("Upgrade", "websockets");
  CHECK(asked.connect().status == 426);
  asked = troupe::socket_request();
  asked.fields.erase("Connection");
  CHECK(asked.connect().status == 426);
  asked = troupe::socket_request();
  asked.fields.set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=!");
  CHECK(asked.connect().status == 400);
  asked.fields.set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ===");
  CHECK(asked.connect().status == 400);
}

namespace {

using troupe::detail::outbox;

std::string drain(troupe::sim_executor& sim, outbox& box) {
  return sim.run([](outbox& from) -> troupe::task<std::string> {
    std::string all;
    for (;;) {
      const auto m = co_await from.next();
      if (!m) co_return all;
      all += m->text();
    }
  }(box));
}

}  // namespace

TEST_CASE("an outbox sends what waits before it is closed, and nothing after") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  outbox box{troupe::outbox_limits{}};
  CHECK(box.push("a") == outbox::fate::queued);
  CHECK(box.push("b") == outbox::fate::queued);
  box.close({troupe::close_code::normal, "enough"});
  box.close({troupe::close_code::going_away, "too late"});
  CHECK(box.push("c") == outbox::fate::closed);
  CHECK(drain(sim, box) == "ab");
  CHECK_FALSE(box.is_open());
  const auto how = box.take_closing();
  REQUIRE(how);
  CHECK(how->reason == "enough");
}

TEST_CASE("an abandoned outbox holds nothing") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  outbox box{troupe::outbox_limits{}};
  CHECK(box.push("a") == outbox::fate::queued);
  CHECK(box.waiting_bytes() == 65);
  box.abandon();
  box.abandon();
  CHECK(box.waiting_bytes() == 0);
  CHECK(box.push("b") == outbox::fate::closed);
  CHECK(drain(sim, box).empty());
  CHECK_FALSE(box.take_closing());
}

TEST_CASE("an outbox takes one message that is larger than its limit, where nothing waits") {
  troupe::outbox_limits limits;
  limits.bytes = 100;
  outbox box{limits};
  CHECK(box.push(std::string(1000, 'x')) == outbox::fate::queued);
  CHECK(box.push("y") == outbox::fate::overflown);
  CHECK(box.push("z") == outbox::fate::closed);
  CHECK(box.waiting_bytes() == 0);
}

TEST_CASE("an outbox that drops the new keeps the old, and the other way round") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::outbox_limits limits;
  limits.bytes = 3 * 65;
  limits.policy = troupe::slow_reader::drop_new;
  outbox news{limits};
  limits.policy = troupe::slow_reader::drop_old;
  outbox olds{limits};
  for (const char* text : {"a", "b", "c", "d", "e"}) {
    const bool early = *text < 'd';
    CHECK(news.push(text) == (early ? outbox::fate::queued : outbox::fate::dropped));
    CHECK(olds.push(text) == outbox::fate::queued);
  }
  news.close({});
  olds.close({});
  CHECK(drain(sim, news) == "abc");
  CHECK(drain(sim, olds) == "cde");
}

TEST_CASE("what is being sent counts until the next is taken") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  outbox box{troupe::outbox_limits{}};
  CHECK(box.push("a") == outbox::fate::queued);
  sim.run([](outbox& from) -> troupe::task<> {
    static_cast<void>(co_await from.next());
    CHECK(from.waiting_bytes() == 65);
    from.close({});
    static_cast<void>(co_await from.next());
    CHECK(from.waiting_bytes() == 0);
  }(box));
}

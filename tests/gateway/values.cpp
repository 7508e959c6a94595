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

namespace values_tests {

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
  CHECK_THROWS_AS(h.set("Location", "/a\x14"), std::invalid_argument);
  CHECK_THROWS_AS(h.set("Location", "/a\x7F"), std::invalid_argument);
  CHECK_THROWS_AS(h.add("Bad Name", "x"), std::invalid_argument);
  CHECK_THROWS_AS(h.add("Bad:", "x"), std::invalid_argument);
  CHECK_THROWS_AS(h.add("", "x"), std::invalid_argument);
  CHECK(h.empty());
  h.set("X-Fine", "a\tb \xFF");
  CHECK(h.size() == 1);
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

TEST_CASE("what is no UTF-8 is found, and each of its bytes replaced") {
  using std::string_view;
  for (const string_view good :
       {"", "plain, and longer than eight bytes", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
        "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF",
        "1234567\xC3\xA4"
        "1234567"}) {
    CHECK(troupe::is_utf8(good));
    CHECK(troupe::to_utf8(good) == good);
  }
  CHECK(troupe::is_utf8(string_view("\0", 1)));
  for (const string_view bad :
       {"\x80", "\xC3", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
        "12345678\xC3\x28"
        "abcdefgh"}) {
    CHECK_FALSE(troupe::is_utf8(bad));
    CHECK(troupe::is_utf8(troupe::to_utf8(bad)));
  }
  CHECK(troupe::to_utf8("a\xFF\xFE\xC3\xA4\xC3z") ==
        "a\xEF\xBF\xBD\xEF\xBF\xBD\xC3\xA4\xEF\xBF\xBDz");
}

TEST_CASE("a text is UTF-8, whatever it is made of; bytes are what they are") {
  const std::string mended = "a\xEF\xBF\xBD";
  CHECK(troupe::socket_message("a\xFF").text() == mended);
  CHECK(troupe::socket_message(std::string("a\xFF")).text() == mended);
  CHECK(troupe::socket_message(std::string_view("a\xFF")).text() == mended);
  CHECK(troupe::socket_message(troupe::shared_bytes("a\xFF")).text() == mended);
  CHECK(troupe::socket_message::binary(troupe::shared_bytes("a\xFF")).text() == "a\xFF");
  const troupe::shared_bytes good("good");
  CHECK(troupe::socket_message(good).payload().data() == good.data());  // not copied
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

}  // namespace values_tests

// SPDX-License-Identifier: MIT
// Includes Boost before anything else of its kind: 1.74 forgets <utility>.
#include <troupe/adapter/web/web.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

#include "adapter/web/raw_client.hpp"
#include "gateway/query_lobby.hpp"

namespace web_server_tests {
namespace {

using namespace std::chrono_literals;

std::atomic<int> opened{0};
std::atomic<int> ended{0};
std::atomic<int> started{0};  // handlers that take their time

struct room {
  troupe::task<troupe::response> receive(troupe::request asked) {
    if (asked.wants_socket() || asked.path().ends_with("/socket")) co_return asked.connect();
    co_return troupe::text_response(200, "a room");
  }
  void on_open(troupe::socket& s) {
    ++opened;
    if (s.uid() == "refused") throw std::runtime_error("not you");
    s.send("welcome " + s.uid());
  }
  troupe::task<> on_message(troupe::socket& s, std::string_view text) {
    if (text == "throw") throw std::runtime_error("a secret");
    if (text == "bye") s.close({troupe::close_code::normal, "as you wish"});
    if (text == "odd close") {
      s.close({troupe::close_code(1015), std::string(122, 'x') + "\xC3\xA4"});
      co_return;
    }
    if (text == "flood") {
      for (int i = 0; i < 200; ++i) s.send(std::string(100'000, 'x'));
    }
    if (text == "no text") {
      s.send("caf\xE9");
      s.close({troupe::close_code::normal, "caf\xE9"});
      co_return;
    }
    const troupe::delivery told =
        co_await s.broadcast(std::string(text), troupe::audience::everyone);
    static_cast<void>(told);
  }
  void on_close(troupe::socket&) { ++ended; }
};

/// A server with everything that is asked for here.
struct site {
  explicit site(troupe::web_options options = {}, const troupe::gateway_options& rooms_have = {})
      : rooms(broker, rooms_have) {
    opened = ended = started = 0;
    troupe::web_router router;
    router.get("/hello/:name", [](const troupe::request&, troupe::web_router::parts p) {
      return troupe::text_response(200, "hello " + p.front());
    });
    router.get("/throw", [](const troupe::request&) -> troupe::response {
      throw std::runtime_error("a secret");
    });
    router.get("/odd/:status", [](const troupe::request&, troupe::web_router::parts p) {
      return troupe::text_response(std::stoi(p.front()), "odd");
    });
    router.get("/nothing", [](const troupe::request&) { return troupe::response(204); });
    router.post("/echo", [](const troupe::request& asked) {
      return troupe::response(200, asked.body, "application/octet-stream");
    });
    router.post("/user", [](const troupe::request& asked) {
      return troupe::text_response(200, asked.fields.get("X-User"));
    });
    router.get("/lent", [](const troupe::request& asked) -> troupe::task<troupe::response> {
      co_await troupe::sleep_for(1ms);
      co_return troupe::text_response(200, asked.fields.get("X-User"));
    });
    router.get("/slow", [](const troupe::request&) -> troupe::task<troupe::response> {
      ++started;
      co_await troupe::sleep_for(200ms);
      co_return troupe::text_response(200, "at last");
    });
    router.get("/for/ever", [](const troupe::request&) -> troupe::task<troupe::response> {
      ++started;
      co_await troupe::sleep_for(1h);
      co_return troupe::text_response(200, "never");
    });
    router.get("/thread", [](const troupe::request&) {
      std::ostringstream id;
      id << std::this_thread::get_id();
      return troupe::text_response(200, id.str());
    });
    router.get("/files/*", [](const troupe::request&, troupe::web_router::parts p) {
      return troupe::text_response(200, p.front());
    });
    router.to("/rooms/:name", rooms).to("/rooms/:name/socket", rooms);
    server = std::make_unique<troupe::web_server>(std::move(router), std::move(options));
  }
  std::uint16_t port() const { return server->port(); }

  /// Waits, for ten seconds at most.
  template <class Holds>
  static bool eventually(Holds holds) {
    for (int i = 0; i < 5000 && !holds(); ++i) std::this_thread::sleep_for(2ms);
    return holds();
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::gateway<query_lobby, room> rooms;
  std::unique_ptr<troupe::web_server> server;
};

std::size_t total(const site& s) {
  std::size_t all = 0;
  for (const troupe::shard_info& one : s.rooms.shards("tea")) all += one.connections;
  return all;
}

}  // namespace

TEST_CASE("requests are answered, one after the other on a connection") {
  site s;
  raw_client c(s.port());
  for (int i = 0; i < 3; ++i) {
    const auto a = c.get("/hello/w%20d?x=1");
    CHECK(a.status == 200);
    CHECK(a.body == "hello w d");
  }
  CHECK(c.get("/none").status == 404);
  CHECK(c.get("/hello/a/b").status == 404);
  CHECK(c.get("/hello/").status == 404);
  CHECK(c.get("/files/a/b%2e").body == "a/b.");
  CHECK(c.get("/nothing").status == 204);
  const auto thrown = c.get("/throw");
  CHECK(thrown.status == 500);
  CHECK(thrown.body == "internal error");
  const auto wrong = c.ask("DELETE /hello/x HTTP/1.1\r\nHost: test\r\n\r\n");
  CHECK(wrong.status == 405);
  CHECK(raw_client::field(wrong.head, "Allow: ") == "GET, HEAD");
  const auto echo = c.ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab\r\nc");
  CHECK(echo.body == "ab\r\nc");
  const auto chunks = c.ask(
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  CHECK(chunks.body == "abcde");
  CHECK(c.get("/rooms/tea").body == "a room");
  const auto last = c.get("/hello/x", "Connection: close\r\n");
  CHECK(last.status == 200);
  CHECK(c.is_over());
}

TEST_CASE("several requests at once are answered in their order; HEAD has no body") {
  site s;
  raw_client c(s.port());
  c.send("GET /hello/a HTTP/1.1\r\nHost: t\r\n\r\nGET /hello/b HTTP/1.1\r\nHost: t\r\n\r\n");
  CHECK(c.read_answer().body == "hello a");
  CHECK(c.read_answer().body == "hello b");
  c.send("HEAD /hello/a HTTP/1.1\r\nHost: t\r\n\r\nGET /hello/b HTTP/1.1\r\nHost: t\r\n\r\n");
  const std::string head = c.receive_until("\r\n\r\n");
  CHECK(raw_client::field(head, "Content-Length: ") == "7");
  CHECK(c.read_answer().body == "hello b");
}

TEST_CASE("what is no request, or too much of one, gets a status and the end") {
  troupe::web_options options;
  options.header_limit = 1000;
  options.body_limit = 100;
  options.request_time = 300ms;
  options.idle_time = 10s;
  site s(options);
  {
    raw_client c(s.port());
    CHECK(c.ask("nonsense\r\n\r\n").status == 400);
    CHECK(c.is_over());
  }
  {
    raw_client c(s.port());
    CHECK(c.ask("GET / HTTP/1.1\r\nBad Field: x\r\n\r\n").status == 400);
  }
  {
    raw_client c(s.port());
    CHECK(c.get("/", "X: " + std::string(2000, 'x') + "\r\n").status == 431);
    CHECK(c.is_over());
  }
  {
    raw_client c(s.port());
    CHECK(c.ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 101\r\n\r\n" +
                std::string(101, 'x'))
              .status == 413);
  }
  {
    raw_client c(s.port());  // a byte now and then
    c.send("GET / HT");
    std::this_thread::sleep_for(50ms);
    c.send("TP/1.1\r\n");
    CHECK(c.is_over());
  }
  raw_client c(s.port());
  CHECK(c.get("/hello/x").status == 200);
}

TEST_CASE("what a handler gives keeps the connection in step") {
  site s;
  raw_client c(s.port());
  for (const char* status : {"204", "304"}) {
    c.send("GET /odd/" + std::string(status) + " HTTP/1.1\r\nHost: t\r\n\r\n");
    const std::string head = c.receive_until("\r\n\r\n");
    CHECK(head.starts_with("HTTP/1.1 " + std::string(status)));
    CHECK(c.get("/hello/x").body == "hello x");
  }
  for (const char* status : {"99", "100", "101", "1000", "-1"}) {
    CHECK(c.get("/odd/" + std::string(status)).status == 500);
  }
  CHECK(c.get("/hello/x").body == "hello x");
  CHECK(site::eventually([&] { return s.server->connections() == 1; }));
}

TEST_CASE("a request whose end is in doubt is refused, and nothing after it is read") {
  site s;
  const std::string after = "GET /hello/x HTTP/1.1\r\nHost: t\r\n\r\n";
  for (const char* fields : {"Transfer-Encoding: chunked, identity\r\n",
                             "Transfer-Encoding: gzip\r\nContent-Length: 3\r\n",
                             "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"}) {
    raw_client c(s.port());
    c.send("POST /echo HTTP/1.1\r\nHost: t\r\n" + std::string(fields) + "\r\n" + after);
    CHECK(c.read_answer().status == 400);
    CHECK(c.read_answer().status == 0);
  }
  raw_client two(s.port());
  CHECK(two.ask("GET /hello/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status == 400);
  raw_client none(s.port());
  CHECK(none.ask("GET /hello/x HTTP/1.1\r\n\r\n").status == 400);
  raw_client early(s.port());
  CHECK(early.ask("GET /rooms/tea HTTP/1.1\r\nHost: t\r\n" + raw_client::upgrade() + "\r\nxx")
            .status == 400);
}

TEST_CASE("what comes behind a body is no head of it") {
  site s;
  raw_client c(s.port());
  const auto forged = c.ask(
      "POST /user HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      "1\r\nx\r\n0\r\nX-User: root\r\nHost: other\r\n\r\n");
  CHECK(forged.status == 200);
  CHECK(forged.body.empty());
  CHECK(c.get("/hello/x").status == 200);
}

TEST_CASE("what stands between the pieces of a body is bounded") {
  site s;
  for (const std::string endless : {"5;", "0\r\nX: "}) {
    raw_client c(s.port());
    c.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + endless +
           std::string(500'000, 'a'));
    CHECK(c.read_answer().status == 431);
  }
}

TEST_CASE("what a handler is given lives as long as its coroutine") {
  site s;
  raw_client c(s.port());
  const std::string name(100, 'n');
  CHECK(c.get("/lent", "X-User: " + name + "\r\n").body == name);
}

TEST_CASE("who sends too much hears so, however much it is") {
  troupe::web_options options;
  options.body_limit = 1000;
  site s(options);
  raw_client c(s.port());
  c.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n" +
         std::string(3'000'000, 'x'));
  CHECK(c.read_answer().status == 413);
}

TEST_CASE("who connects beyond the limit is turned away; a place is free again") {
  troupe::web_options options;
  options.max_connections = 2;
  site s(options);
  auto a = std::make_unique<raw_client>(s.port());
  raw_client b(s.port());
  CHECK(a->get("/hello/x").status == 200);
  CHECK(b.get("/hello/x").status == 200);
  raw_client c(s.port());
  CHECK(c.is_over());
  a.reset();
  CHECK(site::eventually([&] { return s.server->connections() == 1; }));
  raw_client d(s.port());
  CHECK(d.get("/hello/x").status == 200);
}

TEST_CASE("a WebSocket is opened as RFC 6455 says, or refused with its status") {
  troupe::web_options options;
  options.allowed_origins = {"https://good.example"};
  site s(options);
  raw_client c(s.port());
  CHECK(c.get("/rooms/tea/socket").status == 426);
  CHECK(c.ask("POST /rooms/tea HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n" +
              raw_client::upgrade() + "\r\n")
            .status == 405);
  CHECK(c.get("/rooms/tea",
              "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            .status == 400);
  CHECK(c.open("/rooms/tea?id=a", "Origin: https://evil.example\r\n") == 403);
  CHECK(c.open("/rooms/tea?id=a", "Origin: https://good.example\r\n") == 101);
  CHECK(c.hear() == "welcome a");
  raw_client d(s.port());
  const auto accepted = d.get("/rooms/tea?id=b", raw_client::upgrade());
  CHECK(accepted.status == 101);
  // The key and its answer are those of RFC 6455, 1.3.
  CHECK(raw_client::field(accepted.head, "Sec-WebSocket-Accept: ") ==
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST_CASE("messages go round, in fragments and of any size that is allowed") {
  site s;
  raw_client a(s.port());
  raw_client b(s.port());
  raw_client c(s.port());
  CHECK(a.open("/rooms/tea?id=a") == 101);
  CHECK(b.open("/rooms/tea?id=b") == 101);
  CHECK(c.open("/rooms/tea?id=c") == 101);
  for (raw_client* k : {&a, &b, &c}) CHECK(k->hear().starts_with("welcome "));
  CHECK(s.rooms.shards("tea").size() == 2);
  a.say("hello");
  for (raw_client* k : {&a, &b, &c}) CHECK(k->hear() == "hello");
  b.send_frame(raw_client::text, "one ");
  b.send_frame(raw_client::final_frame | raw_client::ping, "there?");
  b.send_frame(0, "two ");
  b.send_frame(raw_client::final_frame, "three");
  const auto answer = b.read_frame();
  CHECK(answer.opcode == raw_client::pong);
  CHECK(answer.payload == "there?");
  for (raw_client* k : {&a, &b, &c}) CHECK(k->hear() == "one two three");
  const std::string large(500'000, 'x');
  c.say(large);
  for (raw_client* k : {&a, &b, &c}) CHECK(k->hear() == large);
  a.say("");
  CHECK(b.read_frame().opcode == raw_client::text);
}

TEST_CASE("who breaks the protocol gets the code for it, and the others see nothing of it") {
  troupe::web_options options;
  options.message_limit = 1000;
  site s(options);
  raw_client witness(s.port());
  CHECK(witness.open("/rooms/tea?id=witness") == 101);
  CHECK(witness.hear() == "welcome witness");

  int number = 0;  // the server may not know yet that the one before is gone
  const auto code_after = [&](unsigned first_byte, std::string_view payload, bool masked) {
    raw_client c(s.port());
    const std::string id = "bad" + std::to_string(++number);
    REQUIRE(c.open("/rooms/tea?id=" + id) == 101);
    CHECK(c.hear() == "welcome " + id);
    c.send_frame(first_byte, payload, masked);
    return c.hear_close();
  };
  const unsigned text = raw_client::final_frame | raw_client::text;
  CHECK(code_after(text, "unmasked", false) == 1002);
  CHECK(code_after(raw_client::final_frame | 3, "reserved", true) == 1002);
  CHECK(code_after(text | 0x40, "reserved bit", true) == 1002);
  CHECK(code_after(raw_client::final_frame, "continues nothing", true) == 1002);
  CHECK(code_after(raw_client::ping, "in fragments", true) == 1002);
  CHECK(code_after(text, "\xff\xfe", true) == 1007);
  CHECK(code_after(text, std::string(1001, 'x'), true) == 1009);
  CHECK(code_after(raw_client::final_frame | raw_client::binary, "no texts", true) == 1003);
  CHECK(code_after(text, "throw", true) == 1011);
  CHECK(code_after(text, "bye", true) == 1000);
  CHECK(code_after(raw_client::final_frame | raw_client::close, "\x03\xe9", true) == 1001);
  CHECK(code_after(text, "odd close", true) == 1011);

  // "bye" was broadcast as well, before it was the end.
  CHECK(witness.hear() == "bye");
  witness.say("still here");
  CHECK(witness.hear() == "still here");
  CHECK(site::eventually([] { return ended == opened - 1; }));
  CHECK(site::eventually([&] { return total(s) == 1; }));
}

TEST_CASE("who vanishes, or is refused, leaves its place") {
  site s;
  for (int i = 0; i < 20; ++i) {
    raw_client c(s.port());
    const std::string id = "a" + std::to_string(i);
    CHECK(c.open("/rooms/tea?id=" + id) == 101);
    if (i % 2 == 0) CHECK(c.hear() == "welcome " + id);
  }
  {
    raw_client c(s.port());
    CHECK(c.open("/rooms/tea?id=refused") == 101);
    CHECK(c.hear_close() == 1011);
  }
  CHECK(site::eventually([&] { return s.server->connections() == 0; }));
  CHECK(site::eventually([&] { return total(s) == 0; }));
  CHECK(ended == opened);
}

TEST_CASE("a client that does not read is dropped; others hear what they are told") {
  site s;
  raw_client sloth(s.port());
  raw_client reader(s.port());
  CHECK(sloth.open("/rooms/tea?id=sloth") == 101);
  CHECK(sloth.hear() == "welcome sloth");
  CHECK(reader.open("/rooms/tea?id=reader") == 101);
  CHECK(reader.hear() == "welcome reader");
  sloth.say("flood");  // 20 MB to itself
  CHECK(site::eventually([] { return ended == 1; }));
  CHECK(reader.hear() == "flood");
  reader.say("hello");
  CHECK(reader.hear() == "hello");
}

TEST_CASE("a server that goes answers what it was asked, and says goodbye") {
  site s;
  raw_client idle(s.port());
  CHECK(idle.get("/hello/x").status == 200);
  raw_client open_one(s.port());
  CHECK(open_one.open("/rooms/tea?id=a") == 101);
  CHECK(open_one.hear() == "welcome a");
  raw_client busy(s.port());
  busy.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
  REQUIRE(site::eventually([] { return started == 1; }));
  std::thread stopping([&] { s.server.reset(); });
  CHECK(open_one.hear_close() == 1001);
  open_one.send_frame(raw_client::final_frame | raw_client::close, "\x03\xe9");
  CHECK(open_one.is_over());
  open_one.vanish();
  const auto answer = busy.read_answer();
  CHECK(answer.body == "at last");
  CHECK(idle.is_over());
  CHECK(busy.is_over());
  stopping.join();
  CHECK(ended == 1);
}

TEST_CASE("a server waits no longer than it may for who does not say goodbye") {
  troupe::web_options options;
  options.drain_time = 1s;
  site s(options);
  raw_client stubborn(s.port());
  CHECK(stubborn.open("/rooms/tea?id=a") == 101);
  CHECK(stubborn.hear() == "welcome a");
  s.server.reset();
  CHECK(stubborn.hear_close() == 1001);
  CHECK(stubborn.is_over());
}

TEST_CASE("a server that goes leaves nobody waiting for a handler that does not end") {
  troupe::web_options options;
  options.drain_time = 100ms;
  site s(options);
  raw_client c(s.port());
  c.send("GET /for/ever HTTP/1.1\r\nHost: t\r\n\r\n");
  REQUIRE(site::eventually([] { return started == 1; }));
  s.server.reset();
  CHECK(c.is_over());
}

TEST_CASE("who goes away while much is being sent to it leaves its place") {
  troupe::gateway_options patient;
  patient.outbox.bytes = std::size_t{64} << 20;  // more than is sent: not for being slow
  site s({}, patient);
  {
    raw_client half(s.port());
    CHECK(half.open("/rooms/tea?id=half") == 101);
    CHECK(half.hear() == "welcome half");
    const std::string large(900'000, 'x');
    for (int i = 0; i < 20; ++i) {
      CHECK(s.rooms.announce("tea", "1", large).dropped == 0);
    }
    half.end_sending();
    CHECK(site::eventually([] { return ended == 1; }));
  }
  CHECK(site::eventually([&] { return s.server->connections() == 0; }));
  CHECK(site::eventually([&] { return total(s) == 0; }));
}

TEST_CASE("who says nothing, and does not answer when asked, is taken for lost") {
  troupe::web_options options;
  options.ping_after = 200ms;
  site s(options);
  raw_client silent(s.port());
  CHECK(silent.open("/rooms/tea?id=silent") == 101);
  CHECK(silent.hear() == "welcome silent");
  CHECK(silent.read_frame().opcode == raw_client::ping);
  CHECK(site::eventually([] { return ended == 1; }));
  CHECK(silent.is_over());
  CHECK(site::eventually([&] { return total(s) == 0; }));
}

TEST_CASE("a text that is none is mended before it is sent") {
  site s;
  raw_client c(s.port());
  CHECK(c.open("/rooms/tea?id=a") == 101);
  CHECK(c.hear() == "welcome a");
  c.say("no text");
  const auto heard = c.read_frame();
  CHECK(heard.opcode == raw_client::text);
  CHECK(heard.payload == "caf\xEF\xBF\xBD");
  const auto goodbye = c.read_frame();
  CHECK(goodbye.code() == 1000);
  CHECK(goodbye.payload.substr(2) == "caf\xEF\xBF\xBD");
}

TEST_CASE("connections are spread over the server's threads") {
  troupe::web_options options;
  options.threads = 3;
  site s(options);
  std::vector<std::unique_ptr<raw_client>> all;
  std::map<std::string, int> connections_of;
  for (int i = 0; i < 9; ++i) {
    all.push_back(std::make_unique<raw_client>(s.port()));
    ++connections_of[all.back()->get("/thread").body];
    CHECK(all.back()->open("/rooms/tea?id=" + std::to_string(i)) == 101);
    CHECK(all.back()->hear() == "welcome " + std::to_string(i));
  }
  CHECK(connections_of.size() == 3);
  for (const auto& [thread, n] : connections_of) CHECK(n == 3);
  all.front()->say("hello");
  for (const auto& c : all) CHECK(c->hear() == "hello");
  CHECK(s.rooms.shards("tea").size() == 5);
}

TEST_CASE("where it cannot listen, it says so") {
  site s;
  troupe::web_options taken;
  taken.port = s.port();
  CHECK_THROWS_AS(troupe::web_server(troupe::web_router(), taken), std::system_error);
  troupe::web_options nowhere;
  nowhere.address = "nowhere";
  CHECK_THROWS_AS(troupe::web_server(troupe::web_router(), nowhere), std::system_error);
}

}  // namespace web_server_tests

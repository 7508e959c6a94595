// SPDX-License-Identifier: MIT
#include <troupe/gateway.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>

#include "gateway/query_lobby.hpp"

namespace gateway_tests {

using namespace std::chrono_literals;

namespace {

/// Says all it sees to a list.
struct diary {
  std::vector<std::string> lines;
};
diary* open_diary = nullptr;

struct room {
  explicit room(troupe::shard s) : here(std::move(s)) {}

  troupe::task<troupe::response> receive(troupe::request asked) {
    if (asked.path() == "/throw") throw std::runtime_error("a secret");
    if (asked.path() == "/forbidden") throw troupe::http_error(403, "not for you");
    if (asked.wants_socket()) co_return asked.connect();
    co_return troupe::text_response(200, here.id());
  }
  void on_open(troupe::socket& s) {
    open_diary->lines.push_back("open " + s.uid());
    if (s.uid() == "refused") throw std::runtime_error("not you");
    s.send("welcome to " + here.id());
  }
  troupe::task<> on_message(troupe::socket& s, std::string_view text) {
    if (text == "throw") throw std::runtime_error("no");
    if (text == "bye") {
      s.close({troupe::close_code::normal, "as you wish"});
    } else if (text.starts_with("all ")) {
      const troupe::delivery told = co_await s.broadcast(std::string(text.substr(4)));
      s.send("told " + std::to_string(told.sockets));
    } else if (text.starts_with("here ")) {
      s.announce(std::string(text.substr(5)), troupe::audience::everyone);
    } else if (text.starts_with("to ")) {
      std::string whom(text.substr(3));
      const troupe::delivery told = co_await s.whisper(whom, "psst");
      s.send("whispered " + std::to_string(told.sockets));
    } else if (text == "who") {
      std::string all;
      const std::vector<troupe::gossip_reply> replies = co_await here.gossip("who");
      for (const troupe::gossip_reply& r : replies) {
        all += r.shard + "=" + (r.answer ? *r.answer : std::string("error")) + ";";
      }
      s.send(all);
    }
  }
  void on_close(troupe::socket& s, const troupe::close_info& how) {
    open_diary->lines.push_back("close " + s.uid() + " " +
                                std::to_string(static_cast<int>(how.code)));
  }
  void on_error(troupe::socket& s) { open_diary->lines.push_back("error " + s.uid()); }
  std::string on_gossip(std::string_view) {
    if (here.id() == "3") throw std::runtime_error("I say nothing");
    std::string ids;
    for (const troupe::socket& s : here.sockets()) ids += s.uid() + ",";
    return ids;
  }

  troupe::shard here;
};

using rooms_type = troupe::gateway<query_lobby, room>;

/// A client that has connected, and the coroutine that carries it.
class visitor {
public:
  visitor(troupe::broker& b, std::size_t capacity = 64)
      : broker_(b), wire_(std::make_shared<troupe::memory_socket>(capacity)) {}

  troupe::task<int> connect(rooms_type& rooms, std::string cluster, std::string id) {
    troupe::request asked = troupe::socket_request("/?id=" + id);
    troupe::response said = co_await rooms.receive(std::move(cluster), std::move(asked));
    if (said.session) broker_.spawn(carry(said.session, wire_));
    co_return said.status;
  }
  troupe::memory_socket& wire() { return *wire_; }

  troupe::task<std::string> next() {
    const std::optional<troupe::socket_message> m = co_await wire_->receive();
    co_return m ? std::string(m->text()) : std::string("(closed)");
  }

private:
  static troupe::task<> carry(std::shared_ptr<troupe::socket_session> s,
                              std::shared_ptr<troupe::memory_socket> w) {
    co_await s->run(std::move(w));
  }

  troupe::broker& broker_;
  std::shared_ptr<troupe::memory_socket> wire_;
};

/// A gateway on a simulation. Guests are carried by the broker, which ends before them.
struct house {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  diary book;
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  rooms_type rooms;
  std::vector<std::unique_ptr<visitor>> guests;

  explicit house(const troupe::gateway_options& options = {}) : rooms(broker, options) {
    open_diary = &book;
  }
  ~house() { open_diary = nullptr; }

  /// Connects and hears the welcome.
  troupe::task<visitor*> welcome(std::string id, std::string cluster = "x") {
    visitor* const guest = add();
    const int status = co_await guest->connect(rooms, std::move(cluster), std::move(id));
    REQUIRE(status == 101);
    const std::string said = co_await guest->next();
    REQUIRE(said.starts_with("welcome to "));
    co_return guest;
  }
  visitor* add(std::size_t capacity = 64) {
    guests.push_back(std::make_unique<visitor>(broker, capacity));
    return guests.back().get();
  }
  troupe::task<int> ask(std::string target, std::string cluster = "x") {
    troupe::request asked("GET", std::move(target));
    const troupe::response said = co_await rooms.receive(std::move(cluster), std::move(asked));
    co_return said.status;
  }
  /// Connections of each shard, as `1:2 2:1`.
  std::string loads(std::string_view cluster = "x") const {
    std::string all;
    for (const troupe::shard_info& s : rooms.shards(cluster)) {
      all += (all.empty() ? "" : " ") + s.id + ":" + std::to_string(s.connections);
    }
    return all;
  }
  template <class F>
  void run(F story) {
    sim.run(story(*this));
  }
};

}  // namespace

TEST_CASE("new ids go to the emptiest shard with room, and to a new one where there is none") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    co_await in.welcome("b");
    co_await in.welcome("c");
    CHECK(in.loads() == "1:2 2:1");
    CHECK(in.rooms.clusters() == std::vector<std::string>{"x"});
    a->wire().leave();
    co_await troupe::sleep_for(1ms);
    CHECK(in.loads() == "1:1 2:1");
    co_await in.welcome("d");
    co_await in.welcome("e");
    co_await in.welcome("f");
    CHECK(in.loads() == "1:2 2:2 3:1");
  });
}

TEST_CASE("a connected id keeps its shard, beyond the limit, up to the hard limit") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    co_await in.welcome("a");
    co_await in.welcome("b");
    co_await in.welcome("a");
    co_await in.welcome("a");
    CHECK(in.loads() == "1:4");
    const int status = co_await in.add()->connect(in.rooms, "x", "a");
    CHECK(status == 503);
    CHECK(in.loads() == "1:4");
    co_await in.welcome("c");
    CHECK(in.loads() == "1:4 2:1");
  });
}

TEST_CASE("a plain request counts while it runs, and ends no id's stay") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    co_await in.welcome("a");
    const int status = co_await in.ask("/?id=a");
    CHECK(status == 200);
    CHECK(in.loads() == "1:1");
    co_await in.welcome("b");
    co_await in.welcome("c");
    co_await in.welcome("a");
    CHECK(in.loads() == "1:3 2:1");
  });
}

TEST_CASE("shards at which nobody is go away, and their worker with them") {
  house h(troupe::gateway_options{.retire_after = 10s});
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    a->wire().leave();
    co_await troupe::sleep_for(9s);
    CHECK(in.loads() == "1:0");
    CHECK(in.broker.exists<room>("x/1"));
    co_await in.welcome("a");  // it is taken up again
    co_await troupe::sleep_for(30s);
    CHECK(in.loads() == "1:1");
    in.guests.back()->wire().vanish();
    co_await troupe::sleep_for(21s);
    CHECK(in.loads().empty());
    CHECK_FALSE(in.broker.exists<room>("x/1"));
    CHECK(in.rooms.clusters().empty());
    co_await in.welcome("a");
    CHECK(in.loads() == "1:1");
  });
}

TEST_CASE("counts are right whatever hooks throw and however clients go") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const refused = in.add();
    const int status = co_await refused->connect(in.rooms, "x", "refused");
    CHECK(status == 101);  // on_open comes after the handshake
    const std::string last = co_await refused->next();
    CHECK(last == "(closed)");
    REQUIRE(refused->wire().closed_by_server());
    CHECK(refused->wire().closed_by_server()->code == troupe::close_code::internal_error);

    visitor* const thrower = co_await in.welcome("thrower");
    static_cast<void>(co_await thrower->wire().send("throw"));
    const std::string after = co_await thrower->next();
    CHECK(after == "(closed)");

    visitor* const gone = co_await in.welcome("gone");
    gone->wire().vanish();
    visitor* const polite = co_await in.welcome("polite");
    polite->wire().leave({troupe::close_code::going_away, "home"});
    visitor* const sent_away = co_await in.welcome("sent");
    static_cast<void>(co_await sent_away->wire().send("bye"));
    const std::string bye = co_await sent_away->next();
    CHECK(bye == "(closed)");
    CHECK(sent_away->wire().closed_by_server()->reason == "as you wish");

    troupe::request asked = troupe::socket_request("/?id=never_run");
    {
      const troupe::response dropped = co_await in.rooms.receive("x", std::move(asked));
      CHECK(dropped.session);
    }
    const int thrown = co_await in.ask("/throw?id=z");
    CHECK(thrown == 500);
    co_await troupe::sleep_for(1ms);
    CHECK(in.loads() == "1:0");
  });
  const std::vector<std::string> told{"open refused",  "error refused", "open thrower",
                                      "error thrower", "open gone",     "open polite",
                                      "open sent"};
  std::multiset<std::string> lines(h.book.lines.begin(), h.book.lines.end());
  for (const std::string& line : told) CHECK(lines.count(line) == 1);
  CHECK(lines.count("error gone") == 1);
  CHECK(lines.count("close polite 1001") == 1);
  CHECK(lines.count("close sent 1000") == 1);
  CHECK(lines.size() == 10);
}

TEST_CASE("announce reaches the shard, broadcast the cluster, whisper one id") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    visitor* const b = co_await in.welcome("b");
    visitor* const c = co_await in.welcome("c");
    visitor* const other_a = co_await in.welcome("a");
    co_await in.welcome("b", "elsewhere");

    static_cast<void>(co_await a->wire().send("all hello"));
    std::string said = co_await a->next();
    CHECK(said == "told 2");
    said = co_await b->next();
    CHECK(said == "hello");
    said = co_await c->next();
    CHECK(said == "hello");

    static_cast<void>(co_await b->wire().send("here hi"));
    for (visitor* v : {a, other_a, b}) {
      said = co_await v->next();
      CHECK(said == "hi");
    }

    static_cast<void>(co_await c->wire().send("to a"));
    for (visitor* v : {a, other_a}) {
      said = co_await v->next();
      CHECK(said == "psst");
    }
    said = co_await c->next();
    CHECK(said == "whispered 2");
    static_cast<void>(co_await c->wire().send("to nobody"));
    said = co_await c->next();
    CHECK(said == "whispered 0");
  });
}

TEST_CASE("the sender's other devices hear it where that is wished") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    visitor* const other_a = co_await in.welcome("a");
    const troupe::delivery told = in.rooms.announce("x", "1", "from outside");
    CHECK(told.sockets == 2);
    CHECK(told.shards == 1);
    CHECK(told.complete());
    for (visitor* v : {a, other_a}) {
      const std::string said = co_await v->next();
      CHECK(said == "from outside");
    }
  });
}

TEST_CASE("gossip has one reply or error from each peer") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    for (const char* id : {"b", "c", "d", "e"}) co_await in.welcome(id);
    static_cast<void>(co_await a->wire().send("who"));
    const std::string said = co_await a->next();
    CHECK(said == "2=c,d,;3=error;");
    const auto all = co_await in.rooms.gossip("x", "who");
    REQUIRE(all.size() == 3);
    CHECK(*all[0].answer == "a,b,");
    CHECK_FALSE(all[2].answer);
  });
}

TEST_CASE("the program pushes to rooms; where there is none, nothing happens") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    co_await in.welcome("b");
    co_await in.welcome("c");
    troupe::delivery told = co_await in.rooms.broadcast("x", "all of you");
    CHECK(told.sockets == 3);
    CHECK(told.shards == 2);
    told = co_await in.rooms.whisper("x", "a", "you");
    CHECK(told.sockets == 1);
    std::string said = co_await a->next();
    CHECK(said == "all of you");
    said = co_await a->next();
    CHECK(said == "you");
    told = co_await in.rooms.broadcast("nowhere", "you");
    CHECK(told.sockets == 0);
    CHECK(in.rooms.announce("x", "9", "you").shards == 0);
    const auto none = co_await in.rooms.gossip("nowhere", "who");
    CHECK(none.empty());
  });
}

TEST_CASE("who is no WebSocket is told so, and what handlers throw gets a status") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    const int forbidden = co_await in.ask("/forbidden?id=a");
    CHECK(forbidden == 403);
    troupe::request secret("GET", "/throw?id=a");
    const troupe::response said = co_await in.rooms.receive("x", std::move(secret));
    CHECK(said.status == 500);
    CHECK(said.body.view() == "internal error");
  });

  troupe::request asked = troupe::socket_request();
  CHECK(asked.connect().status == 101);
  asked.method = "POST";
  CHECK(asked.connect().status == 405);
  asked = troupe::request();
  CHECK(asked.connect().status == 426);
  asked = troupe::socket_request();
  asked.fields.set("Sec-WebSocket-Key", "short");
  CHECK(asked.connect().status == 400);
  asked = troupe::socket_request();
  asked.fields.set("Sec-WebSocket-Version", "8");
  CHECK(asked.connect().status == 400);
  CHECK(asked.connect().fields.get("sec-websocket-version") == "13");
}

TEST_CASE("a shard whose instance goes closes its sockets, so that they come again") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    co_await in.broker.reload<room>("x/1");
    const std::string said = co_await a->next();
    CHECK(said == "(closed)");
    REQUIRE(a->wire().closed_by_server());
    CHECK(a->wire().closed_by_server()->code == troupe::close_code::service_restart);
    co_await troupe::sleep_for(1ms);
    CHECK(in.loads() == "1:0");
    co_await in.welcome("a");
    CHECK(in.loads() == "1:1");
  });
}

namespace {

std::vector<std::string>* slow_lines = nullptr;

/// Takes its time to open, and sends something before that is done.
struct slow_room {
  troupe::task<> on_open(troupe::socket& s) {
    s.send("wait");
    co_await troupe::sleep_for(50ms);
    slow_lines->push_back("opened");
  }
  void on_message(troupe::socket&, std::string_view) { slow_lines->push_back("message"); }
  void on_close(troupe::socket&) { slow_lines->push_back("closed"); }
};

troupe::task<> carry_one(std::shared_ptr<troupe::socket_session> s,
                         std::shared_ptr<troupe::memory_socket> w) {
  co_await s->run(std::move(w));
}

/// One client of one such room.
struct slow_house {
  slow_house() { slow_lines = &lines; }
  ~slow_house() { slow_lines = nullptr; }

  troupe::task<> connect() {
    troupe::request asked = troupe::socket_request("/?id=a");
    troupe::response said = co_await rooms.receive("x", std::move(asked));
    broker.spawn(carry_one(std::exchange(said.session, nullptr), wire));
  }
  /// The client's WebSocket was closed by the server, with this, and its place is free.
  void check_closed(troupe::close_code why) const {
    REQUIRE(wire->closed_by_server());
    CHECK(wire->closed_by_server()->code == why);
    CHECK(rooms.shards("x").front().connections == 0);
  }
  template <class F>
  void run(F story) {
    sim.run(story(*this));
  }

  std::vector<std::string> lines;
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  troupe::gateway<query_lobby, slow_room> rooms{broker};
  std::shared_ptr<troupe::memory_socket> wire = std::make_shared<troupe::memory_socket>();
};

}  // namespace

TEST_CASE("what closes all sockets closes one that is being opened as well") {
  slow_house h;
  h.run([](slow_house& in) -> troupe::task<> {
    co_await in.connect();
    auto heard = co_await in.wire->receive();
    CHECK(heard->text() == "wait");  // on_open has not ended yet
    in.rooms.close({troupe::close_code::going_away});
    heard = co_await in.wire->receive();
    CHECK_FALSE(heard);
    co_await troupe::sleep_for(1s);
    in.check_closed(troupe::close_code::going_away);
  });
  CHECK(h.lines == std::vector<std::string>{"opened", "closed"});
}

TEST_CASE("an instance hears nothing of sockets that it has not opened") {
  slow_house h;
  h.run([](slow_house& in) -> troupe::task<> {
    co_await in.connect();
    co_await troupe::sleep_for(1s);
    co_await in.broker.reload<slow_room>("x/1");
    static_cast<void>(co_await in.wire->send("to nobody"));
    co_await troupe::sleep_for(1s);
    in.check_closed(troupe::close_code::service_restart);
  });
  CHECK(h.lines == std::vector<std::string>{"opened"});
}

TEST_CASE("the worker of the gateway's class goes with its cluster") {
  house h(troupe::gateway_options{.retire_after = 1s});
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    CHECK(in.broker.exists<query_lobby>("x"));
    a->wire().leave();
    co_await troupe::sleep_for(10s);
    CHECK_FALSE(in.broker.exists<query_lobby>("x"));
    CHECK(in.broker.worker_count() == 0);
  });
}

TEST_CASE("a worker that is no shard of a cluster does not start") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    const auto stranger = co_await troupe::as_result(in.broker.load<room>("x/7"));
    CHECK_FALSE(stranger);
  });
}

TEST_CASE("a gateway that goes closes its sockets") {
  house h;
  h.run([](house& in) -> troupe::task<> {
    visitor* const a = co_await in.welcome("a");
    in.rooms.close({troupe::close_code::going_away, "good night"});
    const std::string said = co_await a->next();
    CHECK(said == "(closed)");
    CHECK(a->wire().closed_by_server()->code == troupe::close_code::going_away);
  });
}

// --- slow readers
// ---------------------------------------------------------------------------------

namespace {

troupe::gateway_options bounded(troupe::slow_reader policy) {
  troupe::gateway_options o;
  o.outbox.bytes = 10 * (64 + 1);  // ten messages of one letter
  o.outbox.policy = policy;
  return o;
}

/// Connects one that reads nothing beyond what its wire holds, and one that does.
bool all_heard_by_others = false;

troupe::task<std::string> flood(house& in, visitor* sloth) {
  const int status = co_await sloth->connect(in.rooms, "x", "sloth");
  CHECK(status == 101);
  visitor* const reader = co_await in.welcome("reader");
  std::size_t sent = 0;
  for (char c = 'a'; c <= 'z'; ++c) {
    const troupe::delivery told = in.rooms.announce("x", "1", std::string(1, c));
    sent += told.sockets;
    const std::string heard = co_await reader->next();
    CHECK(heard == std::string(1, c));
  }
  all_heard_by_others = sent >= 26;
  std::string all;
  bool silent = false;
  while (!silent) {
    const auto heard = co_await troupe::as_result(troupe::within(sloth->next(), 1s));
    if (heard) all += heard->substr(0, 1);
    silent = !heard || *heard == "(closed)";
  }
  co_return all;
}

}  // namespace

TEST_CASE(
    "a slow reader misses what is new, what is old, or is dropped; others see nothing of it") {
  using troupe::slow_reader;
  SECTION("new") {
    house h(bounded(slow_reader::drop_new));
    h.run([](house& in) -> troupe::task<> {
      const std::string all = co_await flood(in, in.add(1));
      CHECK(all.starts_with("wab"));
      CHECK(all.size() < 20);
      CHECK(all.find('z') == std::string::npos);
    });
  }
  SECTION("old") {
    house h(bounded(slow_reader::drop_old));
    h.run([](house& in) -> troupe::task<> {
      const std::string all = co_await flood(in, in.add(1));
      CHECK(all.ends_with("xyz"));
      CHECK(all.size() < 20);
    });
  }
  SECTION("dropped") {
    house h(bounded(slow_reader::close));
    h.run([](house& in) -> troupe::task<> {
      const std::string all = co_await flood(in, in.add(1));
      CHECK(all.ends_with("("));
      co_await troupe::sleep_for(1ms);
      CHECK(in.loads() == "1:1");
    });
    CHECK(all_heard_by_others);
    CHECK(std::count(h.book.lines.begin(), h.book.lines.end(), "error sloth") == 1);
  }
}

}  // namespace gateway_tests

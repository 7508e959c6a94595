// SPDX-License-Identifier: MIT
// What a gateway's class may say, and that everything balances in the end.

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

namespace placement_tests {

using namespace std::chrono_literals;

namespace {

std::string id_in(const troupe::request& asked) { return asked.parameter("id").value_or("?"); }

/// Takes its time to name a shard.
struct slow_lobby {
  static constexpr std::size_t limit = 2;
  static constexpr std::size_t max_shards = 3;
  troupe::task<std::optional<std::string>> identify(const troupe::request& asked) {
    if (asked.path() == "/own") co_return std::nullopt;
    if (asked.path() == "/who") throw troupe::http_error(401, "who are you?");
    co_await troupe::sleep_for(1ms);
    co_return id_in(asked);
  }
  troupe::task<std::string> clusterize(const troupe::request& asked) {
    co_await troupe::sleep_for(5ms);
    if (asked.path() == "/bad") throw std::runtime_error("no name comes to mind");
    if (asked.path() == "/slash") co_return "a/b";
    co_return "shard-" + std::to_string(++made);
  }
  troupe::response receive(const troupe::request&) { return troupe::text_response(200, "mine"); }

  int made = 0;
};

struct quiet_room {
  void on_open(troupe::socket&) {}
};

using slow_rooms = troupe::gateway<slow_lobby, quiet_room>;

troupe::task<int> ask(slow_rooms& rooms, std::string target, std::vector<troupe::response>& kept) {
  troupe::request asked = troupe::socket_request(std::move(target));
  troupe::response said = co_await rooms.receive(std::move(asked));
  const int status = said.status;
  kept.push_back(std::move(said));
  co_return status;
}

/// Says the same name again and again.
struct stubborn_lobby {
  static constexpr std::size_t limit = 1;
  std::string identify(const troupe::request& asked) { return id_in(asked); }
  std::string clusterize() { return "only"; }
};

}  // namespace

TEST_CASE("many first connects at once make no more shards than are needed") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  slow_rooms rooms{broker};
  std::vector<troupe::response> kept;
  sim.run([](slow_rooms& in, std::vector<troupe::response>& all) -> troupe::task<> {
    std::vector<troupe::task<int>> asked;
    for (const char* id : {"a", "b", "c", "d", "e", "f", "g"}) {
      asked.push_back(ask(in, std::string("/?id=") + id, all));
    }
    const std::vector<int> statuses = co_await troupe::when_all(std::move(asked));
    CHECK(std::count(statuses.begin(), statuses.end(), 101) == 6);
    CHECK(std::count(statuses.begin(), statuses.end(), 503) == 1);
  }(rooms, kept));
  const auto shards = rooms.shards();
  REQUIRE(shards.size() == 3);
  for (const auto& s : shards) CHECK(s.connections == 2);
  CHECK(shards[0].id == "shard-1");
  kept.clear();  // they go without having been run
  for (const auto& s : rooms.shards()) CHECK(s.connections == 0);
}

TEST_CASE("what no shard is asked goes to the gateway; errors stay with who made them") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  slow_rooms rooms{broker};
  std::vector<troupe::response> kept;
  sim.run([](slow_rooms& in, std::vector<troupe::response>& all) -> troupe::task<> {
    int status = co_await ask(in, "/own", all);
    CHECK(status == 200);
    CHECK(all.back().body.view() == "mine");
    status = co_await ask(in, "/who", all);
    CHECK(status == 401);
    CHECK(all.back().body.view() == "who are you?");
    status = co_await ask(in, "/bad?id=a", all);
    CHECK(status == 500);
    status = co_await ask(in, "/slash?id=a", all);
    CHECK(status == 500);
    CHECK(in.shards().empty());
    CHECK(in.clusters().empty());
    status = co_await ask(in, "/?id=a", all);
    CHECK(status == 101);
  }(rooms, kept));
}

TEST_CASE("a name that is taken makes no shard") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  troupe::gateway<stubborn_lobby, quiet_room> rooms{broker};
  std::vector<troupe::response> kept;
  sim.run([](auto& in, std::vector<troupe::response>& all) -> troupe::task<> {
    for (const char* id : {"a", "b"}) {
      troupe::request asked = troupe::socket_request(std::string("/?id=") + id);
      all.push_back(co_await in.receive(std::move(asked)));
    }
  }(rooms, kept));
  CHECK(kept[0].status == 101);
  CHECK(kept[1].status == 500);
  CHECK(rooms.shards().size() == 1);
}

namespace {

struct lingering_room {
  troupe::task<> linger() { co_await troupe::sleep_for(2s); }
  void on_open(troupe::socket& s) { s.send(std::to_string(++opened)); }
  void on_message(troupe::socket& s, std::string_view text) { s.send(std::string(text)); }

  int opened = 0;
};
using lingering_rooms = troupe::gateway<stubborn_lobby, lingering_room>;

troupe::task<std::shared_ptr<troupe::memory_socket>> enter(troupe::broker& b, lingering_rooms& in) {
  troupe::request asked = troupe::socket_request("/?id=a");
  const troupe::response said = co_await in.receive(std::move(asked));
  REQUIRE(said.status == 101);
  auto wire = std::make_shared<troupe::memory_socket>();
  b.spawn([](std::shared_ptr<troupe::socket_session> s, auto w) -> troupe::task<> {
    co_await s->run(std::move(w));
  }(said.session, wire));
  co_return wire;
}

}  // namespace

TEST_CASE("a shard waits until the one that had its name is gone") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  lingering_rooms rooms{broker, troupe::gateway_options{.retire_after = 1s}};
  sim.run([](troupe::broker& b, lingering_rooms& in) -> troupe::task<> {
    auto first = co_await enter(b, in);
    auto said = co_await first->receive();
    CHECK(said->text() == "1");
    first->leave();
    co_await troupe::sleep_for(900ms);
    b.spawn([](troupe::broker& there) -> troupe::task<> {
      co_await there.worker<lingering_room>("/only").call<&lingering_room::linger>();
    }(b));
    co_await troupe::sleep_for(300ms);  // it is being retired, and not gone
    CHECK(in.shards().empty());
    CHECK(b.exists<lingering_room>("/only"));
    auto second = co_await enter(b, in);
    said = co_await second->receive();
    CHECK(said->text() == "1");
    co_await troupe::sleep_for(5s);
    static_cast<void>(co_await second->send("still there"));
    said = co_await second->receive();
    REQUIRE(said);
    CHECK(said->text() == "still there");
    second->leave();
  }(broker, rooms));
}

TEST_CASE("there are no more clusters than are wished for") {
  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  lingering_rooms rooms{broker, troupe::gateway_options{.retire_after = 1s, .max_clusters = 2}};
  const auto status = [&](std::string cluster) {
    return sim.run([](lingering_rooms& in, std::string name) -> troupe::task<int> {
      troupe::request asked = troupe::socket_request("/?id=a");
      const troupe::response said = co_await in.receive(std::move(name), std::move(asked));
      co_return said.status;
    }(rooms, std::move(cluster)));
  };
  CHECK(status("a") == 101);
  CHECK(status("b") == 101);
  CHECK(status("c") == 503);
  CHECK(status("b") == 101);
  CHECK(broker.workers().size() <= 4);  // nobody of a third cluster
  sim.run([]() -> troupe::task<> { co_await troupe::sleep_for(10s); }());
  CHECK(status("c") == 101);
}

// --- everything balances
// --------------------------------------------------------------------------

namespace {

struct counts {
  std::atomic<int> opened{0};
  std::atomic<int> refused{0};
  std::atomic<int> ended{0};
  std::atomic<int> inside{0};
  std::atomic<int> wrong{0};  // Catch's own counts are one thread's
};
counts* all_counts = nullptr;

struct busy_lobby {
  static constexpr std::size_t limit = 3;
  std::string identify(const troupe::request& asked) { return id_in(asked); }
};

/// Each hook may throw, by what the client says.
struct busy_room {
  troupe::task<> on_open(troupe::socket& s) {
    ++all_counts->opened;
    co_await troupe::yield();
    if (s.number() % 7 == 0) {
      ++all_counts->refused;
      throw std::runtime_error("no");
    }
    ++all_counts->inside;
    ++members;
  }
  troupe::task<> on_message(troupe::socket& s, std::string_view text) {
    if (text == "throw") throw std::runtime_error("no");
    if (text == "bye") s.close();
    const troupe::delivery told = co_await s.broadcast(std::string(text));
    if (!told.failures.empty()) ++all_counts->wrong;
  }
  void on_close(troupe::socket& s) { leave(s); }
  void on_error(troupe::socket& s) {
    leave(s);
    throw std::runtime_error("and then this");
  }
  void leave(const troupe::socket& s) {
    ++all_counts->ended;
    if (s.number() % 7 != 0) {
      --all_counts->inside;
      --members;
    }
  }

  int members = 0;
};

using busy_rooms = troupe::gateway<busy_lobby, busy_room>;

troupe::task<> carry(std::shared_ptr<troupe::socket_session> s,
                     std::shared_ptr<troupe::memory_socket> wire) {
  co_await s->run(std::move(wire));
}

troupe::task<> listen(std::shared_ptr<troupe::memory_socket> wire) {
  for (;;) {
    const auto m = co_await wire->receive();
    if (!m) co_return;
  }
}

/// Comes, talks, and goes in one of several ways.
troupe::task<> guest(busy_rooms& rooms, int number, int visits) {
  for (int visit = 0; visit < visits; ++visit) {
    const int fate = (number * 5 + visit) % 6;
    troupe::request asked = troupe::socket_request("/?id=" + std::to_string(number / 2));
    troupe::response said = co_await rooms.receive("x", std::move(asked));
    if (said.status == 503) continue;
    if (said.status != 101) ++all_counts->wrong;
    if (fate == 0) continue;  // gone before it is open
    const auto wire = std::make_shared<troupe::memory_socket>(4);
    troupe::task_scope both;
    both.spawn(carry(said.session, wire));
    both.spawn(listen(wire));
    said.session = nullptr;
    for (int i = 0; i < 3; ++i) {
      static_cast<void>(co_await wire->send("hello"));
      co_await troupe::yield();
    }
    if (fate == 1) static_cast<void>(co_await wire->send("throw"));
    if (fate == 2) static_cast<void>(co_await wire->send("bye"));
    if (fate == 3) wire->vanish();
    if (fate > 3) wire->leave();
    co_await both.join();
  }
}

troupe::task<> crowd(busy_rooms& rooms, int guests, int visits) {
  std::vector<troupe::task<>> all;
  for (int i = 0; i < guests; ++i) all.push_back(guest(rooms, i, visits));
  co_await troupe::when_all(std::move(all));
}

void check_balance(const counts& c, const busy_rooms& rooms) {
  CHECK(c.opened > 0);
  CHECK(c.ended == c.opened);
  CHECK(c.inside == 0);
  CHECK(c.wrong == 0);
  for (const troupe::shard_info& s : rooms.shards("x")) {
    CHECK(s.connections == 0);
    CHECK(s.sockets == 0);
  }
}

}  // namespace

TEST_CASE("whoever comes and goes how, counts balance and each end is told once: many seeds") {
  int refused = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    counts c;
    all_counts = &c;
    {
      troupe::sim_executor sim{troupe::sim_options{.seed = seed, .threads = 3}};
      troupe::broker broker{troupe::broker_options{.on = &sim}};
      busy_rooms rooms{broker};
      sim.run(crowd(rooms, 10, 3));
      check_balance(c, rooms);
    }
    refused += c.refused;
    all_counts = nullptr;
  }
  CHECK(refused > 0);
}

TEST_CASE("the same on threads") {
  counts c;
  all_counts = &c;
  {
    troupe::broker broker{troupe::broker_options{.threads = 4}};
    busy_rooms rooms{broker, troupe::gateway_options{.retire_after = 1ms}};
    broker.run(crowd(rooms, 20, 20));
    check_balance(c, rooms);
  }
  all_counts = nullptr;
}

TEST_CASE("a broker that goes takes open sockets with it") {
  counts c;
  all_counts = &c;
  const auto wire = std::make_shared<troupe::memory_socket>();
  {
    troupe::broker broker{troupe::broker_options{.threads = 2}};
    busy_rooms rooms{broker};
    troupe::request asked = troupe::socket_request("/?id=1");
    troupe::response said = broker.run(rooms.receive("x", std::move(asked)));
    broker.spawn(carry(std::exchange(said.session, nullptr), wire));
    broker.run(troupe::within(
        [](std::shared_ptr<troupe::memory_socket> w) -> troupe::task<> {
          static_cast<void>(co_await w->send("hello"));
          for (int i = 0; i < 10'000 && all_counts->inside == 0; ++i) {
            co_await troupe::sleep_for(1ms);
          }
        }(wire),
        30s));
    CHECK(c.inside == 1);
  }
  CHECK(wire->closed_by_server());
  all_counts = nullptr;
}

}  // namespace placement_tests

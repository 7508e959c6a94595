// SPDX-License-Identifier: MIT
// A gateway of several processes: here several brokers on one simulated executor and one network.

#include <catch2/catch.hpp>

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
#include <troupe/gateway.hpp>
#include <troupe/gateway/shared_gateway.hpp>
#include <troupe/net/memory_network.hpp>

namespace shared_tests {
namespace {

using namespace std::chrono_literals;

struct lobby {
  static constexpr std::size_t limit = 2;
  std::string identify(const troupe::request& asked) {
    return asked.parameter("id").value_or("nobody");
  }
};

struct room {
  explicit room(troupe::shard s) : here(std::move(s)) {}

  troupe::task<troupe::response> receive(troupe::request asked) {
    if (asked.path() == "/throw") throw std::runtime_error("a secret");
    if (asked.path() == "/slow") co_await troupe::sleep_for(5s);
    if (asked.path() == "/forbidden") throw troupe::http_error(403, "not for you");
    if (asked.wants_socket()) co_return asked.connect();
    troupe::response said = troupe::text_response(200, here.id());
    said.fields.set("Seen", asked.fields.get("Shown").empty() ? "nothing" : "something");
    co_return said;
  }
  void on_open(troupe::socket& s) {
    ++opened;
    if (s.uid() == "refused") throw std::runtime_error("not you");
    s.send("welcome to " + here.id());
  }
  troupe::task<> on_message(troupe::socket& s, const troupe::socket_message& m) {
    const std::string_view text = m.text();
    if (m.is_binary()) {
      s.send(troupe::socket_message::binary(m.payload()));
    } else if (text == "throw") {
      throw std::runtime_error("no");
    } else if (text == "bye") {
      s.close({troupe::close_code::normal, "as you wish"});
    } else if (text.starts_with("all ")) {
      const troupe::delivery told = co_await s.broadcast(std::string(text.substr(4)));
      CHECK(told.complete() == (told.shards != 0));
      s.send("told " + std::to_string(told.sockets) + " in " + std::to_string(told.shards));
    } else if (text.starts_with("to ")) {
      const troupe::delivery told = co_await s.whisper(std::string(text.substr(3)), "psst");
      s.send("whispered " + std::to_string(told.sockets));
    } else if (text == "count") {
      s.send(std::to_string(opened));
    } else if (text == "who") {
      std::string all;
      const std::vector<troupe::gossip_reply> replies = co_await here.gossip("who");
      for (const troupe::gossip_reply& r : replies) {
        all += r.shard + "=" + (r.answer ? *r.answer : std::string("error")) + ";";
      }
      s.send(all);
    } else {
      s.send("heard " + std::string(text));
    }
  }
  std::string on_gossip(std::string_view) {
    std::string ids;
    for (const troupe::socket& s : here.sockets()) ids += s.uid() + ",";
    return ids;
  }

  troupe::shard here;
  int opened = 0;  // sockets, by this instance
};

using rooms_type = troupe::shared_gateway<lobby, room>;
using wire = std::shared_ptr<troupe::memory_socket>;

troupe::task<> carry(std::shared_ptr<troupe::socket_session> s, wire w) {
  co_await s->run(std::move(w));
}

struct process {
  process(troupe::executor& on, troupe::network& net, const troupe::shared_gateway_options& options)
      : broker(troupe::broker_options{.on = &on}),
        rooms(std::make_unique<rooms_type>(broker, net, "rooms", options)) {}

  troupe::task<int> connect(std::string id, wire client, std::string path = "/") {
    troupe::request asked = troupe::socket_request(path + "?id=" + id);
    troupe::response said = co_await rooms->receive("tea", std::move(asked));
    if (said.session) broker.spawn(carry(said.session, std::move(client)));
    co_return said.status;
  }
  troupe::task<troupe::response> ask(std::string target) {
    troupe::request asked("GET", std::move(target));
    asked.fields.set("Shown", "yes");
    co_return co_await rooms->receive("tea", std::move(asked));
  }

  troupe::broker broker;
  std::unique_ptr<rooms_type> rooms;
};

troupe::task<std::string> next(wire w) {
  const std::optional<troupe::socket_message> m = co_await w->receive();
  co_return m ? std::string(m->text()) : std::string("(closed)");
}

troupe::task<std::string> say(wire w, std::string text) {
  static_cast<void>(co_await w->send(std::move(text)));
  co_return co_await next(std::move(w));
}

/// Several processes; clients outlive them.
struct town {
  troupe::sim_executor sim;
  troupe::memory_network net;
  troupe::broker driver;
  troupe::shared_gateway_options options;
  std::vector<wire> clients;
  std::vector<std::unique_ptr<process>> processes;

  explicit town(std::size_t many, std::uint64_t seed = 1,
                const troupe::memory_network_options& faults = {})
      : sim(troupe::sim_options{.seed = seed}),
        net(sim, faults),
        driver(troupe::broker_options{.on = &sim}) {
    for (std::size_t i = 0; i != many; ++i) found();
    if (many != 0) pass(options.lease);  // all know one another
  }
  process& found() {
    processes.push_back(std::make_unique<process>(sim, net, options));
    return *processes.back();
  }
  /// Keeps, and has neither shards nor clients, if it is the first. Others may host.
  process& found_guide() {
    options.hosts_shards = false;
    process& guide = found();
    pass(options.lease);
    options.hosts_shards = true;
    return guide;
  }
  wire client() {
    clients.push_back(std::make_shared<troupe::memory_socket>());
    return clients.back();
  }
  template <class T>
  T run(troupe::task<T> t) {
    return driver.run(troupe::within(std::move(t), 10min));  // else it would wait for ever
  }
  void pass(troupe::duration d) { run(sleep(d)); }
  /// A client that is open.
  wire enter(process& at, std::string id) {
    wire w = client();
    CHECK(run(at.connect(std::move(id), w)) == 101);
    CHECK(run(next(w)).starts_with("welcome"));
    return w;
  }
  static troupe::task<> sleep(troupe::duration d) { co_await troupe::sleep_for(d); }

  /// Who keeps the tables, and any other.
  process& keeper() {
    pass(options.lease);
    for (const auto& p : processes) {
      if (p->rooms->address() == p->rooms->keeper()) return *p;
    }
    throw std::logic_error("nobody keeps");
  }
  process& no_keeper() {
    process& is = keeper();
    for (const auto& p : processes) {
      if (p.get() != &is) return *p;
    }
    throw std::logic_error("there is one process");
  }
  /// As others see it, it is killed.
  void kill(process& p) {
    net.cut(p.rooms->address());
    for (auto& own : processes) {
      if (own.get() == &p) own.reset();
    }
    std::erase(processes, nullptr);
  }
};

TEST_CASE("clients of several processes are in one cluster", "[gateway][shared]") {
  town t(3);
  wire ann = t.client(), ben = t.client(), cyd = t.client();
  CHECK(t.run(t.processes[0]->connect("ann", ann)) == 101);
  CHECK(t.run(t.processes[1]->connect("ben", ben)) == 101);
  CHECK(t.run(t.processes[2]->connect("cyd", cyd)) == 101);
  CHECK(t.run(next(ann)) == "welcome to 1");
  CHECK(t.run(next(ben)) == "welcome to 1");
  CHECK(t.run(next(cyd)) == "welcome to 2");

  CHECK(t.run(say(ann, "hello")) == "heard hello");
  CHECK(t.run(say(ann, "all good morning")) == "told 2 in 2");
  CHECK(t.run(next(ben)) == "good morning");
  CHECK(t.run(next(cyd)) == "good morning");
  CHECK(t.run(say(cyd, "to ann")) == "whispered 1");
  CHECK(t.run(next(ann)) == "psst");
  CHECK(t.run(say(cyd, "to nobody")) == "whispered 0");
  CHECK(t.run(say(cyd, "who")) == "1=ann,ben,;");

  // The same id by another process: at its own shard, though that is full.
  wire again = t.client();
  CHECK(t.run(t.processes[2]->connect("ann", again)) == 101);
  CHECK(t.run(next(again)) == "welcome to 1");
  CHECK(t.run(say(cyd, "to ann")) == "whispered 2");

  const auto shards = t.run(t.processes[1]->rooms->shards("tea"));
  REQUIRE(shards.size() == 2);
  CHECK(shards[0].connections == 3);
  CHECK(shards[1].connections == 1);
  CHECK(shards[0].process != shards[1].process);
  CHECK(t.run(t.processes[1]->rooms->clusters()) == std::vector<std::string>{"tea"});
  CHECK(t.processes[0]->rooms->processes().size() == 3);
}

TEST_CASE("a process that takes no shards gets none", "[gateway][shared]") {
  town t(0);
  t.options.hosts_shards = false;
  process& front = t.found();
  t.options.hosts_shards = true;
  process& back = t.found();
  wire ann = t.client(), ben = t.client(), cyd = t.client();
  CHECK(t.run(front.connect("ann", ann)) == 101);
  CHECK(t.run(front.connect("ben", ben)) == 101);
  CHECK(t.run(front.connect("cyd", cyd)) == 101);
  for (const auto& s : t.run(front.rooms->shards("tea"))) CHECK(s.process == back.rooms->address());
  CHECK(back.broker.workers().size() >= 2);
}

TEST_CASE("no process takes shards: 503", "[gateway][shared]") {
  town t(0);
  t.options.hosts_shards = false;
  process& front = t.found();
  CHECK(t.run(front.ask("/?id=ann")).status == 503);
}

TEST_CASE("requests go to the shard of their id, and what a hook throws is answered there",
          "[gateway][shared]") {
  town t(2);
  process& front = t.no_keeper();
  const troupe::response said = t.run(front.ask("/?id=ann"));
  CHECK(said.status == 200);
  CHECK(said.body.view() == "1");
  CHECK(said.fields.get("Seen") == "something");
  const troupe::response thrown = t.run(front.ask("/throw?id=ann"));
  CHECK(thrown.status == 500);
  CHECK(thrown.body.view() == "internal error");
  const troupe::response forbidden = t.run(front.ask("/forbidden?id=ann"));
  CHECK(forbidden.status == 403);
  CHECK(forbidden.body.view() == "not for you");
  // A request counts while it runs, and no longer.
  t.pass(1s);
  for (const auto& s : t.run(front.rooms->shards("tea"))) CHECK(s.connections == 0);
  t.pass(30s);
  CHECK(t.run(front.rooms->clusters()).empty());
}

TEST_CASE("the ends of a socket are heard of on both sides", "[gateway][shared]") {
  town t(2);
  process& front = t.no_keeper();
  wire ann = t.client(), ben = t.client(), cyd = t.client(), dan = t.client();
  SECTION("by the client") {
    CHECK(t.run(front.connect("ann", ann)) == 101);
    CHECK(t.run(next(ann)) == "welcome to 1");
    ann->leave();
  }
  SECTION("by a client that vanishes") {
    CHECK(t.run(front.connect("ann", ann)) == 101);
    CHECK(t.run(next(ann)) == "welcome to 1");
    ann->vanish();
  }
  SECTION("by the shard") {
    CHECK(t.run(front.connect("ann", ann)) == 101);
    CHECK(t.run(next(ann)) == "welcome to 1");
    CHECK(t.run(say(ann, "bye")) == "(closed)");
    REQUIRE(ann->closed_by_server());
    CHECK(ann->closed_by_server()->code == troupe::close_code::normal);
    CHECK(ann->closed_by_server()->reason == "as you wish");
  }
  SECTION("by a hook that throws") {
    CHECK(t.run(front.connect("ann", ann)) == 101);
    CHECK(t.run(next(ann)) == "welcome to 1");
    CHECK(t.run(say(ann, "throw")) == "(closed)");
    REQUIRE(ann->closed_by_server());
    CHECK(ann->closed_by_server()->code == troupe::close_code::internal_error);
  }
  SECTION("before it is open") {
    CHECK(t.run(front.connect("refused", ann)) == 101);
    CHECK(t.run(next(ann)) == "(closed)");
  }
  SECTION("by a transport that drops the session") {
    troupe::request asked = troupe::socket_request("/?id=ann");
    troupe::response said = t.run(front.rooms->receive("tea", std::move(asked)));
    CHECK(said.session);
  }
  t.pass(1s);
  for (const auto& s : t.run(front.rooms->shards("tea"))) CHECK(s.connections == 0);
}

TEST_CASE("binary and large messages arrive as they are", "[gateway][shared]") {
  town t(2);
  process& front = t.no_keeper();
  const wire ann = t.enter(front, "ann");
  for (const std::size_t size : {0U, 1U, 100U, 100000U, 1000000U}) {
    std::string sent(size, '\0');
    for (std::size_t i = 0; i != size; ++i) sent[i] = static_cast<char>(i * 7);
    const auto echo =
        t.run([](wire w, std::string bytes) -> troupe::task<std::optional<troupe::socket_message>> {
          static_cast<void>(co_await w->send(troupe::socket_message::binary(std::move(bytes))));
          co_return co_await w->receive();
        }(ann, sent));
    REQUIRE(echo);
    CHECK(echo->is_binary());
    CHECK(echo->text() == sent);
  }
}

TEST_CASE("a client that does not read holds up nobody but itself", "[gateway][shared]") {
  town t(0);
  t.options.shards.outbox.bytes = 256 << 10;
  t.found();
  t.found();
  process& front = t.no_keeper();
  wire ann = t.client(), ben = t.client();
  CHECK(t.run(front.connect("ann", ann)) == 101);
  CHECK(t.run(front.connect("ben", ben)) == 101);
  CHECK(t.run(next(ben)) == "welcome to 1");
  const std::string much(64 << 10, 'x');
  int dropped = 0;
  for (int i = 0; i != 80 && dropped == 0; ++i) {  // 5 MB to a client that never reads
    const troupe::delivery told = t.run(front.rooms->broadcast("tea", much));
    CHECK(t.run(next(ben)) == much);
    dropped += static_cast<int>(told.dropped);
  }
  CHECK(dropped == 1);
  t.pass(1s);
  const auto shards = t.run(front.rooms->shards("tea"));
  REQUIRE(shards.size() == 1);
  CHECK(shards[0].connections == 1);
}

TEST_CASE("connected users stay one cluster when the keeper is killed", "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 61));
  CAPTURE(seed);
  town t(0, seed);
  process& guide = t.found_guide();
  process& east = t.found();
  process& west = t.found();
  t.pass(t.options.lease);
  REQUIRE(guide.rooms->keeper() == guide.rooms->address());
  const wire ann = t.enter(east, "ann"), ben = t.enter(west, "ben"), cyd = t.enter(west, "cyd");

  t.kill(guide);
  // What does not need the keeper goes on; what does is not said twice.
  CHECK(t.run(say(ann, "hello")) == "heard hello");
  CHECK(t.run(say(ann, "all good evening")) == "told 0 in 0");
  CHECK(t.run(say(ben, "hello")) == "heard hello");
  t.pass(t.options.lease);
  CHECK(t.run(say(ann, "all good morning")) == "told 2 in 2");
  CHECK(t.run(next(ben)) == "good morning");
  CHECK(t.run(next(cyd)) == "good morning");

  const auto before = t.run(east.rooms->shards("tea"));
  REQUIRE(before.size() == 2);
  CHECK(before[0].connections + before[1].connections == 3);
  wire again = t.client(), dan = t.client(), eve = t.client();
  CHECK(t.run(east.connect("ben", again)) == 101);  // sticky as ever
  CHECK(t.run(next(again)) == "welcome to 1");
  CHECK(t.run(east.connect("dan", dan)) == 101);  // where there is room
  CHECK(t.run(next(dan)) == "welcome to 2");
  CHECK(t.run(east.connect("eve", eve)) == 101);  // and with a number of its own
  CHECK(t.run(next(eve)) == "welcome to 3");
  CHECK(t.run(say(eve, "all hello")) == "told 5 in 3");
}

TEST_CASE("gossip without a keeper gives one error", "[gateway][shared]") {
  town t(0);
  process& guide = t.found_guide();
  process& east = t.found();
  t.pass(t.options.lease);
  const wire ann = t.enter(east, "ann");
  t.kill(guide);
  CHECK(t.run(say(ann, "who")) == "=error;");
  CHECK(t.run(say(ann, "hello")) == "heard hello");
}

TEST_CASE("what is no question, or not for this process, harms nobody", "[gateway][shared]") {
  town t(2);
  process& keeper = t.keeper();
  process& other = t.no_keeper();
  const auto stranger = t.net.open("stranger");
  for (const std::string_view garbage : {"", "garbage", "\x01\x02\x03\x04\x05\x06\x07\x08"}) {
    stranger->send(keeper.rooms->address(), troupe::shared_bytes(garbage));
    troupe::detail::exchange_envelope e;
    e.kind = troupe::detail::exchange_envelope::question;
    e.body = troupe::shared_bytes(garbage);
    stranger->send(keeper.rooms->address(), troupe::shared_bytes(troupe::encode(e)));
    e.kind = troupe::detail::exchange_envelope::word;
    stranger->send(keeper.rooms->address(), troupe::shared_bytes(troupe::encode(e)));
  }
  troupe::detail::exchange_envelope look;
  look.kind = troupe::detail::exchange_envelope::question;
  look.body =
      troupe::detail::wire::packed(troupe::detail::wire::question(troupe::detail::wire::look()));
  stranger->send(other.rooms->address(), troupe::shared_bytes(troupe::encode(look)));
  const auto refused = t.run(stranger->receive());
  CHECK(refused);
  for (process* p : {&keeper, &other}) CHECK(t.run(p->ask("/?id=ann")).status == 200);
}

TEST_CASE("processes have addresses of their own, and names without slashes", "[gateway][shared]") {
  troupe::thread_pool east{{.threads = 1}}, west{{.threads = 1}};
  troupe::memory_network net{east};
  process a(east, net, {});
  process b(west, net, {});
  CHECK(a.rooms->address() != b.rooms->address());
  CHECK_THROWS_AS(rooms_type(a.broker, net, "a/member", {}), std::invalid_argument);
  troupe::shared_gateway_options hasty;
  hasty.lease = 1ms;
  CHECK_THROWS_AS(rooms_type(a.broker, net, "other", hasty), std::invalid_argument);
}

TEST_CASE("a gateway that goes while a hook runs leaves nothing behind", "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 31));
  CAPTURE(seed);
  town t(2, seed);
  t.pass(t.options.lease);
  for (int i = 0; i != 4; ++i) {
    process& at = *t.processes[static_cast<std::size_t>(i) % 2];
    at.broker.spawn([](process& p, wire w, int n) -> troupe::task<> {
      static_cast<void>(co_await p.connect("guest" + std::to_string(n), std::move(w)));
    }(at, t.client(), i));
  }
  t.pass(troupe::duration(static_cast<troupe::duration::rep>(seed * 1000)));
  t.processes[seed % 2]->rooms.reset();
  t.pass(t.options.lease);
  t.processes[1 - seed % 2]->rooms.reset();
  t.pass(t.options.lease);
}

TEST_CASE("the clients of a killed host come again", "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 31));
  CAPTURE(seed);
  town t(0, seed);
  process& front = t.found_guide();
  process& first = t.found();
  t.pass(t.options.lease);
  wire ann = t.client();
  CHECK(t.run(front.connect("ann", ann)) == 101);
  CHECK(t.run(next(ann)) == "welcome to 1");
  process& second = t.found();
  t.pass(t.options.lease);
  wire ben = t.client(), cyd = t.client();
  CHECK(t.run(front.connect("ben", ben)) == 101);
  CHECK(t.run(front.connect("cyd", cyd)) == 101);
  CHECK(t.run(next(ben)) == "welcome to 1");
  CHECK(t.run(next(cyd)) == "welcome to 2");

  t.kill(first);
  CHECK(t.run(next(ann)) == "(closed)");
  REQUIRE(ann->closed_by_server());
  CHECK(ann->closed_by_server()->code == troupe::close_code::service_restart);
  CHECK(t.run(next(ben)) == "(closed)");
  CHECK(t.run(say(cyd, "hello")) == "heard hello");
  wire again = t.client();
  CHECK(t.run(front.connect("ann", again)) == 101);
  CHECK(t.run(next(again)) == "welcome to 2");
  const auto shards = t.run(front.rooms->shards("tea"));
  REQUIRE(shards.size() == 1);
  CHECK(shards[0].connections == 2);
  CHECK(shards[0].process == second.rooms->address());
}

TEST_CASE("the clients of a killed front leave their shards", "[gateway][shared]") {
  town t(2);
  process& front = t.no_keeper();
  process& other = t.keeper();
  wire ann = t.client(), ben = t.client();
  CHECK(t.run(front.connect("ann", ann)) == 101);
  CHECK(t.run(other.connect("ben", ben)) == 101);
  CHECK(t.run(next(ben)) == "welcome to 1");
  CHECK(t.run(say(ben, "all hello")) == "told 1 in 1");
  const bool shard_was_there =
      t.run(other.rooms->shards("tea")).at(0).process == front.rooms->address();
  t.kill(front);
  t.pass(2 * t.options.lease);
  if (shard_was_there) {
    CHECK(t.run(next(ben)) == "(closed)");
    CHECK(t.run(other.rooms->clusters()).empty());
  } else {
    CHECK(t.run(say(ben, "all hello")) == "told 0 in 1");
    CHECK(t.run(other.rooms->shards("tea")).at(0).connections == 1);
  }
}

TEST_CASE("a process that has lost its cable gives up what the others have given up",
          "[gateway][shared]") {
  town t(3);
  process& cut = t.keeper();
  process& left = t.no_keeper();
  std::vector<wire> all;
  for (std::size_t i = 0; i != 6; ++i) {
    all.push_back(t.enter(*t.processes[i % 3], "guest" + std::to_string(i)));
  }
  const std::string address = cut.rooms->address();
  t.net.cut(address);
  t.pass(3 * t.options.lease);
  std::size_t connections = 0;
  for (const auto& s : t.run(left.rooms->shards("tea"))) {
    CHECK(s.process != address);
    connections += s.connections;
  }
  CHECK(connections < 6);
  CHECK(t.run(cut.ask("/?id=x")).status == 503);
  t.net.mend(address);
  t.pass(2 * t.options.lease);
  CHECK(t.run(cut.ask("/?id=x")).status == 200);
  CHECK(left.rooms->processes().size() == 3);
  // Everybody either is connected, and heard, or knows that he is not.
  std::size_t connected = 0;
  for (const wire& w : all) {
    const std::string answer = t.run(say(w, "hello"));
    if (answer == "heard hello")
      ++connected;
    else
      CHECK(answer == "(closed)");
  }
  CHECK(connected == connections);
}

/// So many of these are connected, and heard; the others know that they are not.
std::size_t count_connected(town& t, const std::vector<wire>& all) {
  std::size_t connected = 0;
  for (const wire& w : all) {
    const std::string answer = t.run(say(w, "hello"));
    if (answer == "heard hello") ++connected;
    if (answer != "heard hello") CHECK(answer == "(closed)");
  }
  return connected;
}

std::size_t count_places(town& t, process& at) {
  std::size_t places = 0;
  for (const auto& s : t.run(at.rooms->shards("tea"))) places += s.connections;
  return places;
}

TEST_CASE("an outage of any length leaves nobody between two stools", "[gateway][shared]") {
  const auto who = GENERATE(range<std::size_t>(0, 3));
  const auto begins = GENERATE(range(0, 1000, 300));
  const auto lasts = GENERATE(range(250, 3750, 250));
  CAPTURE(who, begins, lasts);
  town t(0);
  process& guide = t.found_guide();
  process& east = t.found();
  process& west = t.found();
  t.pass(t.options.lease);
  std::vector<wire> all{t.enter(east, "ann"), t.enter(west, "ben"), t.enter(west, "cyd")};

  const std::string address = t.processes[who]->rooms->address();
  t.pass(std::chrono::milliseconds(begins));
  t.net.cut(address);
  t.pass(std::chrono::milliseconds(lasts));
  t.net.mend(address);
  t.pass(3 * t.options.lease);

  const std::size_t left = count_connected(t, all);
  if (who == 0) CHECK(left == 3);
  CHECK(count_places(t, east) == left);
  for (const char* id : {"dan", "eve", "fay", "gil"}) all.push_back(t.enter(east, id));
  CHECK(count_connected(t, all) == left + 4);
  CHECK(count_places(t, west) == left + 4);
  for (const auto& p : t.processes) {
    CHECK(p->rooms->processes().size() == 3);
    CHECK(p->rooms->keeper() == guide.rooms->keeper());
  }
}

TEST_CASE("claims may take a sixth of a lease", "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 11));
  CAPTURE(seed);
  town t(3, seed, {.claim_delay = 500ms});
  const wire ann = t.enter(*t.processes[0], "ann");
  const std::string keeper = t.processes[0]->rooms->keeper();
  for (int i = 0; i != 20; ++i) {
    t.pass(1s);
    CHECK(t.run(say(ann, "hello")) == "heard hello");
    CHECK(t.run(t.processes[1]->ask("/?id=ben")).status == 200);
  }
  CHECK(t.processes[2]->rooms->keeper() == keeper);
}

TEST_CASE("a retirement that is lost on its way does not meet the next shard of that name",
          "[gateway][shared]") {
  town t(0);
  t.options.shards.retire_after = 5s;
  process& guide = t.found_guide();
  process& east = t.found();
  t.pass(t.options.lease);
  const wire ann = t.enter(guide, "ann");
  CHECK(t.run(say(ann, "count")) == "1");
  ann->leave();
  t.pass(4500ms);
  t.net.cut(east.rooms->address());
  t.pass(1s);
  t.net.mend(east.rooms->address());
  REQUIRE(t.run(guide.rooms->clusters()).empty());
  CHECK(east.broker.workers().size() == 1);
  const wire ben = t.enter(guide, "ben");
  CHECK(t.run(say(ben, "count")) == "1");  // another instance, though of the same name
  for (int i = 0; i != 60; ++i) {
    t.pass(1s);
    CHECK(t.run(say(ben, "hello")) == "heard hello");
  }
  CHECK(count_places(t, guide) == 1);
  ben->leave();
  t.pass(60s);
  CHECK(east.broker.workers().empty());
}

TEST_CASE("who is being let in while the keeper goes, or the host, is in or out",
          "[gateway][shared]") {
  const auto goes = GENERATE(range<std::size_t>(0, 4));  // nobody is the last
  const auto after = GENERATE(range(4000, 6000, 250));   // the hook runs for 5 s
  const auto lasts = GENERATE(range(500, 4000, 500));
  CAPTURE(goes, after, lasts);
  town t(0);
  process& guide = t.found_guide();
  process& east = t.found();
  process& west = t.found();
  t.pass(t.options.lease);
  const std::vector<wire> all{t.client(), t.client(), t.client(), t.client()};
  for (std::size_t i = 0; i != all.size(); ++i) {
    process& at = i % 2 == 0 ? east : west;
    at.broker.spawn([](process& p, wire w, std::string id) -> troupe::task<> {
      const int status = co_await p.connect(std::move(id), w, "/slow");
      if (status != 101) w->leave();
    }(at, all[i], "guest" + std::to_string(i)));
  }
  t.pass(std::chrono::milliseconds(after));
  if (goes == 0) {
    t.kill(guide);
  } else if (goes != 3) {
    const std::string address = t.processes[goes]->rooms->address();
    t.net.cut(address);
    t.pass(std::chrono::milliseconds(lasts));
    t.net.mend(address);
  }
  t.pass(t.options.request_limit + 4 * t.options.lease);
  std::size_t connected = 0;
  for (const wire& w : all) {
    const std::string first = t.run(next(w));
    if (first == "(closed)") continue;
    CHECK(first.starts_with("welcome"));
    const std::string answer = t.run(say(w, "hello"));
    if (answer == "heard hello") ++connected;
  }
  if (goes == 3) CHECK(connected == 4);
  CHECK(count_places(t, west) == connected);
  for (const char* id : {"guest0", "guest1", "guest2", "guest3"}) {
    const wire again = t.enter(east, id);
    CHECK(t.run(say(again, "hello")) == "heard hello");
  }
  CHECK(count_places(t, east) == connected + 4);
}

/// Says to a host, as if it were the keeper. The answer's status; 0: it has none.
class false_keeper final : public troupe::detail::exchange::listener {
public:
  false_keeper(troupe::memory_network& net, std::string address) : by_(net, std::move(address)) {}

  void hear(const std::string&, const troupe::shared_bytes&) noexcept override {}
  troupe::task<troupe::shared_bytes> answer(std::string, troupe::shared_bytes) override {
    throw std::logic_error("nobody asks");
  }

  troupe::task<int> ask(std::string host, troupe::detail::wire::question q) {
    auto both = troupe::when_any(by_.run(*this), ask_once(std::move(host), std::move(q)));
    const auto first = co_await std::move(both);
    co_return std::get<1>(first);
  }

private:
  troupe::task<int> ask_once(std::string host, troupe::detail::wire::question q) {
    const bool is_visit = std::holds_alternative<troupe::detail::wire::visit>(q);
    auto asking = by_.ask(std::move(host), troupe::detail::wire::packed(q), 10s);
    const troupe::shared_bytes said = co_await std::move(asking);
    if (!is_visit) co_return 0;
    co_return troupe::detail::wire::unpacked<troupe::detail::wire::said>(said).status;
  }

  troupe::detail::exchange by_;
};

TEST_CASE("a host whose report the keeper has not had drops what it has", "[gateway][shared]") {
  namespace words = troupe::detail::wire;
  const auto knows_host = GENERATE(false, true);
  const auto visits = GENERATE(false, true);
  constexpr std::uint64_t fence = 1000;
  town t(1);
  process& here = *t.processes[0];
  const wire ann = t.enter(here, "ann");
  false_keeper by(t.net, "by"), later(t.net, "later");
  if (visits) {
    words::visit v{fence,
                   "tea",
                   "other",
                   7,
                   fence << 32,
                   knows_host,
                   {"ben", (fence << 32) + 1},
                   words::of(troupe::request("GET", "/?id=ben"))};
    CHECK(t.run(by.ask(here.rooms->address(), std::move(v))) == 200);
  } else if (!knows_host) {
    CHECK(t.run(by.ask(here.rooms->address(), words::disown{fence})) == 0);
  }
  if (knows_host) {
    CHECK(t.run(say(ann, "hello")) == "heard hello");
  } else {
    CHECK(t.run(next(ann)) == "(closed)");
    REQUIRE(ann->closed_by_server());
    CHECK(ann->closed_by_server()->code == troupe::close_code::service_restart);
  }
  // Who was the keeper is none any more.
  words::visit late{1, "tea", "1", 1, 1, true, {"cyd", 5}, words::of(troupe::request("GET", "/"))};
  if (visits)
    CHECK_THROWS_AS(t.run(later.ask(here.rooms->address(), std::move(late))), troupe::error);
  ann->leave();
}

/// Cuts and mends at random while clients come and go.
void make_havoc(town& t, std::vector<wire>& all) {
  std::set<std::string> cut;
  for (int step = 0; step != 25; ++step) {
    process& at = *t.processes[t.sim.random() % t.processes.size()];
    const std::string address = at.rooms->address();
    const auto chance = t.sim.random() % 6;
    if (chance < 2 && cut.size() < 2) {
      t.net.cut(address);
      cut.insert(address);
    } else if (chance == 2 && !all.empty()) {
      all[t.sim.random() % all.size()]->leave();
    } else if (chance > 2) {
      all.push_back(t.client());
      at.broker.spawn([](process& p, wire w, std::string id, std::string path) -> troupe::task<> {
        const int status = co_await p.connect(std::move(id), w, std::move(path));
        if (status != 101) w->leave();
      }(at, all.back(), "guest" + std::to_string(all.size() % 7), step % 3 == 0 ? "/slow" : "/"));
    }
    t.pass(std::chrono::milliseconds(t.sim.random() % 1500));
    if (!cut.empty() && t.sim.random() % 3 == 0) {
      t.net.mend(*cut.begin());
      cut.erase(cut.begin());
    }
  }
  for (const std::string& address : cut) t.net.mend(address);
}

TEST_CASE("whatever happens to cables, in the end all know who is there", "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 41));
  CAPTURE(seed);
  town t(0, seed, {.delay = 20ms, .claim_delay = seed % 2 == 0 ? troupe::duration(0) : 100ms});
  t.found_guide();
  for (int i = 0; i != 3; ++i) t.found();
  t.pass(t.options.lease);
  std::vector<wire> all;
  make_havoc(t, all);
  t.pass(t.options.request_limit + 5 * t.options.lease);
  std::size_t connected = 0;
  for (const wire& w : all) {
    std::string answer = t.run(next(w));
    if (answer.starts_with("welcome")) answer = t.run(say(w, "hello"));
    if (answer == "heard hello")
      ++connected;
    else
      CHECK(answer == "(closed)");
  }
  for (const auto& p : t.processes) {
    CHECK(p->rooms->processes().size() == 4);
    CHECK(count_places(t, *p) == connected);
  }
  std::size_t reached = 0;
  for (int i = 0; i != 7; ++i) {
    auto telling = t.processes[1]->rooms->whisper("tea", "guest" + std::to_string(i), "psst");
    const troupe::delivery told = t.run(std::move(telling));
    CHECK(told.failures.empty());
    reached += told.sockets;
  }
  CHECK(reached == connected);
  CHECK(t.run(t.processes[0]->rooms->broadcast("tea", "all")).sockets == connected);
}

/// Says numbers, and hears them, until it is closed.
troupe::task<int> count_up(wire w, int many) {
  int heard = 0;
  auto welcome = co_await next(w);
  if (welcome == "(closed)") co_return 0;
  for (int i = 0; i != many; ++i) {
    auto sending = w->send(std::to_string(i));
    const bool sent = co_await std::move(sending);
    if (!sent) break;
    const std::string echo = co_await next(w);
    if (echo == "(closed)") break;
    if (echo != "heard " + std::to_string(i)) throw std::logic_error("out of order: " + echo);
    ++heard;
  }
  co_return heard;
}

/// A look may be lost as well.
troupe::task<std::vector<troupe::shared_shard_info>> look_again(process& at) {
  for (;;) {
    auto looking = troupe::as_result(at.rooms->shards("tea"));
    const auto seen = co_await std::move(looking);
    if (seen.has_value()) co_return seen.value();
  }
}

TEST_CASE("where messages are lost, sockets are closed, and none misses a message",
          "[gateway][shared]") {
  const auto seed = GENERATE(range<std::uint64_t>(1, 21));
  CAPTURE(seed);
  town t(3, seed, {.lost_per_mille = 5, .delay = 2ms});
  t.pass(t.options.lease);
  int heard = 0;
  for (int i = 0; i != 12; ++i) {
    wire w = t.client();
    process& at = *t.processes[static_cast<std::size_t>(i) % 3];
    const int status = t.run(at.connect("guest" + std::to_string(i), w));
    if (status == 101) heard += t.run(count_up(w, 50));
    w->leave();
  }
  CHECK(heard > 0);
  // Whatever was lost, nobody is counted who is gone.
  t.pass(60s);
  std::size_t connections = 0;
  for (const auto& s : t.run(look_again(*t.processes[0]))) connections += s.connections;
  CHECK(connections == 0);
}

troupe::task<std::vector<int>> run_all(std::vector<troupe::task<int>> all) {
  co_return co_await troupe::when_all(std::move(all));
}

TEST_CASE("everything at once on threads", "[gateway][shared][threads]") {
  troupe::thread_pool pool{{.threads = 2}};
  troupe::memory_network net{pool};
  troupe::broker driver{troupe::broker_options{.on = &pool}};
  std::vector<wire> clients;
  std::vector<std::unique_ptr<process>> processes;
  for (int i = 0; i != 3; ++i) {
    processes.push_back(std::make_unique<process>(pool, net, troupe::shared_gateway_options{}));
  }
  std::vector<troupe::task<int>> all;
  for (int i = 0; i != 24; ++i) {
    clients.push_back(std::make_shared<troupe::memory_socket>());
    process& at = *processes[static_cast<std::size_t>(i) % 3];
    all.push_back([](process& p, wire w, std::string id) -> troupe::task<int> {
      const int status = co_await p.connect(std::move(id), w);
      if (status != 101) co_return status;
      const int heard = co_await count_up(w, 40);
      w->leave();
      co_return heard;
    }(at, clients.back(), "guest" + std::to_string(i % 16)));
  }
  const std::vector<int> heard = driver.run(run_all(std::move(all)));
  for (const int n : heard) CHECK(n == 40);
}

TEST_CASE("cables that come and go, on threads", "[gateway][shared][threads]") {
  troupe::thread_pool pool{{.threads = 2}};
  troupe::memory_network net{pool};
  troupe::broker driver{troupe::broker_options{.on = &pool}};
  troupe::shared_gateway_options options;
  options.lease = 300ms;
  options.request_limit = 2s;
  std::vector<wire> clients;
  std::vector<std::unique_ptr<process>> processes;
  for (int i = 0; i != 3; ++i) {
    processes.push_back(std::make_unique<process>(pool, net, options));
  }
  for (std::size_t i = 0; i != 20; ++i) {
    const std::string address = processes[i / 2 % 3]->rooms->address();
    if (i % 2 == 0) net.cut(address);
    for (std::size_t p = 0; p != 3; ++p) {
      clients.push_back(std::make_shared<troupe::memory_socket>());
      process& at = *processes[p];
      at.broker.spawn([](process& in, wire w, std::string id) -> troupe::task<> {
        const int status = co_await in.connect(std::move(id), w);
        if (status != 101) w->leave();
      }(at, clients.back(), "guest" + std::to_string((i + p) % 5)));
    }
    driver.run(town::sleep(std::chrono::milliseconds(10 + i * 97 % 340)));
    if (i % 2 == 1) net.mend(address);
  }
  int heard = 0;
  for (const wire& w : clients) {
    std::string answer = driver.run(next(w));
    if (answer.starts_with("welcome")) answer = driver.run(say(w, "hello"));
    heard += answer == "heard hello" ? 1 : 0;
    if (answer != "heard hello") CHECK(answer == "(closed)");
    w->leave();
  }
  INFO(heard << " of " << clients.size() << " were heard");
  // In the end all is well again, how long ever that takes here.
  int status = 0;
  for (int i = 0; i != 30 && status != 200; ++i) {
    status = driver.run(processes[0]->ask("/?id=ann")).status;
  }
  CHECK(status == 200);
}

}  // namespace
}  // namespace shared_tests

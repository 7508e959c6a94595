// SPDX-License-Identifier: MIT
// Several classes that share one worker for each key: its mailbox, its turn, its life; and keys
// that lead elsewhere.

#include <troupe/actor/shared_maker.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/broker/broker.hpp>
#include <troupe/broker/lru_cleaner.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/sim_search.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace share_turn_tests {
namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;

std::string events;
instance_count parts;
int turns = 0;  // that run now

/// Fails where two of them are open.
struct one_turn {
  one_turn() { troupe::sim_expect(++turns == 1, "two turns at once"); }
  one_turn(const one_turn&) = delete;
  one_turn& operator=(const one_turn&) = delete;
  ~one_turn() { --turns; }
};

struct cart {
  explicit cart(troupe::context& c) : ctx(c) { events += "cart "; }
  ~cart() { events += "~cart "; }
  void on_start() { events += "cart.start "; }
  task<> on_stop() {
    co_await troupe::yield();
    events += "cart.stop ";
  }
  void before_call(const troupe::call_info& i) { events += "cart:" + std::string(i.method) + ' '; }

  int add(int n) {
    one_turn here;
    return items += n;
  }
  task<int> add_slowly(int n) {
    one_turn here;
    co_await troupe::sleep_for(1ms);
    co_return items += n;
  }
  task<int> reserve(int n);
  task<int> answer(int n) { co_return items + n; }
  std::string who() const { return to_string(ctx.id()); }
  troupe::context& ctx;
  int items = 0;
  counted me{parts};
  static constexpr troupe::actor_options options{.mailbox_capacity = 3};
};

struct stock {
  explicit stock(troupe::context& c) : ctx(c) { events += "stock "; }
  ~stock() { events += "~stock "; }
  task<> on_start() {
    events += "stock.start ";
    co_await troupe::sleep_for(1ms);
    events += "stock.started ";
  }
  void on_stop() { events += "stock.stop "; }

  int take(int n) {
    one_turn here;
    return left -= n;
  }
  task<int> take_slowly(int n) {
    one_turn here;
    co_await troupe::sleep_for(1ms);
    co_return left -= n;
  }
  task<int> ask_back(int n) {
    co_return co_await ctx.worker<cart>(ctx.key()).call<&cart::answer>(n);
  }
  bool refuses() { return true; }
  troupe::context& ctx;
  int left = 100;
  counted me{parts};
};

struct tally_of_nobody {};
struct prices {
  int of(int n) const { return n * 2; }
};

task<int> cart::reserve(int n) {
  co_return co_await ctx.worker<stock>(ctx.key()).call<&stock::ask_back>(n);
}

}  // namespace

TEST_CASE("classes that share their turn are one worker for each key", "[broker][share_turn]") {
  events.clear();
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    broker.share_turn<cart, stock, prices>();
    const auto c = broker.worker<cart>("a");
    const auto s = broker.worker<stock>("a");
    CHECK(sync_wait(c.call<&cart::add>(2)) == 2);
    CHECK(sync_wait(s.call<&stock::take>(2)) == 98);
    CHECK(sync_wait(broker.worker<prices>("a").call<&prices::of>(4)) == 8);
    CHECK(sync_wait(s.call<&stock::take>(1).within(1s)) == 97);
    CHECK(sync_wait(c.call<&cart::add_slowly>(1)) == 3);
    CHECK(sync_wait(broker.function<&stock::take_slowly>("a")(1)) == 96);
    CHECK(broker.worker_count() == 1);
    CHECK(parts.living() == 2);
    CHECK(broker.worker<stock>("b").id() != s.id());
    CHECK(sync_wait(broker.worker<stock>("b").call<&stock::take>(2)) == 98);
    CHECK(broker.worker_count() == 2);
    CHECK(broker.exists<cart>("b"));
    CHECK(sync_wait(broker.remove<prices>("b")));
    CHECK_FALSE(broker.exists<cart>("b"));
  }
  CHECK(parts.living() == 0);
}

TEST_CASE("hooks are those of the class that is called; life is in order and in reverse",
          "[broker][share_turn]") {
  events.clear();
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    broker.share_turn<stock, cart>();
    CHECK(sync_wait(broker.worker<cart>().call<&cart::add>(2)) == 2);
    CHECK(sync_wait(broker.worker<stock>().call<&stock::take>(2)) == 98);
    CHECK(broker.worker<cart>().tell<&cart::add>(2));
    CHECK(broker.worker<stock>().tell<&stock::take>(2));
    CHECK(broker.worker<stock>().tell<&stock::take_slowly>(2));
    CHECK(sync_wait(broker.worker<cart>().call<&cart::add>(0)) == 4);
    CHECK(sync_wait(broker.worker<stock>().call<&stock::take>(0)) == 94);
    CHECK(sync_wait(broker.remove<stock>()));
  }
  CHECK(events ==
        "stock cart stock.start stock.started cart.start cart:add cart:add cart:add "
        "cart.stop stock.stop ~cart ~stock ");
}

TEST_CASE("an id of such a worker names its classes", "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.share_turn<cart, stock>();
  const auto c = broker.worker<cart>("k");
  const std::string name = sync_wait(c.call<&cart::who>());
  CHECK(name.find("cart+") != std::string::npos);
  CHECK(name.find("stock(\"k\")") != std::string::npos);
  CHECK(broker.find(c.id()));
  CHECK(broker.evict(broker.worker<stock>("k").id()));
  sim.advance(1s);
  CHECK(broker.worker_count() == 0);
}

TEST_CASE("what is provided for each class makes its part, as the key wants it",
          "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.share_turn<cart, stock>();
  broker.provide<stock>([](troupe::context& ctx) {
    auto made = std::make_unique<stock>(ctx);
    made->left = 10;
    return made;
  });
  broker.provide<stock>("empty", [](troupe::context& ctx) {
    auto made = std::make_unique<stock>(ctx);
    made->left = 0;
    return made;
  });
  CHECK(sync_wait(broker.worker<stock>("any").call<&stock::take>(1)) == 9);
  CHECK(sync_wait(broker.worker<stock>("empty").call<&stock::take>(1)) == -1);
}

TEST_CASE("a part that cannot be made makes the start fail, and leaves nothing",
          "[broker][share_turn]") {
  events.clear();
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.share_turn<cart, stock>();
  broker.provide<stock>(
      [](troupe::context&) -> std::unique_ptr<stock> { throw std::runtime_error("no stock"); });
  const auto thrown = sync_wait(error_of(broker.worker<cart>().call<&cart::add>(1)));
  CHECK(code_in(thrown) == errc::start_failed);
  CHECK(nested_in(thrown) == "no stock");
  CHECK(events == "cart ~cart ");
  CHECK(broker.worker_count() == 0);
}

TEST_CASE("a call among classes that share a turn nests, as one into oneself",
          "[broker][share_turn]") {
  troupe::sim_executor sim;
  {
    troupe::broker broker({.on = &sim});
    broker.share_turn<cart, stock>();
    CHECK(sync_wait(broker.worker<cart>("k").call<&cart::reserve>(5)) == 5);
  }
  troupe::broker strict({.on = &sim});
  strict.share_turn<cart, stock>({.reentrancy = troupe::reentrancy::none});
  CHECK(code_in(sync_wait(error_of(strict.worker<cart>("k").call<&cart::reserve>(5)))) ==
        errc::deadlock);
}

namespace {

struct self_caller {
  explicit self_caller(troupe::context& c) : ctx(c) {}
  task<int> twice(int n) { co_return co_await ctx.self<self_caller>().call<&self_caller::id>(n); }
  int id(int n) { return n; }
  void later() {
    ctx.after(1ms, [this] { ++fired; });
  }
  int count() const { return fired; }
  troupe::context& ctx;
  int fired = 0;
};

}  // namespace

TEST_CASE("each class knows itself, and has timers", "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.share_turn<prices, self_caller>();
  const auto p = broker.worker<self_caller>("k");
  CHECK(sync_wait(p.call<&self_caller::twice>(3)) == 3);
  sync_wait(p.call<&self_caller::later>());
  sim.advance(1s);
  CHECK(sync_wait(p.call<&self_caller::count>()) == 1);
}

TEST_CASE("the options are those of the first class, or those given", "[broker][share_turn]") {
  troupe::sim_executor sim;
  const auto room = [&sim](troupe::broker& broker) {
    const auto p = broker.worker<stock>("k");
    int queued = 0;
    while (queued < 2000 && p.tell<&stock::refuses>()) ++queued;
    sim.advance(1s);
    return queued;
  };
  const auto about = [](int capacity, int queued) {
    return queued == capacity || queued == capacity + 1;  // one may be on its way
  };
  {
    troupe::broker broker({.on = &sim});
    broker.share_turn<cart, stock>();
    CHECK(about(3, room(broker)));
  }
  troupe::broker broker({.on = &sim});
  broker.share_turn<cart, stock>({.mailbox_capacity = 5});
  CHECK(about(5, room(broker)));
}

TEST_CASE("reload and version are of the worker, whichever class is named",
          "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.share_turn<cart, stock>();
  CHECK(sync_wait(broker.worker<cart>("k").call<&cart::add>(2)) == 2);
  sync_wait(broker.reload<stock>("k"));
  CHECK(sync_wait(broker.worker<cart>("k").call<&cart::add>(2)) == 2);
  sync_wait(broker.reload_all<cart>());
  CHECK(sync_wait(broker.worker<cart>("k").call<&cart::add>(2)) == 2);
  sync_wait(broker.load<stock>("l"));
  CHECK(broker.worker_count() == 2);
}

TEST_CASE("who shares a turn says so before the first proxy, and once", "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto early = broker.worker<stock>("k");
  CHECK_THROWS_AS((broker.share_turn<cart, stock>()), std::logic_error);
  CHECK(sync_wait(early.call<&stock::take>(1)) == 99);
  CHECK(sync_wait(broker.worker<cart>("k").call<&cart::add>(1)) == 1);
  CHECK(broker.worker_count() == 2);  // nothing has changed
  broker.share_turn<prices, self_caller>();
  CHECK_THROWS_AS((broker.share_turn<prices, tally_of_nobody>()), std::logic_error);
}

TEST_CASE("a limit counts shared workers once", "[broker][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 2})});
  broker.share_turn<cart, stock>();
  for (const char* key : {"a", "b", "a", "c"}) {
    sync_wait(broker.worker<cart>(key).call<&cart::add>(1));
    sync_wait(broker.worker<stock>(key).call<&stock::take>(1));
  }
  sim.advance(1s);
  CHECK(broker.worker_count() == 2);
  CHECK(broker.exists<stock>("a"));
  CHECK_FALSE(broker.exists<cart>("b"));
}

namespace {

task<> in_parallel(troupe::broker& broker) {
  const auto c = broker.worker<cart>();
  const auto s = broker.worker<stock>();
  co_await troupe::when_all(c.call<&cart::add_slowly>(1), s.call<&stock::take_slowly>(1),
                            c.call<&cart::add>(1), s.call<&stock::take>(1),
                            s.call<&stock::take_slowly>(1).within(1h), broker.remove<cart>(),
                            c.call<&cart::add_slowly>(1), s.call<&stock::take>(1));
}

}  // namespace

TEST_CASE("whatever the order, classes that share a turn have one at a time",
          "[broker][share_turn]") {
  troupe::for_each_seed({.count = 300}, [](troupe::sim_executor& sim) {
    turns = 0;
    {
      troupe::broker broker({.on = &sim});
      broker.share_turn<cart, stock>();
      sim.run(in_parallel(broker));
    }
    troupe::sim_expect(parts.living() == 0, "a part is left");
  });
}

namespace {

long shared_number = 0;  // guarded by the turn

struct adder {
  void add() { ++shared_number; }
};
struct subtractor {
  void subtract() { --shared_number; }
  task<> subtract_later() {
    co_await troupe::yield();
    --shared_number;
  }
};

task<> add_many(troupe::broker& broker, int n) {
  const auto p = broker.worker<adder>("k");
  for (int i = 0; i < n; ++i) co_await p.call<&adder::add>();
}
task<> subtract_many(troupe::broker& broker, int n) {
  const auto p = broker.worker<subtractor>("k");
  for (int i = 0; i < n / 2; ++i) {
    co_await p.call<&subtractor::subtract>();
    co_await p.call<&subtractor::subtract_later>();
  }
}

}  // namespace

TEST_CASE("threads that call classes with one turn never meet", "[broker][share_turn]") {
  constexpr int calls = 2000;
  shared_number = 0;
  troupe::broker broker({.threads = 2});
  broker.share_turn<adder, subtractor>();
  std::thread other([&] { broker.run(add_many(broker, calls)); });
  broker.run(troupe::when_all(subtract_many(broker, calls), add_many(broker, calls),
                              subtract_many(broker, calls)));
  other.join();
  CHECK(shared_number == 0);
}

// --- keys that lead elsewhere --------------------------------------------------------------------

namespace {

struct tally {
  int add(int n) { return sum += n; }
  int sum = 0;
};

std::string shard_of(std::string_view key) {
  return key.starts_with("shard-") ? std::string(key) : "shard-" + std::to_string(key.size() % 2);
}

}  // namespace

TEST_CASE("many keys may share a worker", "[broker][map_keys]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto before = broker.worker<tally>("even");
  broker.map_keys<tally>(&shard_of);
  CHECK(sync_wait(broker.worker<tally>("even").call<&tally::add>(1)) == 1);
  CHECK(sync_wait(broker.worker<tally>("else").call<&tally::add>(1)) == 2);
  CHECK(sync_wait(broker.worker<tally>("odd").call<&tally::add>(1)) == 1);
  CHECK(sync_wait(broker.worker<tally>("shard-0").call<&tally::add>(1)) == 3);
  CHECK(broker.worker<tally>("even").key() == "shard-0");
  CHECK(broker.worker_count() == 2);
  CHECK(broker.exists<tally>("some"));
  CHECK(before.key() == "even");  // as it was
  CHECK(sync_wait(before.call<&tally::add>(1)) == 1);
  CHECK(sync_wait(broker.remove<tally>("other")));
  CHECK(broker.worker_count() == 2);
  CHECK(sync_wait(broker.worker<prices>("even").call<&prices::of>(1)) == 2);
  CHECK(broker.worker<prices>("even").key() == "even");  // other classes are not concerned
}

TEST_CASE("keys may be mapped where turns are shared", "[broker][map_keys][share_turn]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.map_keys<tally>(&shard_of);
  broker.share_turn<tally, prices>();
  CHECK(broker.worker<tally>("even").id() == broker.worker<prices>("shard-0").id());
  broker.map_keys<prices>([](std::string_view) { return std::string("shard-1"); });
  CHECK(broker.worker<tally>("odd").id() == broker.worker<prices>("x").id());
}

TEST_CASE("what a map of keys throws comes to who asks for the worker", "[broker][map_keys]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.map_keys<tally>(
      [](std::string_view) -> std::string { throw std::invalid_argument("no such tenant"); });
  CHECK_THROWS_AS(broker.worker<tally>("x"), std::invalid_argument);
}

}  // namespace share_turn_tests

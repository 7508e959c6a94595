// SPDX-License-Identifier: MIT
// Which workers are closed, in which order, and that nothing in use is.

#include <troupe/broker/cleaner.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <memory_resource>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/broker/combine.hpp>
#include <troupe/broker/idle_cleaner.hpp>
#include <troupe/broker/lru_cleaner.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace cleaners_tests {
namespace {

using namespace std::chrono_literals;
using troupe::sync_wait;
using troupe::task;
using troupe::worker_event;

struct tenant {
  explicit tenant(troupe::context& c) : ctx(c) {}
  int touch() { return ++touched; }
  task<int> rest(troupe::duration d) {
    co_await troupe::sleep_for(d);
    co_return ++touched;
  }
  void stay(troupe::duration d) { ctx.keep_alive(d); }
  void go_when_idle() { ctx.deactivate_when_idle(); }
  troupe::context& ctx;
  int touched = 0;
};

const char* name_of(worker_event::kind_type kind) {
  switch (kind) {
    case worker_event::create:
      return "create";
    case worker_event::get:
      return "get";
    case worker_event::remove:
      return "remove";
    case worker_event::terminate:
      return "terminate";
  }
  return "?";
}

/// Writes down what it is told.
struct recorder {
  void operator()(const worker_event& e) {
    *log += std::string(name_of(e.kind)) + ':' + e.id.key + ' ';
  }
  std::shared_ptr<std::string> log = std::make_shared<std::string>();
};

struct quiet_recorder : recorder {
  static constexpr bool wants_get = false;
};

/// The keys of the workers that have an instance, in order.
std::string living(const troupe::broker& broker) {
  std::set<std::string> keys;
  for (const troupe::worker_info& w : broker.workers()) keys.insert(w.id.key);
  std::string text;
  for (const std::string& key : keys) text += key + ' ';
  return text;
}

int touch(troupe::broker& broker, const std::string& key) {
  return sync_wait(broker.worker<tenant>(key).call<&tenant::touch>());
}

}  // namespace

TEST_CASE("events tell what becomes of workers, in order", "[broker][cleaner]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker({.on = &sim, .cleaner = r});
  touch(broker, "a");
  touch(broker, "b");
  touch(broker, "a");
  broker.worker<tenant>("b").tell<&tenant::touch>();
  sim.advance(1ms);
  sync_wait(broker.remove<tenant>("a"));
  touch(broker, "a");
  sync_wait(broker.load<tenant>("c"));
  touch(broker, "c");
  CHECK(*r.log == "create:a create:b get:a get:b remove:a create:a create:c get:c ");
  r.log->clear();
  sync_wait(broker.terminate());
  std::string removed = *r.log;
  CHECK(removed.ends_with("terminate: "));
  CHECK(std::count(removed.begin(), removed.end(), ':') == 4);
}

TEST_CASE("a cleaner that does not want to know of each use is not told", "[broker][cleaner]") {
  troupe::sim_executor sim;
  const quiet_recorder r;
  troupe::broker broker({.on = &sim, .cleaner = r});
  for (int i = 0; i < 3; ++i) touch(broker, "a");
  CHECK(*r.log == "create:a ");
}

TEST_CASE("what a cleaner throws harms nobody", "[broker][cleaner]") {
  troupe::sim_executor sim;
  int told = 0;
  troupe::broker broker({.on = &sim, .cleaner = [&told](const worker_event&) {
                           ++told;
                           throw std::runtime_error("a cleaner's own trouble");
                         }});
  CHECK(touch(broker, "a") == 1);
  CHECK(touch(broker, "a") == 2);
  sync_wait(broker.remove<tenant>("a"));
  CHECK(told == 3);
}

TEST_CASE("a cleaner may close workers, also the one it is told of", "[broker][cleaner]") {
  troupe::sim_executor sim;
  std::string log;
  bool newborn_went = true;
  int inside = 0;
  troupe::broker broker({.on = &sim, .cleaner = [&](const worker_event& e) {
                           ++inside;
                           CHECK(inside == 1);  // what it brings about comes afterwards
                           log += std::string(name_of(e.kind)) + ':' + e.id.key + ' ';
                           if (e.kind == worker_event::create) {
                             newborn_went = e.broker->evict(e.id);
                             if (e.id.key == "b") {
                               CHECK(e.broker->evict({std::string(e.id.type), "a"}));
                             }
                           }
                           if (e.kind == worker_event::get) CHECK(e.broker->evict(e.id));
                           --inside;
                         }});
  CHECK(touch(broker, "a") == 1);
  CHECK_FALSE(newborn_went);
  CHECK(touch(broker, "b") == 1);
  CHECK(log == "create:a create:b remove:a ");
  CHECK(touch(broker, "b") == 2);  // closed when this has ended
  sim.advance(0ms);
  CHECK(log == "create:a create:b remove:a get:b remove:b ");
  CHECK(broker.worker_count() == 0);
}

TEST_CASE("the least recently used worker goes", "[broker][cleaner][lru]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 2})});
  touch(broker, "1");
  touch(broker, "2");
  touch(broker, "1");
  touch(broker, "3");
  CHECK(living(broker) == "1 3 ");
  touch(broker, "3");
  touch(broker, "1");
  touch(broker, "4");
  CHECK(living(broker) == "1 4 ");
  touch(broker, "4");
  touch(broker, "1");
  touch(broker, "4");
  touch(broker, "5");
  CHECK(living(broker) == "4 5 ");
  CHECK(touch(broker, "1") == 1);  // a new instance
}

TEST_CASE("the limit holds after each creation, and no call is lost", "[broker][cleaner][lru]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 10})});
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(touch(broker, std::to_string(i % 37 * (i % 5))) >= 1);
    REQUIRE(broker.worker_count() <= 10);
  }
  CHECK(broker.stats().created > 100);
}

namespace {

task<> crowd(troupe::broker& broker) {
  troupe::task_scope scope;
  const auto rest = [](troupe::proxy<tenant> p, troupe::duration d) -> task<> {
    const int n = co_await p.call<&tenant::rest>(d);
    CHECK(n == 1);
  };
  for (int i = 0; i < 5; ++i) {
    scope.spawn(rest(broker.worker<tenant>(std::to_string(i)), 1s * (i + 1)));
    co_await troupe::sleep_for(1ms);
  }
  CHECK(broker.worker_count() == 5);  // all busy
  co_await troupe::sleep_for(1100ms);
  CHECK(living(broker) == "1 2 3 4 ");  // as soon as a turn has ended
  co_await troupe::sleep_for(2s);
  CHECK(living(broker) == "3 4 ");
  co_await scope.join();
  CHECK(living(broker) == "3 4 ");
}

}  // namespace

TEST_CASE("a worker in use is closed when its turn ends, if there is no other", "[broker][lru]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 2})});
  sim.run(crowd(broker));
}

TEST_CASE("a worker that is kept alive stays", "[broker][cleaner][lru]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 1})});
  sync_wait(broker.worker<tenant>("a").call<&tenant::stay>(1h));
  touch(broker, "b");
  touch(broker, "c");
  CHECK(living(broker) == "a c ");
  sim.advance(2h);
  touch(broker, "d");
  CHECK(living(broker) == "d ");
}

TEST_CASE("a worker may go by itself", "[broker][cleaner]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  touch(broker, "a");
  sync_wait(broker.worker<tenant>("a").call<&tenant::go_when_idle>());
  sim.advance(0ms);
  CHECK(broker.worker_count() == 0);
}

TEST_CASE("memory by the user's own measure", "[broker][cleaner][lru]") {
  troupe::sim_executor sim;
  troupe::broker* all = nullptr;
  const auto bytes = [&all]() -> std::size_t { return all->worker_count() * 100; };
  troupe::broker broker(
      {.on = &sim,
       .cleaner = troupe::lru_cleaner(
           {.memory_ceiling = 1000, .memory_floor = 500, .memory_usage = bytes})});
  all = &broker;
  for (int i = 0; i < 9; ++i) touch(broker, std::to_string(i));
  CHECK(broker.worker_count() == 9);
  touch(broker, "9");
  CHECK(living(broker) == "6 7 8 9 ");  // down to the floor, at once
}

TEST_CASE("the resident set is given up on where nothing helps", "[broker][cleaner][lru]") {
  troupe::sim_executor sim;
  int reports = 0;
  troupe::broker broker(
      {.on = &sim,
       .cleaner = troupe::lru_cleaner({.memory_ceiling = 1, .report = [&](const std::string& text) {
                                         ++reports;
                                         CHECK(text.find("ceiling of 1") != std::string::npos);
                                       }})});
  if (troupe::resident_memory() == 0) return;  // a system that does not tell
  sync_wait(troupe::when_all(broker.load<tenant>("x"), broker.load<tenant>("y")));
  for (int i = 0; i < 100; ++i) touch(broker, std::to_string(i));
  CHECK(broker.worker_count() > 80);  // not emptied at once
  sim.advance(350ms);
  CHECK(reports == 1);
  CHECK(broker.worker_count() > 50);
  sync_wait(broker.terminate());
}

TEST_CASE("idle workers go by time", "[broker][cleaner][idle]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::idle_cleaner({.after = 1s})});
  touch(broker, "a");
  touch(broker, "b");
  for (int i = 0; i < 8; ++i) {
    sim.advance(250ms);
    touch(broker, "b");
  }
  CHECK(living(broker) == "b ");
  sim.advance(999ms);
  CHECK(living(broker) == "b ");
  sim.advance(300ms);
  CHECK(broker.worker_count() == 0);
  touch(broker, "c");
  sync_wait(broker.worker<tenant>("c").call<&tenant::rest>(10s));  // busy is not idle
  CHECK(living(broker) == "c ");
  sim.advance(1300ms);
  CHECK(broker.worker_count() == 0);
}

TEST_CASE("an endless age is never reached", "[broker][cleaner][idle]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::idle_cleaner({.after = troupe::endless})});
  sim.advance(1h);  // so that time does not begin at zero
  touch(broker, "a");
  sim.advance(1h);
  CHECK(living(broker) == "a ");
}

TEST_CASE("a cleaner that waits for its time does not disturb the end", "[broker][cleaner]") {
  troupe::sim_executor sim;
  int lost = 0;
  {
    troupe::broker broker({.on = &sim,
                           .cleaner = troupe::idle_cleaner({.after = 1h}),
                           .on_dead_letter = [&lost](const troupe::dead_letter&) { ++lost; }});
    touch(broker, "a");
    sim.advance(1s);
  }
  CHECK(lost == 0);
}

TEST_CASE("combined cleaners all have their say", "[broker][cleaner]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker({.on = &sim,
                         .cleaner = troupe::combine(troupe::lru_cleaner({.worker_count = 2}),
                                                    troupe::idle_cleaner({.after = 1s}), r)});
  for (const char* key : {"a", "b", "c"}) touch(broker, key);
  CHECK(living(broker) == "b c ");
  sim.advance(2s);
  CHECK(broker.worker_count() == 0);
  CHECK(*r.log == "create:a create:b create:c remove:a remove:b remove:c ");
}

namespace {

struct hoarder {
  explicit hoarder(troupe::context& c) : bytes(&c.memory()) {}
  std::size_t store(std::size_t n) {
    bytes.resize(bytes.size() + n);
    return bytes.size();
  }
  std::pmr::vector<char> bytes;
  static constexpr troupe::actor_options options{.memory_limit = 10'000};
};

}  // namespace

TEST_CASE("a worker's memory is counted, and limited", "[broker][memory]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<hoarder>();
  CHECK(sync_wait(p.call<&hoarder::store>(4000)) == 4000);
  CHECK(broker.find(p.id())->memory == 4000);
  CHECK_THROWS_AS(sync_wait(p.call<&hoarder::store>(20'000)), std::bad_alloc);
  CHECK(sync_wait(p.call<&hoarder::store>(0)) == 4000);
  CHECK(broker.find(p.id())->memory == 4000);
}

}  // namespace cleaners_tests

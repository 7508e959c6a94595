// SPDX-License-Identifier: MIT
// Workers by key: state of one's own, creation on first use, and what the broker tells of them.

#include <troupe/broker/broker.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace keys_tests {
namespace {

using troupe::errc;
using troupe::task;
using namespace troupe::test;

instance_count counters;

struct counter {
  int add(int n) { return total += n; }
  task<int> add_later(int n) {
    co_await troupe::yield();
    co_return total += n;
  }
  int total = 0;
  counted me{counters};
};

struct other_class {
  int add(int n) { return total += n; }
  int total = 0;
};

struct held {
  explicit held(gate& g) : opened(g) {}
  task<> hold() { co_await opened.pass(); }
  int touch() { return 1; }
  gate& opened;
};

struct fixture {
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim}};
};

}  // namespace

TEST_CASE("each key has state of its own", "[broker][keys]") {
  fixture f;
  auto alice = f.broker.worker<counter>("alice");
  auto bob = f.broker.worker<counter>("bob");
  REQUIRE(troupe::sync_wait(alice.call<&counter::add>(5)) == 5);
  REQUIRE(troupe::sync_wait(bob.call<&counter::add>(7)) == 7);
  REQUIRE(troupe::sync_wait(alice.call<&counter::add_later>(1)) == 6);
  REQUIRE(troupe::sync_wait(bob.call<&counter::add_later>(1)) == 8);
}

TEST_CASE("the empty key names one shared worker", "[broker][keys]") {
  fixture f;
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>().call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("").call<&counter::add>(1)) == 2);
  REQUIRE(f.broker.worker_count() == 1);
  REQUIRE(f.broker.worker<counter>() == f.broker.worker<counter>(std::string_view()));
}

TEST_CASE("one key names different workers of different classes", "[broker][keys]") {
  fixture f;
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("x").call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<other_class>("x").call<&other_class::add>(2)) == 2);
  REQUIRE(f.broker.worker_count() == 2);
}

TEST_CASE("a key may be long and may hold any byte", "[broker][keys]") {
  fixture f;
  const std::string zeros(3, '\0');
  const std::string more_zeros(4, '\0');
  const std::string huge(100'000, 'k');
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>(zeros).call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>(more_zeros).call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>(huge).call<&counter::add>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>(zeros).call<&counter::add>(1)) == 2);
  REQUIRE(f.broker.worker<counter>(zeros).key() == zeros);
  REQUIRE(f.broker.worker<counter>(huge).id().key == huge);
}

TEST_CASE("the key need not outlive the request for the worker", "[broker][keys]") {
  fixture f;
  auto p = f.broker.worker<counter>(std::string("a key that lives on the heap for a while"));
  REQUIRE(p.key() == "a key that lives on the heap for a while");
}

TEST_CASE("a worker is made by its first call, not by its proxy", "[broker][keys]") {
  const int before = counters.made;
  {
    fixture f;
    auto p = f.broker.worker<counter>("lazy");
    auto again = f.broker.worker<counter>("lazy");
    REQUIRE(counters.made == before);
    REQUIRE_FALSE(f.broker.exists<counter>("lazy"));
    REQUIRE(f.broker.worker_count() == 0);
    {
      [[maybe_unused]] auto never_awaited = p.call<&counter::add>(1);
    }
    REQUIRE(counters.made == before);
    troupe::sync_wait(p.call<&counter::add>(1));
    troupe::sync_wait(again.call<&counter::add>(1));
    REQUIRE(counters.made == before + 1);
    REQUIRE(f.broker.exists<counter>("lazy"));
    REQUIRE_FALSE(f.broker.exists<counter>("other"));
    REQUIRE_FALSE(f.broker.exists<counter>());
  }
  REQUIRE(counters.living() == 0);
}

TEST_CASE("a tell and a call with a time limit make the worker too", "[broker][keys]") {
  fixture f;
  REQUIRE(f.broker.worker<counter>("told").tell<&counter::add>(3));
  auto timed = f.broker.worker<counter>("timed");
  REQUIRE(troupe::sync_wait(timed.call<&counter::add>(1).within(std::chrono::hours(1))) == 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("told").call<&counter::add>(0)) == 3);
  REQUIRE(f.broker.worker_count() == 2);
}

TEST_CASE("load makes a worker without a call, once", "[broker][load]") {
  fixture f;
  const int before = counters.made;
  troupe::sync_wait(f.broker.load<counter>("early"));
  REQUIRE(counters.made == before + 1);
  REQUIRE(f.broker.exists<counter>("early"));
  troupe::sync_wait(f.broker.load<counter>("early"));
  REQUIRE(counters.made == before + 1);
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("early").call<&counter::add>(2)) == 2);
}

TEST_CASE("a loaded worker stays without a proxy", "[broker][load]") {
  fixture f;
  troupe::sync_wait(f.broker.load<counter>("alone"));
  REQUIRE(f.broker.worker_count() == 1);
  troupe::sync_wait(f.broker.worker<counter>("alone").call<&counter::add>(4));
  REQUIRE(troupe::sync_wait(f.broker.worker<counter>("alone").call<&counter::add>(1)) == 5);
}

TEST_CASE("workers lists who has an instance, with their turns", "[broker][keys]") {
  fixture f;
  auto unused = f.broker.worker<counter>("unused");
  for (const char* const key : {"c", "a", "b"}) {
    auto p = f.broker.worker<counter>(key);
    troupe::sync_wait(p.call<&counter::add>(1));
    troupe::sync_wait(p.call<&counter::add>(1));
  }
  std::vector<troupe::worker_info> all = f.broker.workers();
  std::ranges::sort(all, {}, &troupe::worker_info::id);
  REQUIRE(all.size() == 3);
  REQUIRE(all[0].id == f.broker.worker<counter>("a").id());
  REQUIRE(all[2].id.key == "c");
  for (const troupe::worker_info& w : all) {
    REQUIRE(w.calls == 2);
    REQUIRE_FALSE(w.busy);
    REQUIRE(w.waiting == 0);
    REQUIRE(w.last_used <= f.sim.now());
  }
  REQUIRE(f.broker.dump().find("(\"b\")") != std::string::npos);
}

namespace {

task<> look_at_a_busy_worker(troupe::broker& broker, gate& opened) {
  auto p = broker.worker<held>("busy");
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<held> h) -> task<> { co_await h.call<&held::hold>(); }(p));
  co_await until([&] { return broker.worker_count() == 1; });
  for (int i = 0; i < 3; ++i) p.tell<&held::touch>();
  const std::vector<troupe::worker_info> all = broker.workers();
  CHECK(all.size() == 1);
  CHECK(all.at(0).busy);
  CHECK(all.at(0).waiting == 3);
  CHECK(broker.dump().find("busy, 3 waiting") != std::string::npos);
  opened.open();
  co_await scope.join();
}

}  // namespace

TEST_CASE("workers shows who is busy and how much waits", "[broker][keys]") {
  fixture f;
  gate opened;
  f.broker.provide<held>([&](troupe::context&) { return held(opened); });
  f.sim.run(look_at_a_busy_worker(f.broker, opened));
}

TEST_CASE("ten thousand keys are ten thousand workers", "[broker][keys]") {
  const int before = counters.made;
  {
    fixture f;
    for (int i = 0; i < 10'000; ++i) {
      troupe::sync_wait(f.broker.worker<counter>(std::to_string(i)).call<&counter::add>(i));
    }
    REQUIRE(f.broker.worker_count() == 10'000);
    REQUIRE(f.broker.workers().size() == 10'000);
    REQUIRE(troupe::sync_wait(f.broker.worker<counter>("777").call<&counter::add>(0)) == 777);
  }
  REQUIRE(counters.made - before == 10'000);
  REQUIRE(counters.living() == 0);
}

namespace {

task<> name_and_forget(troupe::broker& broker, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const auto p = broker.worker<counter>("named now and then");
    if (i % 64 == 0) static_cast<void>(co_await p.call<&counter::add>(1));
    if (i % 64 == 1) broker.evict(p.id());
  }
}

void name_on_threads(troupe::broker& broker, int rounds) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { troupe::sync_wait(name_and_forget(broker, rounds)); });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace

TEST_CASE("the last proxy of a worker may go while another thread names the worker",
          "[broker][keys][stress]") {
  {
    troupe::broker broker({.threads = 2});
    name_on_threads(broker, 5000);
  }
  REQUIRE(counters.living() == 0);
}

}  // namespace keys_tests

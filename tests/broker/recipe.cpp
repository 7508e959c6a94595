// SPDX-License-Identifier: MIT
// Which factory makes the instance of a key, with which options, and where it runs.

#include <troupe/actor/recipe.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <troupe/broker/broker.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "heap.hpp"
#include "support.hpp"

namespace recipe_tests {
namespace {

using troupe::errc;
using troupe::recipe;
using troupe::sync_wait;
using troupe::task;
using namespace troupe::test;

struct speaker {
  explicit speaker(std::string said = "its own") : word(std::move(said)) {}
  virtual ~speaker() = default;
  virtual std::string say() { return word; }
  task<> wait_for(gate* entered, gate* g) {
    entered->open();
    co_await g->pass();
  }
  void listen() {}
  std::string word;
};

struct hooked_speaker final : speaker {
  using speaker::speaker;
  task<> on_start() {
    co_await troupe::yield();
    word += " started";
  }
  void before_call(const troupe::call_info&) { ++calls; }
  std::string say() override { return word + " " + std::to_string(calls); }
  int calls = 0;
};

struct threaded_speaker final : speaker {
  std::string say() override {
    return std::this_thread::get_id() == maker_thread ? "here" : "on a thread of its own";
  }
  std::thread::id maker_thread = std::this_thread::get_id();
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread};
};

auto saying(const char* word) {
  return [word](troupe::context&) { return speaker(word); };
}

std::string say(troupe::broker& broker, std::string_view key) {
  return sync_wait(broker.worker<speaker>(key).call<&speaker::say>());
}

/// How many tells find room while the worker has its turn.
task<int> room(troupe::broker& broker, std::string_view key) {
  gate entered;
  gate opened;
  auto p = broker.worker<speaker>(key);
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<speaker> busy, gate& e, gate& g) -> task<> {
    co_await busy.call<&speaker::wait_for>(&e, &g);
  }(p, entered, opened));
  co_await entered.pass();
  int count = 0;
  while (count < 2000 && p.tell<&speaker::listen>()) ++count;
  opened.open();
  co_await scope.join();
  co_return count;
}

}  // namespace

TEST_CASE("a factory may be given for one key, and goes before that of all", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<speaker>("one", saying("one"));
  CHECK(say(broker, "one") == "one");
  CHECK(say(broker, "other") == "its own");
  broker.provide<speaker>(saying("all"));
  sync_wait(broker.terminate());
  CHECK(say(broker, "one") == "one");
  CHECK(say(broker, "other") == "all");
  CHECK(say(broker, "") == "all");
  broker.provide<speaker>("one", saying("anew"));
  CHECK(say(broker, "one") == "one");  // that instance stays
  sync_wait(broker.remove<speaker>("one"));
  CHECK(say(broker, "one") == "anew");
}

TEST_CASE("an empty recipe stands for the class itself", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<speaker>(saying("all"));
  broker.provide<speaker>("plain", recipe<speaker>());
  CHECK(say(broker, "plain") == "its own");
  CHECK(say(broker, "other") == "all");
  CHECK_FALSE(recipe<speaker>());
  CHECK(recipe<speaker>(saying("x")));
}

TEST_CASE("options are given with a factory instead of the class's own", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  CHECK(sim.run(room(broker, "before")) == 1024);
  broker.provide<speaker>(saying("all"), {.mailbox_capacity = 7});
  CHECK(sim.run(room(broker, "other")) == 7);
  broker.provide<speaker>("one", {saying("one"), {.mailbox_capacity = 3}});
  CHECK(sim.run(room(broker, "one")) == 3);
  broker.provide<speaker>("plain", recipe<speaker>({.mailbox_capacity = 5}));
  CHECK(sim.run(room(broker, "plain")) == 5);
  CHECK(say(broker, "plain") == "its own");
  CHECK(say(broker, "one") == "one");
}

TEST_CASE("the options of a key's own factory hold before there is an instance",
          "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<speaker>("one", {saying("one"), {.mailbox_capacity = 2}});
  auto p = broker.worker<speaker>("one");
  int queued = 0;
  while (queued < 100 && p.tell<&speaker::listen>()) ++queued;
  CHECK(queued <= 3);  // one of them is about to make the instance
}

TEST_CASE("the key chooses class, hooks, options and placement", "[broker][recipe]") {
  troupe::broker broker({.threads = 1});
  const recipe<speaker> eu(saying("eu"), {.mailbox_capacity = 3});
  const recipe<speaker> us([](troupe::context& ctx) -> std::unique_ptr<hooked_speaker> {
    return std::make_unique<hooked_speaker>(std::string(ctx.key()));
  });
  const recipe<speaker> own([](troupe::context&) { return threaded_speaker(); });
  std::atomic<int> asked{0};
  broker.provide_by_key<speaker>([=, &asked](std::string_view key) -> recipe<speaker> {
    ++asked;
    if (key.starts_with("eu")) return eu;
    if (key.starts_with("us")) return us;
    if (key.starts_with("own")) return own;
    return {};
  });
  CHECK(say(broker, "eu-1") == "eu");
  CHECK(say(broker, "us-1") == "us-1 started 1");
  CHECK(say(broker, "us-1") == "us-1 started 2");
  CHECK(say(broker, "own-1") == "here");  // made where it runs
  CHECK(sync_wait(broker.worker<speaker>("own-1").call<&speaker::say>()) == "here");
  CHECK(say(broker, "elsewhere") == "its own");
  CHECK(asked == 4);  // once for each instance, also for the one that moved to its own thread
  CHECK(broker.run(room(broker, "eu-2")) == 3);
  CHECK(broker.run(room(broker, "elsewhere")) == 1024);
  sync_wait(broker.reload<speaker>("eu-1"));
  CHECK(say(broker, "eu-1") == "eu");
  CHECK(asked == 6);
}

TEST_CASE("one key's factory goes before who chooses by key", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<speaker>("a", saying("a's"));
  broker.provide_by_key<speaker>(
      [chosen = recipe<speaker>(saying("chosen"))](std::string_view) { return chosen; });
  CHECK(say(broker, "a") == "a's");
  CHECK(say(broker, "b") == "chosen");
  broker.provide<speaker>(saying("all"));
  CHECK(say(broker, "c") == "all");
}

TEST_CASE("who fails to choose makes the start fail, and the next call asks again",
          "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  bool may = false;
  broker.provide_by_key<speaker>(
      [&may, chosen = recipe<speaker>(saying("chosen"))](std::string_view key) {
        if (!may) throw std::runtime_error("nothing for " + std::string(key));
        return chosen;
      });
  auto p = broker.worker<speaker>("k");
  const auto thrown = sync_wait(error_of(p.call<&speaker::say>()));
  CHECK(code_in(thrown) == errc::start_failed);
  CHECK(nested_in(thrown) == "nothing for k");
  CHECK(code_in(sync_wait(error_of(broker.load<speaker>("l")))) == errc::start_failed);
  CHECK(broker.worker_count() == 0);
  may = true;
  CHECK(say(broker, "k") == "chosen");
}

namespace {

struct careless {
  int fail() { throw std::runtime_error("careless"); }
  int number() { return ++calls; }
  int calls = 0;
};

/// The number of calls that an instance remembers after one of them has failed.
int after_failure(troupe::broker& broker, std::string_view key) {
  const auto p = broker.worker<careless>(key);
  CHECK(sync_wait(p.call<&careless::number>()) == 1);
  CHECK(what_of(sync_wait(error_of(p.call<&careless::fail>()))) == "careless");
  return sync_wait(p.call<&careless::number>());
}

}  // namespace

TEST_CASE("the key may choose the supervision", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const recipe<careless> restarted({.supervise = {.on_failure = troupe::directive::restart}});
  broker.provide_by_key<careless>(
      [=](std::string_view key) { return key == "restarted" ? restarted : recipe<careless>(); });
  CHECK(after_failure(broker, "restarted") == 1);
  CHECK(after_failure(broker, "other") == 2);
}

TEST_CASE("a recipe may serve many brokers, and outlive its handle", "[broker][recipe]") {
  troupe::sim_executor sim;
  auto shared = std::make_shared<int>(0);
  auto kept = std::make_unique<recipe<speaker>>(
      [shared](troupe::context&) { return speaker(std::to_string(++*shared)); });
  {
    troupe::broker first({.on = &sim});
    troupe::broker second({.on = &sim});
    first.provide<speaker>(*kept);
    second.provide<speaker>("x", *kept);
    kept.reset();
    CHECK(say(first, "a") == "1");
    CHECK(say(second, "x") == "2");
    CHECK(say(first, "b") == "3");
  }
  CHECK(shared.use_count() == 1);
}

TEST_CASE("a recipe that is chosen again and again is kept once", "[broker][recipe][memory]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide_by_key<speaker>(
      [chosen = recipe<speaker>(saying("chosen"))](std::string_view) { return chosen; });
  long before = 0;
  for (int i = 0; i < 2000; ++i) {
    if (i == 1000) before = bytes_in_use();
    CHECK(say(broker, "k") == "chosen");
    sync_wait(broker.remove<speaker>("k"));
  }
  CHECK(bytes_in_use() - before < 1024);
}

namespace {

struct minimal {
  int value() const { return 1; }
};
struct sizeable {
  int value() const { return 2; }
};

}  // namespace

TEST_CASE("other classes are not concerned", "[broker][recipe]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<minimal>("k", [](troupe::context&) { return minimal(); });
  CHECK(sync_wait(broker.worker<sizeable>("k").call<&sizeable::value>()) == 2);
  CHECK(sync_wait(broker.worker<minimal>("k").call<&minimal::value>()) == 1);
}

TEST_CASE("threads make instances while others change the factories", "[broker][recipe]") {
  constexpr int rounds = 300;
  troupe::broker broker({.threads = 2});
  std::atomic<bool> done{false};
  std::thread provider([&] {
    for (int i = 0; i < rounds; ++i) {
      broker.provide<speaker>(saying("all"), {.mailbox_capacity = 9});
      broker.provide<speaker>(std::to_string(i % 4), saying("one"));
    }
    done.store(true);
  });
  for (int i = 0; !done.load() || i < 100; ++i) {
    const std::string key = std::to_string(i % 8);
    const std::string said = say(broker, key);
    CHECK((said == "all" || said == "one" || said == "its own"));
    broker.worker<speaker>(key).tell<&speaker::listen>();
    sync_wait(broker.remove<speaker>(key));
  }
  provider.join();
}

}  // namespace recipe_tests

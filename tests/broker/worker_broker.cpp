// SPDX-License-Identifier: MIT
// The tests of the broker from which this one descends, and what was seen to hang, to vanish or to
// end the process there, in terms of this one (docs/worker-broker.md). Each settles.

#include <troupe/broker/broker.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/actor/methods.hpp>
#include <troupe/broker/lru_cleaner.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace worker_broker_tests {
namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;
using troupe::worker_event;

instance_count states;

/// What the worker modules of those tests had: state of their own.
struct state {
  std::string get() const { return value; }
  void set(std::string v) { value = std::move(v); }
  int increase() { return ++number; }
  task<std::string> set_slowly(std::string v, troupe::duration d) {
    co_await troupe::sleep_for(d);
    value = std::move(v);
    co_return value;
  }
  std::string value = "initial";
  int number = 0;
  counted me{states};
};

/// Another class with the same name for its state.
struct other_state {
  std::string get() const { return value; }
  std::string value = "other";
};

struct hello {
  std::string greet(const std::string& name) { return "Hello " + name; }
  task<std::string> greet_later(std::string name) {
    co_await troupe::yield();
    co_return "Hello " + name;
  }
};

/// Calls another worker, and is called by it.
struct relay {
  explicit relay(troupe::context& c) : ctx(c) {}
  task<std::string> through(std::string name) {
    co_return co_await ctx.worker<hello>().call<&hello::greet>(name) + " through " +
        std::string(ctx.key());
  }
  task<int> down(int steps) {
    if (steps == 0) co_return 0;
    const auto next = ctx.worker<relay>(ctx.key() == "a" ? "b" : "a");
    const int below = co_await next.call<&relay::down>(steps - 1);
    co_return below + 1;
  }
  troupe::context& ctx;
};

std::string get(troupe::broker& broker, const std::string& key) {
  return sync_wait(broker.worker<state>(key).call<&state::get>());
}
void set(troupe::broker& broker, const std::string& key, std::string value) {
  sync_wait(broker.worker<state>(key).call<&state::set>(std::move(value)));
}

/// Writes down what happens to workers.
struct recorder {
  void operator()(const worker_event& e) {
    static constexpr std::array<const char*, 4> names{"create", "get", "remove", "terminate"};
    *log += std::string(names.at(static_cast<std::size_t>(e.kind))) + ':' + e.id.key + ' ';
  }
  std::shared_ptr<std::string> log = std::make_shared<std::string>();
};

}  // namespace

// --- its own tests -------------------------------------------------------------------------------

TEST_CASE("a proxy of one function", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto greet = broker.function<&hello::greet>();
  CHECK(broker.worker_count() == 0);  // lazy
  CHECK(sync_wait(greet("World")) == "Hello World");
  CHECK(broker.worker_count() == 1);
  const auto copy = greet;
  CHECK(sync_wait(copy("again")) == "Hello again");
  CHECK(broker.worker_count() == 1);
}

TEST_CASE("a pair of workers call each other", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  CHECK(sync_wait(broker.worker<relay>("r").call<&relay::through>("World")) ==
        "Hello World through r");
  CHECK(sync_wait(broker.worker<relay>("a").call<&relay::down>(20)) == 20);
  CHECK(broker.worker_count() == 4);
}

namespace {

struct thrower {
  int standard() { throw std::invalid_argument("no good"); }
  int zero() { throw 0; }
  task<> later() {
    co_await troupe::yield();
    throw std::invalid_argument("no good later");
  }
  void nothing() {}
  task<> nothing_later() { co_await troupe::yield(); }
  std::unique_ptr<int> null() { return nullptr; }
  std::shared_ptr<const std::string> thrown_value() { throw std::string("as thrown"); }
};

}  // namespace

TEST_CASE("an error rejects", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<thrower>();
  CHECK_THROWS_AS(sync_wait(p.call<&thrower::standard>()), std::invalid_argument);
  CHECK(what_of(sync_wait(error_of(p.call<&thrower::standard>()))) == "no good");
  CHECK(what_of(sync_wait(error_of(p.call<&thrower::later>()))) == "no good later");
  CHECK(what_of(sync_wait(error_of(p.call<&thrower::standard>().within(1s)))) == "no good");
}

TEST_CASE("whatever is thrown rejects, also what looks like nothing", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<thrower>();
  CHECK_THROWS_AS(sync_wait(p.call<&thrower::zero>()), int);
  CHECK_THROWS_AS(sync_wait(p.call<&thrower::zero>().within(1s)), int);
  CHECK_THROWS_AS(sync_wait(p.call<&thrower::thrown_value>()), std::string);
}

TEST_CASE("a result may be nothing", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<thrower>();
  sync_wait(p.call<&thrower::nothing>());
  sync_wait(p.call<&thrower::nothing_later>());
  CHECK(sync_wait(p.call<&thrower::null>()) == nullptr);
}

TEST_CASE("all proxies of a worker share its state", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  set(broker, "", "shared");
  CHECK(get(broker, "") == "shared");
  CHECK(sync_wait(broker.function<&state::get>()()) == "shared");
  CHECK(broker.worker_count() == 1);
}

TEST_CASE("workers are segregated by key", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  set(broker, "user-1", "one");
  set(broker, "user-2", "two");
  CHECK(get(broker, "") == "initial");
  CHECK(get(broker, "user-1") == "one");
  CHECK(get(broker, "user-2") == "two");
  CHECK(broker.worker_count() == 3);
}

TEST_CASE("classes have independent state under one key", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  set(broker, "k", "set");
  CHECK(sync_wait(broker.worker<other_state>("k").call<&other_state::get>()) == "other");
  CHECK(get(broker, "k") == "set");
}

TEST_CASE("proxies made before a reload see the new instance", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto before = broker.worker<state>("k");
  CHECK(sync_wait(before.call<&state::increase>()) == 1);
  CHECK(sync_wait(before.call<&state::increase>()) == 2);
  sync_wait(broker.reload<state>("k"));
  const auto after = broker.worker<state>("k");
  CHECK(sync_wait(before.call<&state::increase>()) == 1);
  CHECK(sync_wait(after.call<&state::increase>()) == 2);  // one instance, not two side by side
  CHECK(before == after);
  CHECK(states.living() == 1);
}

namespace {

struct reloader {
  task<> reload_state(troupe::broker* b) { co_await b->reload<state>("k"); }
  task<> reload_itself(troupe::broker* b) { co_await b->reload<reloader>(); }
  int number() { return ++calls; }
  int calls = 0;
};

}  // namespace

TEST_CASE("a worker reloads others; to wait for its own end is a deadlock",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  set(broker, "k", "set");
  const auto p = broker.worker<reloader>();
  sync_wait(p.call<&reloader::reload_state>(&broker));
  CHECK(get(broker, "k") == "initial");
  CHECK(sync_wait(p.call<&reloader::number>()) == 1);
  CHECK(code_in(sync_wait(error_of(p.call<&reloader::reload_itself>(&broker)))) == errc::deadlock);
  CHECK(sync_wait(p.call<&reloader::number>()) == 1);  // it is reloaded all the same
}

TEST_CASE("a worker is loaded without a call", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  sync_wait(broker.load<state>("k"));
  CHECK(broker.exists<state>("k"));
  CHECK(get(broker, "k") == "initial");
}

TEST_CASE("a limit by number takes the least recently used", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 2})});
  set(broker, "1", "first");
  set(broker, "2", "second");
  CHECK(get(broker, "1") == "first");
  set(broker, "3", "third");
  CHECK(broker.worker_count() == 2);
  CHECK(get(broker, "1") == "first");
  CHECK(get(broker, "2") == "initial");  // a new instance
}

TEST_CASE("a limit by memory takes the least recently used", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  const auto in_use = [] { return static_cast<std::size_t>(states.living()) * 1000; };
  troupe::broker broker(
      {.on = &sim,
       .cleaner = troupe::lru_cleaner(
           {.memory_ceiling = 20'000, .memory_floor = 10'000, .memory_usage = in_use})});
  for (int i = 0; i < 100; ++i) {
    set(broker, std::to_string(i), "set");
    CHECK(states.living() <= 20);
  }
  CHECK(get(broker, "99") == "set");
  CHECK(get(broker, "0") == "initial");
}

namespace {

std::string pointcuts;

struct pointcut {
  task<> on_start() {
    pointcuts += "start ";
    co_await troupe::sleep_for(1ms);
    pointcuts += "started ";
  }
  void before_call(const troupe::call_info& i) {
    pointcuts += "before:" + std::string(i.method) + ' ';
    if (forbidden) throw std::runtime_error("forbidden");
  }
  void after_call(const troupe::call_info& i) {
    pointcuts += "after:" + std::string(i.method) + ' ';
  }
  void run() { pointcuts += "run "; }
  void fail() { throw std::runtime_error("failed"); }
  void forbid() { forbidden = true; }
  bool forbidden = false;
};

task<> two_first_calls(troupe::proxy<pointcut> p) {
  co_await troupe::when_all(p.call<&pointcut::run>(), p.call<&pointcut::run>());
}

}  // namespace

TEST_CASE("hooks run in order, the first of them once", "[broker][worker_broker]") {
  pointcuts.clear();
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<pointcut>();
  sim.run(two_first_calls(p));
  CHECK(pointcuts == "start started before:run run after:run before:run run after:run ");
  pointcuts.clear();
  CHECK(what_of(sync_wait(error_of(p.call<&pointcut::fail>()))) == "failed");
  CHECK(pointcuts == "before:fail after:fail ");
  sync_wait(p.call<&pointcut::forbid>());
  pointcuts.clear();
  CHECK(code_in(sync_wait(error_of(p.call<&pointcut::run>()))) == errc::refused);
  CHECK(pointcuts == "before:run after:run ");  // not run
}

// --- the broker ----------------------------------------------------------------------------------

TEST_CASE("what is not there is not removed, and nobody is told", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker({.on = &sim, .cleaner = r});
  CHECK_FALSE(sync_wait(broker.remove<state>("unknown")));
  CHECK(r.log->empty());
  set(broker, "k", "v");
  CHECK(sync_wait(broker.remove<state>("k")));
  CHECK_FALSE(sync_wait(broker.remove<state>("k")));
  CHECK(*r.log == "create:k remove:k ");
}

TEST_CASE("a broker goes on after all were terminated", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker({.on = &sim, .cleaner = r});
  set(broker, "k", "v");
  sync_wait(broker.terminate());
  CHECK(*r.log == "create:k remove:k terminate: ");
  CHECK(broker.worker_count() == 0);
  CHECK(get(broker, "k") == "initial");
}

TEST_CASE("a cleaner is told of a worker that it can find, and may close at once",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  std::string seen;
  troupe::broker broker({.on = &sim, .cleaner = [&seen](const worker_event& e) {
                           if (e.kind != worker_event::create) return;
                           seen += e.broker->find(e.id) ? "found " : "unknown ";
                           seen += e.broker->evict(e.id) ? "closed" : "kept";
                         }});
  CHECK(get(broker, "k") == "initial");
  CHECK(seen == "found kept");  // a newborn is kept for the call that made it
}

namespace {

struct journal {
  task<> step(std::string name, troupe::duration d) {
    text += '<' + name;
    co_await troupe::sleep_for(d);
    text += name + '>';
  }
  void quick(std::string name) { text += name; }
  std::string read() const { return text; }
  std::string text;
};
struct interleaved_journal : journal {
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
};

template <class J>
task<std::string> three_steps(troupe::broker& broker) {
  const auto p = broker.worker<J>();
  co_await troupe::when_all(p.template call<&journal::step>("1", 2ms),
                            p.template call<&journal::step>("2", 1ms),
                            p.template call<&journal::quick>("3"));
  co_return co_await p.template call<&journal::read>();
}

}  // namespace

TEST_CASE("calls run one at a time and in order, unless the class wants them interleaved",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  CHECK(sim.run(three_steps<journal>(broker)) == "<11><22>3");
  CHECK(sim.run(three_steps<interleaved_journal>(broker)) == "<1<232>1>");
}

// --- calls ---------------------------------------------------------------------------------------

namespace {

/// Keeps data apart by who calls.
struct storage {
  void put(troupe::caller from, std::string value) { data[to_string(from.id())] = value; }
  std::string get(troupe::caller from) const {
    const auto at = data.find(to_string(from.id()));
    return at != data.end() ? at->second : "nothing";
  }
  std::map<std::string, std::string> data;
};
struct client {
  explicit client(troupe::context& c) : ctx(c) {}
  task<> put(std::string value) { co_await ctx.worker<storage>().call<&storage::put>(value); }
  task<std::string> get() { co_return co_await ctx.worker<storage>().call<&storage::get>(); }
  troupe::context& ctx;
};

}  // namespace

TEST_CASE("a callee knows its caller", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  sync_wait(broker.worker<client>("a").call<&client::put>("a's"));
  sync_wait(broker.worker<storage>().call<&storage::put>("nobody's"));
  CHECK(sync_wait(broker.worker<client>("a").call<&client::get>()) == "a's");
  CHECK(sync_wait(broker.worker<client>("b").call<&client::get>()) == "nothing");
  CHECK(sync_wait(broker.worker<storage>().call<&storage::get>()) == "nobody's");
}

namespace {

struct bytes {
  std::size_t borrow(const std::vector<char>& v) { return v.size(); }
  std::vector<char> take(std::vector<char> v) { return v; }
};

}  // namespace

TEST_CASE("a sender keeps its buffer unless it gives it away", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<bytes>();
  std::vector<char> buffer(1000, 'x');
  const char* const place = buffer.data();
  CHECK(sync_wait(p.call<&bytes::borrow>(buffer)) == 1000);
  CHECK(buffer.size() == 1000);
  buffer = sync_wait(p.call<&bytes::take>(std::move(buffer)));
  CHECK(buffer.data() == place);  // there and back without a copy
}

namespace {

task<> caller_is_removed(troupe::broker& broker, gate& opened, std::string& outcome);

struct patient {
  explicit patient(troupe::context& c) : ctx(c) {}
  task<std::string> ask(gate* g);
  troupe::context& ctx;
};
struct slow_answer {
  task<std::string> give(gate* g) {
    co_await g->pass();
    co_return "answer";
  }
};
task<std::string> patient::ask(gate* g) {
  co_return co_await ctx.worker<slow_answer>().call<&slow_answer::give>(g);
}

task<> caller_is_removed(troupe::broker& broker, gate& opened, std::string& outcome) {
  troupe::task_scope scope;
  scope.spawn([](troupe::broker& b, gate& g, std::string& o) -> task<> {
    o = co_await b.worker<patient>().call<&patient::ask>(&g);
  }(broker, opened, outcome));
  co_await until([&] { return broker.exists<slow_answer>(); });
  scope.spawn([](troupe::broker& b, std::string& o) -> task<> {
    const bool was = co_await b.remove<patient>();
    o += was ? ", then removed" : "";
  }(broker, outcome));
  co_await troupe::sleep_for(1ms);
  opened.open();
  co_await scope.join();
}

}  // namespace

TEST_CASE("an answer finds its caller though that is being removed, and makes no new one",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker({.on = &sim, .cleaner = r});
  gate opened;
  std::string outcome;
  sim.run(caller_is_removed(broker, opened, outcome));
  CHECK(outcome == "answer, then removed");
  CHECK_FALSE(broker.exists<patient>());
  CHECK(*r.log == "create: create: remove: ");
}

// --- what was seen to hang -----------------------------------------------------------------------

namespace {

/// A call that is under way while `close` does its work, with a second one in the queue.
template <class Close>
task<std::vector<std::string>> close_under(troupe::broker& broker, Close close) {
  std::vector<std::string> settled;
  const auto call = [](troupe::broker& b, std::vector<std::string>& log, std::string v) -> task<> {
    try {
      log.push_back(co_await b.worker<state>("k").call<&state::set_slowly>(v, 20ms));
    } catch (const std::exception& e) {
      log.push_back(e.what());
    }
  };
  troupe::task_scope scope;
  scope.spawn(call(broker, settled, "first"));
  co_await until([&] { return broker.exists<state>("k"); });
  scope.spawn(call(broker, settled, "second"));
  co_await troupe::sleep_for(5ms);
  co_await close(broker);
  co_await scope.join();
  co_return settled;
}

task<> remove_k(troupe::broker& b) {
  const bool was = co_await b.remove<state>("k");
  CHECK(was);
}
task<> reload_k(troupe::broker& b) { co_await b.reload<state>("k"); }
task<> evict_k(troupe::broker& b) {
  CHECK(b.evict(b.worker<state>("k").id()));
  co_return;
}
task<> terminate(troupe::broker& b) { co_await b.terminate(); }

using closing = task<> (*)(troupe::broker&);

}  // namespace

TEST_CASE("calls in flight settle, however their worker is closed", "[broker][worker_broker]") {
  for (const closing close : {&remove_k, &reload_k, &evict_k, &terminate}) {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    CHECK(sim.run(close_under(broker, close)) == std::vector<std::string>{"first", "second"});
    sim.advance(1s);
    CHECK(states.living() == (close == &reload_k ? 1 : 0));
    CHECK(get(broker, "k") == (close == &reload_k ? "second" : "initial"));
  }
  CHECK(states.living() == 0);
}

TEST_CASE("a call in flight on the least recently used worker settles", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .cleaner = troupe::lru_cleaner({.worker_count = 2})});
  const auto busy = [](troupe::broker& b) -> task<> {
    troupe::task_scope scope;
    std::vector<std::string> answers;
    const auto call = [](troupe::broker& to, std::vector<std::string>& log,
                         std::string key) -> task<> {
      log.push_back(co_await to.worker<state>(key).call<&state::set_slowly>(key, 10ms));
    };
    for (const char* key : {"1", "2", "3", "4"}) {
      scope.spawn(call(b, answers, key));
      co_await troupe::sleep_for(1ms);
    }
    co_await scope.join();
    CHECK(answers == std::vector<std::string>{"1", "2", "3", "4"});
    CHECK(b.worker_count() <= 2);
  };
  sim.run(busy(broker));
}

TEST_CASE("a memory ceiling that nothing can hold evicts no newborn", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  const recorder r;
  troupe::broker broker(
      {.on = &sim, .cleaner = troupe::lru_cleaner({.memory_ceiling = 1, .memory_usage = [] {
                                                     return std::size_t{1'000'000};
                                                   }})});
  CHECK(get(broker, "k") == "initial");
  CHECK(get(broker, "l") == "initial");
}

namespace {

struct moody {
  explicit moody(troupe::context& c) : ctx(c) {}
  void go() { ctx.deactivate_when_idle(); }
  int number() { return ++calls; }
  void fail_later() {
    ctx.spawn([]() -> task<> {
      co_await troupe::sleep_for(1ms);
      throw std::runtime_error("after its call has returned");
    }());
  }
  troupe::context& ctx;
  int calls = 0;
};

task<> close_itself(troupe::broker& broker) {
  const auto p = broker.worker<moody>();
  const int first = co_await p.call<&moody::number>();
  CHECK(first == 1);
  const auto [nothing, with_it] =
      co_await troupe::when_all(p.call<&moody::go>(), p.call<&moody::number>());
  static_cast<void>(nothing);
  // It came before the end of that instance, or was the first of the next one.
  const int next = with_it == 1 ? 2 : 1;
  co_await troupe::sleep_for(1ms);
  const int anew = co_await p.call<&moody::number>();
  CHECK(anew == next);
}

}  // namespace

TEST_CASE("a worker that closes itself hangs nobody", "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  sim.run(close_itself(broker));
}

TEST_CASE("an error after a call has returned is a dead letter, and harms nothing",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  dead_letters letters;
  troupe::broker broker({.on = &sim, .on_dead_letter = letters.collector()});
  const auto p = broker.worker<moody>();
  sync_wait(p.call<&moody::fail_later>());
  sim.advance(1s);
  REQUIRE(letters.count() == 1);
  CHECK(letters.at(0).error == "after its call has returned");
  CHECK(sync_wait(p.call<&moody::number>()) == 1);
}

namespace {

struct unstartable {
  task<> on_start() {
    co_await troupe::yield();
    throw std::runtime_error("cannot start");
  }
  int number() { return 1; }
};
struct unmakeable {
  unmakeable() { throw std::runtime_error("cannot be made"); }
  int number() { return 1; }
};

}  // namespace

TEST_CASE("a start that fails settles the call, and the next one tries again",
          "[broker][worker_broker]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  for (int i = 0; i < 2; ++i) {
    const auto started =
        sync_wait(error_of(broker.worker<unstartable>().call<&unstartable::number>()));
    CHECK(code_in(started) == errc::start_failed);
    CHECK(nested_in(started) == "cannot start");
    const auto made = sync_wait(error_of(broker.worker<unmakeable>().call<&unmakeable::number>()));
    CHECK(code_in(made) == errc::start_failed);
    CHECK(nested_in(made) == "cannot be made");
  }
  CHECK(broker.worker_count() == 0);
}

namespace {

/// A stand-in for an endless loop: it holds its thread until the test is over.
struct runaway {
  void spin(std::atomic<bool>* over) {
    while (!over->load()) std::this_thread::yield();
  }
};

}  // namespace
namespace {

task<> around_a_loop(troupe::broker& broker, std::atomic<bool>& over) {
  const auto p = broker.worker<runaway>();
  const std::error_code limited = co_await code_of(p.call<&runaway::spin>(&over).within(20ms));
  CHECK(limited == errc::timed_out);
  const std::error_code queued = co_await code_of(p.call<&runaway::spin>(&over).within(20ms));
  CHECK(queued == errc::expired);  // it never began
  const std::string other = co_await broker.worker<hello>().call<&hello::greet_later>("World");
  CHECK(other == "Hello World");
  over.store(true);
}

}  // namespace

TEST_CASE("a worker in an endless loop holds up neither timed calls nor other workers",
          "[broker][worker_broker]") {
  std::atomic<bool> over{false};
  troupe::broker broker({.threads = 3});
  broker.run(around_a_loop(broker, over));
}

}  // namespace worker_broker_tests

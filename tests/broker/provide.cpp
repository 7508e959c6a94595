// SPDX-License-Identifier: MIT
// Factories: values, pointers, derived classes whose hooks and options count, interfaces.

#include <troupe/broker/broker.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace provide_tests {
namespace {

using troupe::errc;
using troupe::task;
using namespace troupe::test;

struct greeter {
  explicit greeter(std::string w) : word(std::move(w)) {}
  std::string greet(const std::string& name) { return word + ' ' + name; }
  std::string word;
};

struct pinned {
  explicit pinned(int v) : value(v) {}
  pinned(const pinned&) = delete;
  pinned& operator=(const pinned&) = delete;
  int get() const { return value; }
  int value;
};

struct shape {
  virtual ~shape() = default;
  virtual int area() = 0;
  virtual task<int> area_later() = 0;
};

std::string journal;
instance_count squares;

struct square final : shape {
  explicit square(int s) : side(s) {}
  ~square() override { journal += "gone "; }
  void on_start() { journal += "start "; }
  task<> on_stop() {
    co_await troupe::yield();
    journal += "stop ";
  }
  void before_call(const troupe::call_info& i) {
    journal += "before " + std::string(i.method) + ' ';
  }
  int area() override { return side * side; }
  task<int> area_later() override {
    co_await troupe::yield();
    co_return side* side;
  }
  static constexpr troupe::actor_options options{.mailbox_capacity = 1,
                                                 .overflow = troupe::overflow::refuse};
  int side;
  counted me{squares};
};

struct plain_base {
  int who() const { return 1; }
  int base_value = 5;
};
struct other_base {
  virtual ~other_base() = default;
  int padding = 7;
};
// The base is not at the derived object's address.
struct far_derived : other_base, plain_base {
  void on_start() { base_value = 6; }
};

struct base_reader : plain_base {
  int read() const { return base_value; }
};

}  // namespace

TEST_CASE("a factory may return the class by value", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<greeter>(
      [](troupe::context& ctx) { return greeter("Hi " + std::string(ctx.key())); });
  auto p = broker.worker<greeter>("k");
  REQUIRE(troupe::sync_wait(p.call<&greeter::greet>("you")) == "Hi k you");
}

TEST_CASE("a factory may return a class that cannot move", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<pinned>([](troupe::context&) { return pinned(3); });
  REQUIRE(troupe::sync_wait(broker.worker<pinned>().call<&pinned::get>()) == 3);
}

TEST_CASE("a factory may return a unique_ptr, and may be move-only", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto word = std::make_unique<std::string>("Hej");
  broker.provide<greeter>(
      [w = std::move(word)](troupe::context&) { return std::make_unique<greeter>(*w); });
  REQUIRE(troupe::sync_wait(broker.worker<greeter>("a").call<&greeter::greet>("du")) == "Hej du");
  REQUIRE(troupe::sync_wait(broker.worker<greeter>("b").call<&greeter::greet>("du")) == "Hej du");
}

TEST_CASE("the hooks and options of a derived class count", "[broker][provide]") {
  journal.clear();
  {
    troupe::sim_executor sim;
    troupe::broker broker({.on = &sim});
    broker.provide<shape>([](troupe::context&) { return square(3); });
    auto p = broker.worker<shape>();
    REQUIRE(troupe::sync_wait(p.call<&shape::area>()) == 9);
    REQUIRE(troupe::sync_wait(p.call<&shape::area_later>()) == 9);
    REQUIRE(p.tell<&shape::area>());
    REQUIRE(p.tell<&shape::area>());        // waits: the first is on its way
    REQUIRE_FALSE(p.tell<&shape::area>());  // its options leave room for one
    REQUIRE(troupe::sync_wait(broker.remove<shape>()));
  }
  REQUIRE(journal == "start before area before area_later before area before area stop gone ");
  REQUIRE(squares.living() == 0);
}

TEST_CASE("an interface with its implementation apart is provided by pointer",
          "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  int side = 1;
  broker.provide<shape>([&side](troupe::context&) -> std::unique_ptr<shape> {
    return std::make_unique<square>(++side);
  });
  REQUIRE(troupe::sync_wait(broker.worker<shape>("a").call<&shape::area>()) == 4);
  REQUIRE(troupe::sync_wait(broker.worker<shape>("b").call<&shape::area_later>()) == 9);
}

TEST_CASE("a base that is not at the start of the derived object is found", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<plain_base>([](troupe::context&) { return far_derived(); });
  auto p = broker.worker<plain_base>();
  REQUIRE(troupe::sync_wait(p.call<&plain_base::who>()) == 1);
}

TEST_CASE("a method of a base is called through the derived class", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto who = broker.function<&plain_base::who, base_reader>("x");
  REQUIRE(troupe::sync_wait(who()) == 1);
  REQUIRE(troupe::sync_wait(broker.worker<base_reader>("x").call<&base_reader::read>()) == 5);
  REQUIRE(broker.worker_count() == 1);
}

TEST_CASE("a new factory makes the next instance, not the present one", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<greeter>([](troupe::context&) { return greeter("old"); });
  auto p = broker.worker<greeter>();
  REQUIRE(troupe::sync_wait(p.call<&greeter::greet>("1")) == "old 1");
  broker.provide<greeter>([](troupe::context&) { return greeter("new"); });
  REQUIRE(troupe::sync_wait(p.call<&greeter::greet>("2")) == "old 2");
  REQUIRE(troupe::sync_wait(broker.remove<greeter>()));
  REQUIRE(troupe::sync_wait(p.call<&greeter::greet>("3")) == "new 3");
}

TEST_CASE("a class that cannot be made by itself needs a factory, and says so",
          "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto thrown = troupe::sync_wait(error_of(broker.worker<shape>().call<&shape::area>()));
  REQUIRE(code_in(thrown) == errc::start_failed);
  REQUIRE(nested_in(thrown).find("no factory was provided") != std::string::npos);
}

TEST_CASE("a factory that gives nothing is a failed start", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  broker.provide<greeter>([](troupe::context&) { return std::unique_ptr<greeter>(); });
  const auto thrown =
      troupe::sync_wait(error_of(broker.worker<greeter>().call<&greeter::greet>("x")));
  REQUIRE(code_in(thrown) == errc::start_failed);
  REQUIRE(nested_in(thrown).find("the factory gave nothing") != std::string::npos);
}

namespace {

struct turnstile {
  virtual ~turnstile() = default;
  virtual task<int> hold() = 0;
};
struct nesting final : turnstile {
  explicit nesting(gate& g) : opened(g) {}
  task<int> hold() override {
    co_await opened.pass();
    co_return 1;
  }
  gate& opened;
};
struct interleaving final : turnstile {
  task<int> hold() override {
    co_await troupe::yield();
    co_return 2;
  }
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
};

task<> provide_during_a_turn(troupe::broker& broker, gate& opened) {
  broker.provide<turnstile>([&](troupe::context&) { return nesting(opened); });
  auto p = broker.worker<turnstile>();
  int got = 0;
  troupe::task_scope scope;
  scope.spawn([](troupe::proxy<turnstile> t, int& g) -> task<> {
    g = co_await t.call<&turnstile::hold>();
  }(p, got));
  co_await until([&] { return broker.worker_count() == 1; });
  broker.provide<turnstile>([](troupe::context&) { return interleaving(); });
  opened.open();
  co_await scope.join();
  CHECK(got == 1);
  const int again = co_await p.call<&turnstile::hold>();
  CHECK(again == 1);
  const bool removed = co_await broker.remove<turnstile>();
  CHECK(removed);
  const int anew = co_await p.call<&turnstile::hold>();
  CHECK(anew == 2);
}

}  // namespace

TEST_CASE("a factory with other options leaves the running instance as it is",
          "[broker][provide]") {
  troupe::sim_executor sim;
  gate opened;
  troupe::broker broker({.on = &sim});
  sim.run(provide_during_a_turn(broker, opened));
}

}  // namespace provide_tests

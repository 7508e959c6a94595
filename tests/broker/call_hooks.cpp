// SPDX-License-Identifier: MIT
// before_call and after_call: around plain methods, coroutines, tells and calls with a time limit.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace call_hooks_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

std::string journal;
bool refusing = false;

struct guarded {
  void before_call(const troupe::call_info& i) {
    journal += "(" + std::string(i.method) + (i.from ? " from " + i.from.id().key : "") + ' ';
    if (refusing) throw std::invalid_argument("not today");
  }
  void after_call(const troupe::call_info& i) {
    journal += (i.error ? what_of(i.error) : "ok") + ") ";
  }
  int plain(int n) {
    journal += "plain ";
    if (n < 0) throw std::domain_error("negative");
    return n;
  }
  task<int> later(int n) {
    journal += "later ";
    co_await troupe::yield();
    if (n < 0) throw std::domain_error("negative later");
    co_return n;
  }
};

struct only_after {
  void after_call(const troupe::call_info&) {
    ++calls;
    throw std::runtime_error("a hook's own trouble");
  }
  int get() const { return calls; }
  int calls = 0;
};

struct forwarder {
  explicit forwarder(troupe::context& c) : ctx(c) {}
  task<int> forward(int n) {
    auto g = ctx.worker<guarded>();
    co_return co_await g.call<&guarded::plain>(n);
  }
  task<int> forward_later(int n) {
    auto g = ctx.worker<guarded>();
    co_return co_await g.call<&guarded::later>(n);
  }
  void tell(int n) { ctx.worker<guarded>().tell<&guarded::plain>(n); }
  troupe::context& ctx;
};

struct fixture {
  fixture() {
    journal.clear();
    refusing = false;
  }
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim, .on_dead_letter = dead.collector()}};
  troupe::proxy<guarded> p = broker.worker<guarded>();
};

}  // namespace

TEST_CASE("the hooks stand around every kind of call", "[broker][call_hooks]") {
  fixture f;
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::plain>(1)) == 1);
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::plain>(2)) == 2);
  REQUIRE(journal == "(plain plain ok) (plain plain ok) ");
  journal.clear();
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::later>(3)) == 3);
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::later>(3).within(1h)) == 3);
  REQUIRE(journal == "(later later ok) (later later ok) ");
  journal.clear();
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::plain>(4).within(1h)) == 4);
  REQUIRE(f.p.tell<&guarded::plain>(5));
  REQUIRE(f.p.tell<&guarded::later>(6));
  f.sim.advance(1s);
  REQUIRE(journal == "(plain plain ok) (plain plain ok) (later later ok) ");
  REQUIRE(f.dead.count() == 0);
}

TEST_CASE("after_call is told what the method threw, and the caller gets it unchanged",
          "[broker][call_hooks]") {
  fixture f;
  REQUIRE_THROWS_AS(troupe::sync_wait(f.p.call<&guarded::plain>(-1)), std::domain_error);
  REQUIRE_THROWS_AS(troupe::sync_wait(f.p.call<&guarded::later>(-1)), std::domain_error);
  REQUIRE_THROWS_AS(troupe::sync_wait(f.p.call<&guarded::plain>(-1).within(1h)), std::domain_error);
  REQUIRE_THROWS_AS(troupe::sync_wait(f.p.call<&guarded::later>(-1).within(1h)), std::domain_error);
  REQUIRE(journal ==
          "(plain plain negative) (later later negative later) "
          "(plain plain negative) (later later negative later) ");
  journal.clear();
  REQUIRE(f.p.tell<&guarded::plain>(-1));
  REQUIRE(f.p.tell<&guarded::later>(-1));
  f.sim.advance(1s);
  REQUIRE(journal == "(plain plain negative) (later later negative later) ");
  REQUIRE(f.dead.count() == 2);
  REQUIRE(f.dead.at(0).error == "negative");
}

TEST_CASE("before_call refuses by throwing: the method does not run", "[broker][call_hooks]") {
  fixture f;
  refusing = true;
  const auto check = [](const std::exception_ptr& thrown) {
    REQUIRE(code_in(thrown) == errc::refused);
    REQUIRE(troupe::is_safe_to_retry(code_in(thrown)));
    REQUIRE(nested_in(thrown) == "not today");
  };
  check(troupe::sync_wait(error_of(f.p.call<&guarded::plain>(1))));
  REQUIRE(journal == "(plain not today) ");  // after_call runs in every case
  check(troupe::sync_wait(error_of(f.p.call<&guarded::later>(1))));
  check(troupe::sync_wait(error_of(f.p.call<&guarded::plain>(1).within(1h))));
  check(troupe::sync_wait(error_of(f.p.call<&guarded::later>(1).within(1h))));
  REQUIRE(journal.find("plain plain") == std::string::npos);
  REQUIRE(journal.find("later later") == std::string::npos);
  REQUIRE(f.p.tell<&guarded::plain>(1));
  REQUIRE(f.p.tell<&guarded::later>(1));
  f.sim.advance(1s);
  REQUIRE(f.dead.count() == 2);
  REQUIRE(f.dead.at(0).error.find("refused") != std::string::npos);
  refusing = false;
  REQUIRE(troupe::sync_wait(f.p.call<&guarded::plain>(1)) == 1);
}

TEST_CASE("the hooks are told which worker calls", "[broker][call_hooks]") {
  fixture f;
  auto w = f.broker.worker<forwarder>("fred");
  REQUIRE(troupe::sync_wait(w.call<&forwarder::forward>(1)) == 1);
  REQUIRE(troupe::sync_wait(w.call<&forwarder::forward_later>(1)) == 1);
  troupe::sync_wait(w.call<&forwarder::tell>(1));
  f.sim.advance(1s);
  REQUIRE(journal ==
          "(plain from fred plain ok) (later from fred later ok) (plain from fred plain ok) ");
}

TEST_CASE("what after_call throws changes nothing for the caller", "[broker][call_hooks]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  auto p = broker.worker<only_after>();
  REQUIRE(troupe::sync_wait(p.call<&only_after::get>()) == 0);
  REQUIRE(troupe::sync_wait(p.call<&only_after::get>()) == 1);
}

namespace {

struct open_book {
  int plain(int n) { return n; }
  task<int> fail_later() {
    co_await troupe::yield();
    throw std::domain_error("later");
  }
};

class witness final : public troupe::observer {
public:
  void before_call(const troupe::worker_id& to, const troupe::call_info& call) override {
    log += "(" + to.key + "." + std::string(call.method) + ' ';
    if (call.method == forbidden) throw std::invalid_argument("forbidden");
  }
  void after_call(const troupe::worker_id&, const troupe::call_info& call) override {
    log += (call.error ? what_of(call.error) : "ok") + ") ";
    throw std::runtime_error("an observer's own trouble");
  }
  void on_worker(const troupe::worker_event& event) override {
    log += (event.kind == troupe::worker_event::create ? "+" : "-") + event.id.key + ' ';
  }
  std::string log;
  std::string forbidden;
};

}  // namespace

TEST_CASE("an observer sees every call of every worker, and may refuse it", "[broker][observer]") {
  troupe::sim_executor sim;
  witness w;
  {
    troupe::broker broker({.on = &sim, .observe = &w});
    const auto p = broker.worker<open_book>("a");
    REQUIRE(troupe::sync_wait(p.call<&open_book::plain>(1)) == 1);
    REQUIRE(troupe::sync_wait(p.call<&open_book::plain>(2).within(1h)) == 2);
    REQUIRE_THROWS_AS(troupe::sync_wait(p.call<&open_book::fail_later>()), std::domain_error);
    REQUIRE(w.log == "+a (a.plain ok) (a.plain ok) (a.fail_later later) ");
    w.log.clear();
    w.forbidden = "plain";
    const auto thrown = troupe::sync_wait(error_of(p.call<&open_book::plain>(3)));
    REQUIRE(code_in(thrown) == errc::refused);
    REQUIRE(nested_in(thrown) == "forbidden");
    REQUIRE(p.tell<&open_book::plain>(4));
    sim.advance(1s);
    REQUIRE(w.log == "(a.plain forbidden) (a.plain forbidden) ");
    w.log.clear();
  }
  REQUIRE(w.log == "-a ");
}

}  // namespace call_hooks_tests

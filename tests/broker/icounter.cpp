// SPDX-License-Identifier: MIT
// Callers of an interface need its header, and nothing of who implements it.

#include "icounter.hpp"

#include "../support/catch.hpp"
#include "support.hpp"

namespace icounter_tests {
namespace {

using troupe::test::icounter;

troupe::task<> count(troupe::broker& broker) {
  const auto a = broker.worker<icounter>("a");
  const auto bcd = broker.worker<icounter>("bcd");
  const int first = co_await a->add(5);
  CHECK(first == 106);
  const int second = co_await bcd->add_later(5);
  CHECK(second == 108);
  const int third = co_await a->add_later(1).within(std::chrono::seconds(1));
  CHECK(third == 107);
  CHECK(a.tell<&icounter::add>(1));
  const auto add = broker.function<&icounter::add>("a");
  const int fourth = co_await add(0);
  CHECK(fourth == 108);
  CHECK(troupe::test::living_counters() == 2);
}

struct shelf {
  explicit shelf(troupe::context& ctx) : counter(ctx.worker<icounter>("shelf")) {}
  troupe::task<int> put(int things) {
    const int now = co_await counter->add(things);
    co_return now;
  }
  troupe::proxy<icounter> counter;
};

}  // namespace

TEST_CASE("an interface is called without its implementation", "[broker][provide]") {
  troupe::sim_executor sim;
  {
    troupe::broker broker({.on = &sim});
    troupe::test::provide_counter(broker);
    sim.run(count(broker));
    CHECK(troupe::sync_wait(broker.worker<shelf>().call<&shelf::put>(2)) == 107);
  }
  CHECK(troupe::test::living_counters() == 0);
}

TEST_CASE("an interface for which nothing is provided says so", "[broker][provide]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto thrown = troupe::sync_wait(troupe::test::error_of(broker.worker<icounter>()->add(1)));
  CHECK(troupe::test::code_in(thrown) == troupe::errc::start_failed);
  CHECK(troupe::test::nested_in(thrown).find("no factory was provided") != std::string::npos);
}

}  // namespace icounter_tests

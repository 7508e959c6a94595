// SPDX-License-Identifier: MIT
// Several calls in one expression: no worker is held between two of them, in whatever order the
// compiler asks and resumes. GCC 12 asks all whether they are ready before it resumes the first.

#include <memory>
#include <stdexcept>
#include <string>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace one_expression_tests {

struct one_expression_target {
  int one() { return 1; }
  int fail() { throw std::runtime_error("mine"); }
  std::unique_ptr<int> own() { return std::make_unique<int>(4); }
  int add(const std::unique_ptr<int>& a, int b) { return *a + b; }
  troupe::task<int> later() {
    co_await troupe::yield();
    co_return 5;
  }
};
}  // namespace one_expression_tests

TROUPE_METHODS(one_expression_tests::one_expression_target, one, fail, own, add, later)

namespace one_expression_tests {

// Names that the library uses for its own.
struct method_names_target {
  int on() { return 1; }
  int make() { return 2; }
  int names() { return 3; }
  int call() { return 4; }
  int tell() { return 5; }
  int id() { return 6; }
  int key() { return 7; }
  int methods() { return 8; }
};
}  // namespace one_expression_tests

TROUPE_METHODS(one_expression_tests::method_names_target, on, make, names, call, tell, id, key,
               methods)

namespace one_expression_tests {
namespace {

using troupe::task;
using target = one_expression_target;

task<int> sum_of_one_worker(troupe::proxy<target> p) {
  int sum = co_await p->one();  // makes it, so that the next ones find it idle
  sum += co_await p->one() + co_await p->one() + co_await p->one();
  co_return sum;
}

task<int> plain_and_suspended(troupe::proxy<target> p) {
  int sum = co_await p->one();
  sum += co_await p->one() + co_await p->later() + co_await p->one();
  co_return sum;
}

task<int> nested_in_arguments(troupe::proxy<target> p) {
  co_await p->one();
  const int sum = co_await p->add(co_await p->own(), co_await p->one());
  co_return sum;
}

task<int> one_fails(troupe::proxy<target> p) {
  co_await p->one();
  const int sum = co_await p->add(co_await p->own(), co_await p->one() + co_await p->fail());
  co_return sum;
}

task<std::string> names_of_our_own(troupe::proxy<method_names_target> p) {
  std::string digits;
  digits += std::to_string(co_await p->on());
  digits += std::to_string(co_await p->make());
  digits += std::to_string(co_await p->names());
  digits += std::to_string(co_await p->call());
  digits += std::to_string(co_await p->tell());
  digits += std::to_string(co_await p->id());
  digits += std::to_string(co_await p->key());
  digits += std::to_string(co_await p->methods());
  co_return digits;
}

}  // namespace

TEST_CASE("several calls of one worker stand in one expression") {
  troupe::broker broker({.threads = 2});
  const auto p = broker.worker<target>();
  CHECK(broker.run(sum_of_one_worker(p)) == 4);
  CHECK(broker.run(plain_and_suspended(p)) == 8);
  CHECK(broker.run(nested_in_arguments(p)) == 5);
  CHECK_THROWS_WITH(broker.run(one_fails(p)), "mine");
  CHECK(broker.run(sum_of_one_worker(p)) == 4);
}

TEST_CASE("a method may bear any name") {
  troupe::broker broker({.threads = 1});
  CHECK(broker.run(names_of_our_own(broker.worker<method_names_target>())) == "12345678");
}

}  // namespace one_expression_tests

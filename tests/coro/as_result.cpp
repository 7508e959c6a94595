// SPDX-License-Identifier: MIT
// Errors as values.

#include <troupe/coro/as_result.hpp>

#include <memory>
#include <stdexcept>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>

#include "../support/catch.hpp"

namespace as_result_tests {
namespace {

using troupe::as_result;
using troupe::sync_wait;
using troupe::task;

task<int> give(int value) { co_return value; }
task<int&> give_reference(int& target) { co_return target; }
task<std::unique_ptr<int>> give_pointer(int value) { co_return std::make_unique<int>(value); }
task<> nothing() { co_return; }
task<> fail(troupe::errc code) {
  throw troupe::error(code);
  co_return;
}
task<int> fail_otherwise() {
  throw std::runtime_error("other");
  co_return 0;
}

}  // namespace

TEST_CASE("as_result gives a value as a value", "[coro][as_result]") {
  int target = 1;
  REQUIRE(sync_wait(as_result(give(3))).value() == 3);
  REQUIRE(&sync_wait(as_result(give_reference(target))).value() == &target);
  REQUIRE(*sync_wait(as_result(give_pointer(4))).value() == 4);
  REQUIRE(sync_wait(as_result(nothing())).has_value());
  REQUIRE(sync_wait(as_result(troupe::yield())).has_value());
}

TEST_CASE("as_result gives an exception as an error", "[coro][as_result]") {
  const auto failed = sync_wait(as_result(fail(troupe::errc::refused)));
  REQUIRE_FALSE(failed.has_value());
  REQUIRE(failed.code() == troupe::errc::refused);
  auto other = sync_wait(as_result(fail_otherwise()));
  REQUIRE_THROWS_WITH(other.value(), "other");
}

}  // namespace as_result_tests

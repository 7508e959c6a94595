// SPDX-License-Identifier: MIT

// A result holds a value or an exception, for every kind of type a method may return.

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>

#include "../support/catch.hpp"

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

using troupe::result;

namespace {

std::exception_ptr foreign() { return std::make_exception_ptr(std::runtime_error("foreign")); }

struct pinned {
  explicit pinned(int number) : value(number) {}
  pinned(const pinned&) = delete;
  pinned& operator=(const pinned&) = delete;
  int value;
};

}  // namespace

static_assert(!std::is_aggregate_v<result<int>> && !std::is_aggregate_v<result<void>>);
static_assert(std::is_copy_constructible_v<result<std::string>>);
static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>>);
static_assert(std::is_nothrow_move_constructible_v<result<std::string>>);
static_assert(std::is_same_v<decltype(std::declval<result<int>&>().value()), int&>);
static_assert(std::is_same_v<decltype(std::declval<const result<int>&>().value()), const int&>);
static_assert(std::is_same_v<decltype(std::declval<result<int>>().value()), int&&>);
static_assert(std::is_same_v<decltype(std::declval<result<int&>>().value()), int&>);
static_assert(std::is_same_v<decltype(std::declval<const result<int&>&>().value()), int&>);
static_assert(std::is_constructible_v<result<const std::string&>, std::string&>);
static_assert(!std::is_constructible_v<result<const std::string&>, std::string>, "would dangle");
static_assert(!std::is_constructible_v<result<const std::string&>, const char*>, "would dangle");

TEST_CASE("a result with a value gives it", "[result]") {
  result<std::string> r = "text";
  CHECK(r.has_value());
  CHECK(r.value() == "text");
  CHECK(*r == "text");
  CHECK(r->size() == 4);
  CHECK(r.error() == nullptr);
  CHECK_FALSE(r.code());
  CHECK(std::move(r).value_or("other") == "text");
}

TEST_CASE("a failed result throws its own exception", "[result]") {
  const result<int> r = foreign();
  CHECK_FALSE(r);
  CHECK_THROWS_AS(r.value(), std::runtime_error);
  CHECK(r.value_or(7) == 7);
  CHECK(r.error() != nullptr);
}

TEST_CASE("the code of a failed result is the exception's, if it has one", "[result]") {
  const result<int> ours = std::make_exception_ptr(troupe::error(troupe::errc::timed_out));
  CHECK(ours.code() == troupe::errc::timed_out);
  CHECK(ours.code() == std::errc::timed_out);
  const result<int> other = foreign();
  CHECK(other.code() == std::errc::state_not_recoverable);
  const result<int> no_exception = std::make_exception_ptr(42);
  CHECK(no_exception.code() == std::errc::state_not_recoverable);
}

TEST_CASE("a result may hold what can only be moved", "[result]") {
  result<std::unique_ptr<int>> r = std::make_unique<int>(5);
  result<std::unique_ptr<int>> moved = std::move(r);
  const std::unique_ptr<int> out = std::move(moved).value();
  CHECK(*out == 5);
}

TEST_CASE("a result may hold what cannot even be moved", "[result]") {
  result<pinned> r(std::in_place, 9);
  CHECK(r->value == 9);
}

TEST_CASE("a result may hold a reference", "[result]") {
  int target = 1;
  const result<int&> r = target;
  r.value() = 2;
  *r = *r + 1;
  CHECK(target == 3);
  CHECK(&r.value() == &target);
  const result<int&> failed = foreign();
  int other = 4;
  CHECK(&failed.value_or(other) == &other);
  CHECK_THROWS(failed.value());
}

TEST_CASE("a result of void is success or a failure", "[result]") {
  result<> r;
  CHECK(r.has_value());
  CHECK_NOTHROW(r.value());
  CHECK_FALSE(r.code());
  r = foreign();
  CHECK_FALSE(r);
  CHECK_THROWS_AS(r.value(), std::runtime_error);
  CHECK(r.code() == std::errc::state_not_recoverable);
  CHECK_THROWS_AS(std::rethrow_exception(r.error()), std::runtime_error);
  r = result<>(std::in_place);
  CHECK(r);
  CHECK(r.error() == nullptr);
  CHECK_NOTHROW(*r);
}

TEST_CASE("a result can be assigned from value to failure and back", "[result]") {
  result<std::string> r = "a";
  r = result<std::string>(foreign());
  CHECK_FALSE(r);
  r = result<std::string>("b");
  CHECK(r.value() == "b");
  CHECK(r.error() == nullptr);
}

// SPDX-License-Identifier: MIT

// Callables of all kinds, inside the buffer and outside, are called, moved and destroyed once.

#include <troupe/base/unique_function.hpp>

#include "../support/catch.hpp"

#include <array>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

using troupe::unique_function;

static_assert(std::is_nothrow_move_constructible_v<unique_function<void()>>);
static_assert(std::is_nothrow_move_assignable_v<unique_function<void()>>);
static_assert(!std::is_copy_constructible_v<unique_function<void()>>);
static_assert(!std::is_constructible_v<unique_function<void(int)>, void (*)(std::string)>);
static_assert(sizeof(unique_function<void()>) == 4 * sizeof(void*));

namespace {

int twice(int x) { return 2 * x; }

/// Counts its living copies, in a callable of any size.
template <std::size_t Padding>
struct counting {
  explicit counting(int& counter) : alive(&counter) { ++*alive; }
  counting(counting&& other) noexcept : alive(other.alive) { ++*alive; }
  ~counting() { --*alive; }
  int operator()() const { return *alive; }

  int* alive;
  std::array<char, Padding> padding{};
};

template <std::size_t Padding>
void check_lifetime() {
  int alive = 0;
  {
    unique_function<int()> first = counting<Padding>(alive);
    CHECK(alive == 1);
    unique_function<int()> second = std::move(first);
    CHECK_FALSE(first);
    CHECK(alive == 1);
    CHECK(second() == 1);
    first = std::move(second);
    first = counting<Padding>(alive);
    CHECK(alive == 1);
    first = nullptr;
    CHECK(alive == 0);
    first = counting<Padding>(alive);
  }
  CHECK(alive == 0);
}

}  // namespace

TEST_CASE("functions, lambdas and function objects are called with their arguments",
          "[unique_function]") {
  unique_function<int(int)> f = twice;
  CHECK(f(4) == 8);
  f = [offset = 3](int x) { return x + offset; };
  CHECK(f(4) == 7);
}

TEST_CASE("a callable that can only be moved is taken", "[unique_function]") {
  unique_function<int()> f = [p = std::make_unique<int>(5)] { return *p; };
  unique_function<int()> g = std::move(f);
  CHECK(g() == 5);
}

TEST_CASE("arguments and results are passed through without a copy", "[unique_function]") {
  unique_function<std::unique_ptr<int>(std::unique_ptr<int>)> pass = [](std::unique_ptr<int> p) {
    return p;
  };
  CHECK(*pass(std::make_unique<int>(6)) == 6);
  int target = 0;
  unique_function<int&(int&)> same = [](int& x) -> int& { return x; };
  CHECK(&same(target) == &target);
}

TEST_CASE("a result nobody wants is dropped", "[unique_function]") {
  int runs = 0;
  unique_function<void()> f = [&] { return ++runs; };
  f();
  CHECK(runs == 1);
}

TEST_CASE("empty functions say so", "[unique_function]") {
  int (*none)(int) = nullptr;
  CHECK_FALSE(unique_function<int(int)>());
  CHECK_FALSE(unique_function<int(int)>(nullptr));
  CHECK_FALSE(unique_function<int(int)>(none));
  CHECK(unique_function<int(int)>(twice));
}

TEST_CASE("a small callable lives and dies once", "[unique_function]") { check_lifetime<1>(); }

TEST_CASE("a large callable lives and dies once", "[unique_function]") { check_lifetime<100>(); }

// SPDX-License-Identifier: MIT

// The function runs however the block is left, and not after a release.

#include <troupe/base/scope_exit.hpp>

#include "../support/catch.hpp"

#include <stdexcept>

TEST_CASE("the function runs at the end of the block", "[scope_exit]") {
  int runs = 0;
  {
    const troupe::scope_exit guard([&] { ++runs; });
    CHECK(runs == 0);
  }
  CHECK(runs == 1);
}

TEST_CASE("the function runs when the block is left by an exception", "[scope_exit]") {
  int runs = 0;
  const auto leave = [&] {
    const troupe::scope_exit guard([&] { ++runs; });
    throw std::runtime_error("out");
  };
  CHECK_THROWS(leave());
  CHECK(runs == 1);
}

TEST_CASE("a released guard runs nothing", "[scope_exit]") {
  int runs = 0;
  {
    troupe::scope_exit guard([&] { ++runs; });
    guard.release();
  }
  CHECK(runs == 0);
}

// SPDX-License-Identifier: MIT

// The arithmetic at the ends of time.

#include <troupe/time/clock.hpp>

#include "../support/catch.hpp"

#include <chrono>

using troupe::duration;
using troupe::saturating_add;
using troupe::time_point;

static_assert(saturating_add(time_point(), duration(5)) == time_point(duration(5)));
static_assert(saturating_add(time_point(duration(5)), duration(-7)) == time_point(duration(-2)));
static_assert(saturating_add(time_point(duration(5)), duration::max()) == time_point::max());
static_assert(saturating_add(time_point(duration(-5)), duration::min()) == time_point::min());
static_assert(saturating_add(time_point(duration(5)), duration::min()) ==
              time_point(duration::min() + duration(5)));
static_assert(saturating_add(time_point::max() - duration(3), duration(3)) == time_point::max());
static_assert(saturating_add(time_point::max(), duration(-1)) == time_point::max(),
              "never stays never");

TEST_CASE("the real clock does not go backwards", "[clock]") {
  const time_point before = troupe::steady_now();
  CHECK(troupe::steady_now() >= before);
}

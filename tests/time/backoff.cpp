// SPDX-License-Identifier: MIT

// The bound grows by the factor up to the cap; delays lie anywhere below it.

#include <troupe/base/hash.hpp>
#include <troupe/time/backoff.hpp>

#include "../support/catch.hpp"

#include <chrono>
#include <cstdint>

using namespace std::chrono_literals;
using troupe::backoff;
using troupe::duration;

TEST_CASE("the bound doubles until the cap and starts again after a reset", "[backoff]") {
  backoff delays({.first = 10ms, .max = 65ms, .factor = 2.0});
  for (const duration expected : {10ms, 20ms, 40ms, 65ms, 65ms}) {
    CHECK(delays.bound() == expected);
    (void)delays.next(0);
  }
  delays.reset();
  CHECK(delays.bound() == 10ms);
}

TEST_CASE("delays fill the whole range below the bound", "[backoff]") {
  std::uint64_t state = 1;
  backoff delays({.first = 1s, .max = 1s, .factor = 1.0});
  int lower_half = 0;
  for (int i = 0; i != 1000; ++i) {
    const duration delay = delays.next(troupe::splitmix64(state));
    REQUIRE(delay >= 0ns);
    REQUIRE(delay <= 1s);
    lower_half += delay < 500ms;
  }
  CHECK(lower_half > 400);
  CHECK(lower_half < 600);
}

TEST_CASE("the largest random number and the largest cap do not overflow", "[backoff]") {
  backoff delays({.first = 1h, .max = duration::max(), .factor = 1e9});
  for (int i = 0; i != 10; ++i) CHECK(delays.next(~std::uint64_t{0}) >= 0ns);
  CHECK(delays.bound() == duration::max());
}

TEST_CASE("a first delay of zero means to retry at once, always", "[backoff]") {
  backoff delays({.first = 0ns, .max = 1s, .factor = 2.0});
  for (int i = 0; i != 5; ++i) CHECK(delays.next(12345) == 0ns);
}

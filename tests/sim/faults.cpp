// SPDX-License-Identifier: MIT
// Fault points: off outside, all of it by the seed inside.

#include <cstdint>
#include <vector>

#include <troupe.hpp>

#include "../support/catch.hpp"

namespace {

using troupe::sim_executor;

std::vector<bool> fire_one(unsigned times) {
  std::vector<bool> fired;
  for (unsigned i = 0; i < times; ++i) fired.push_back(TROUPE_BUGGIFY);
  return fired;
}

int count_one() {
  int count = 0;
  for (int i = 0; i < 200; ++i) {
    if (TROUPE_BUGGIFY) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a fault point does not fire outside of a simulation, nor where it was not asked for",
          "[sim]") {
  REQUIRE(count_one() == 0);
  const sim_executor sim({.seed = 3});
  REQUIRE(count_one() == 0);
}

TEST_CASE("a quarter of all points is enabled in a run, and fires a quarter of the time", "[sim]") {
  constexpr int runs = 2000;
  int enabled = 0;
  int fired = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const sim_executor sim({.seed = seed, .buggify = true});
    const int count = count_one();
    if (count != 0) ++enabled;
    fired += count;
  }
  REQUIRE(enabled > runs / 5);
  REQUIRE(enabled < runs / 3);
  REQUIRE(fired > enabled * 200 / 5);
  REQUIRE(fired < enabled * 200 / 3);
}

TEST_CASE("when a fault point fires follows from the seed", "[sim]") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<bool> first;
    {
      const sim_executor sim({.seed = seed, .buggify = true});
      first = fire_one(100);
    }
    const sim_executor sim({.seed = seed, .buggify = true});
    REQUIRE(fire_one(100) == first);
  }
}

TEST_CASE("the number of a fault point does not depend on where the sources lie", "[sim]") {
  using troupe::detail::fault_point;
  static_assert(fault_point("/a/b/file.hpp", 7) == fault_point("c\\file.hpp", 7));
  static_assert(fault_point("file.hpp", 7) != fault_point("file.hpp", 8));
  static_assert(fault_point("file.hpp", 7) != fault_point("other.hpp", 7));
  SUCCEED();
}

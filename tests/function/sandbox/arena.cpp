// SPDX-License-Identifier: MIT
// Blocks never overlap, are never outside, and what is given back is used again.

#include <troupe/function/sandbox/arena.hpp>

#include <support/catch.hpp>

#include <cstdint>
#include <vector>

#include <troupe/base/hash.hpp>

using troupe::detail::sandbox::arena;

TEST_CASE("An arena hands out the lowest block that fits") {
  arena a(4096, 8);
  CHECK(a.take(1) == 0u);
  CHECK(a.take(64) == 64u);
  CHECK(a.take(65) == 128u);
  CHECK(a.take(3840) == 256u);
  CHECK_FALSE(a.take(1).has_value());
  a.give(64);
  CHECK_FALSE(a.take(65).has_value());
  CHECK(a.take(10) == 64u);
  a.give(0);
  a.give(64);
  CHECK(a.take(128) == 0u);
  CHECK(a.highest() == 4096);
  a.give(0);
  a.give(128);
  a.give(256);
  CHECK(a.empty());
  CHECK(a.take(4096) == 0u);
  CHECK_FALSE(a.take(4097).has_value());
}

TEST_CASE("An arena has only so many blocks") {
  arena a(1 << 20, 2);
  CHECK(a.take(1).has_value());
  CHECK(a.take(1).has_value());
  CHECK_FALSE(a.take(1).has_value());
}

TEST_CASE("Blocks do not overlap, whatever is taken and given") {
  arena a(1 << 16, 64);
  struct block {
    std::uint64_t begin;
    std::uint64_t size;
  };
  std::vector<block> held;
  std::uint64_t random = 7;
  for (int i = 0; i != 20'000; ++i) {
    if (troupe::splitmix64(random) % 2 == 0 && !held.empty()) {
      const std::size_t which = troupe::splitmix64(random) % held.size();
      a.give(held[which].begin);
      held[which] = held.back();
      held.pop_back();
      continue;
    }
    const std::uint64_t size = 1 + troupe::splitmix64(random) % 4000;
    const auto begin = a.take(size);
    if (!begin) continue;
    REQUIRE(*begin + size <= a.size());
    for (const block& b : held) REQUIRE((*begin + size <= b.begin || b.begin + b.size <= *begin));
    held.push_back({*begin, size});
  }
  CHECK(a.empty() == held.empty());
}

// SPDX-License-Identifier: MIT

// The hash is stable (golden values), the same at compile time and at run time, free of collisions
// on the keys people use, and mixes well: flipping any input bit flips about half of the output.

#include <troupe/base/hash.hpp>

#include "../support/catch.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

using troupe::hash_bytes;

// Changing a value breaks every running cluster: placement and stored data depend on them.
static_assert(hash_bytes("") == 0x48218226ff3cd4bfULL);
static_assert(hash_bytes("alice") == 0xce58a1b8491c26e0ULL);
static_assert(hash_bytes("segregation key") == 0xa969fd5f15e1c1b6ULL);
static_assert(hash_bytes("alice", 7) == 0x154721d0466ef54dULL);
static_assert(troupe::hash_combine(1, 2) == 0xfcb05c13605f6896ULL);

TEST_CASE("the hash does not depend on how the bytes are given", "[hash]") {
  const std::string text = "0123456789abcdefghij";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i != size; ++i) bytes.push_back(static_cast<std::byte>(text[i]));
    CHECK(hash_bytes(std::string_view(text).substr(0, size)) ==
          hash_bytes(bytes.data(), bytes.size()));
  }
}

TEST_CASE("lengths are told apart even when the added bytes are zero", "[hash]") {
  std::set<std::uint64_t> hashes;
  for (std::size_t size = 0; size != 100; ++size) {
    hashes.insert(hash_bytes(std::string(size, '\0')));
  }
  CHECK(hashes.size() == 100);
}

TEST_CASE("a hundred thousand numbered keys do not collide and fill shards evenly", "[hash]") {
  constexpr int count = 100'000;
  std::set<std::uint64_t> hashes;
  std::vector<int> shards(16);
  for (int i = 0; i != count; ++i) {
    const std::uint64_t hash = hash_bytes("user-" + std::to_string(i));
    hashes.insert(hash);
    ++shards[hash % shards.size()];
  }
  CHECK(hashes.size() == count);
  for (const int load : shards) {
    CHECK(load > 6250 - 400);  // five standard deviations
    CHECK(load < 6250 + 400);
  }
}

TEST_CASE("flipping any input bit flips about half of the output bits", "[hash]") {
  for (const std::size_t size : {1U, 7U, 8U, 9U, 16U, 31U}) {
    for (std::size_t bit = 0; bit != 8 * size; ++bit) {
      int flipped = 0;
      constexpr int trials = 200;
      for (int trial = 0; trial != trials; ++trial) {
        std::string text(size, static_cast<char>(trial));
        const std::uint64_t before = hash_bytes(text);
        text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << (bit % 8)));
        flipped += std::popcount(before ^ hash_bytes(text));
      }
      CAPTURE(size, bit);
      const double share = flipped / (64.0 * trials);
      CHECK(share > 0.45);
      CHECK(share < 0.55);
    }
  }
}

TEST_CASE("hash_combine depends on the order", "[hash]") {
  CHECK(troupe::hash_combine(1, 2) != troupe::hash_combine(2, 1));
  CHECK(troupe::hash_combine(0, 0) != 0);
}

TEST_CASE("splitmix64 gives the published sequence", "[hash]") {
  std::uint64_t state = 1234567;  // the vector of S. Vigna's splitmix64.c
  CHECK(troupe::splitmix64(state) == 6457827717110365317ULL);
  CHECK(troupe::splitmix64(state) == 3203168211198807973ULL);
  CHECK(troupe::splitmix64(state) == 9817491932198370423ULL);
}

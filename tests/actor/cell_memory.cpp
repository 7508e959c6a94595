// SPDX-License-Identifier: MIT
// That the blocks cells are made in are apart from each other, whole, and used again.

#include <troupe/actor/cell_memory.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>

#include "../support/catch.hpp"

namespace {

using troupe::detail::cell_block;
using troupe::detail::cell_memory;

struct block {
  cell_block place;
  std::size_t size;
  unsigned char mark;

  unsigned char* bytes() const { return static_cast<unsigned char*>(place.memory); }
  bool whole() const {
    for (std::size_t i = 0; i != size; ++i) {
      if (bytes()[i] != mark) return false;
    }
    return true;
  }
};

block take(cell_memory& from, std::size_t size, unsigned char mark) {
  const block b{from.allocate(size), size, mark};
  std::memset(b.bytes(), mark, size);
  return b;
}

/// Takes and gives back at random, and counts the blocks that somebody else has written to.
int damaged(cell_memory& memory, std::uint64_t seed, int steps) {
  std::vector<block> held;
  int found = 0;
  const auto give_back = [&](std::size_t i) {
    if (!held[i].whole()) ++found;
    memory.deallocate(held[i].place, held[i].size);
    held[i] = held.back();
    held.pop_back();
  };
  for (int i = 0; i != steps; ++i) {
    const std::uint64_t random = troupe::splitmix64(seed);
    if (held.empty() || random % 16 < 9) {
      held.push_back(take(memory, 1 + (random >> 8) % (cell_memory::largest + 64),
                          static_cast<unsigned char>(random >> 32)));
    } else {
      give_back((random >> 8) % held.size());
    }
  }
  while (!held.empty()) give_back(held.size() - 1);
  return found;
}

}  // namespace

TEST_CASE("blocks for cells lie apart from each other", "[actor][cell_memory]") {
  cell_memory memory;
  REQUIRE(damaged(memory, 1, 20'000) == 0);
}

TEST_CASE("blocks for cells lie apart from each other, for several threads",
          "[actor][cell_memory]") {
  cell_memory memory;
  int found[3] = {};
  std::vector<std::thread> threads;
  for (int& f : found) {
    const auto seed = static_cast<std::uint64_t>(&f - found);
    threads.emplace_back([&memory, &f, seed] { f = damaged(memory, seed, 5000); });
  }
  for (std::thread& t : threads) t.join();
  for (const int f : found) REQUIRE(f == 0);
}

TEST_CASE("a block for a cell given back on another thread is whole", "[actor][cell_memory]") {
  cell_memory memory;
  constexpr std::size_t size = 200;
  std::vector<block> blocks;
  for (int i = 0; i != 1000; ++i) {
    blocks.push_back(take(memory, size, static_cast<unsigned char>(i)));
  }
  int found = 0;
  std::thread([&] {
    for (const block& b : blocks) {
      if (!b.whole()) ++found;
      memory.deallocate(b.place, size);
    }
  }).join();
  REQUIRE(found == 0);
}

TEST_CASE("blocks for cells begin where a cache line does, and come again",
          "[actor][cell_memory]") {
  if (!TROUPE_POOL_FRAMES) return;
  cell_memory memory;
  constexpr std::size_t size = 192;
  constexpr std::size_t count = 1000;  // more than a slab
  std::vector<cell_block> blocks;
  for (std::size_t i = 0; i != count; ++i) {
    blocks.push_back(memory.allocate(size));
    REQUIRE(reinterpret_cast<std::uintptr_t>(blocks[i].memory) % troupe::cache_line_size == 0);
  }
  // In the middle of slabs that are full, and at their edges.
  for (std::size_t i = 0; i != count; ++i) {
    memory.deallocate(blocks[i], size);
    REQUIRE(memory.allocate(size).memory == blocks[i].memory);
  }
  for (const cell_block b : blocks) memory.deallocate(b, size);
}

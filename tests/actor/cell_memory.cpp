// SPDX-License-Identifier: MIT
// That cells and their records are apart from each other, whole, and used again.

#include <troupe/actor/cell_memory.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>

#include "../support/catch.hpp"

#if defined(__GLIBC__)
#  include <malloc.h>
#endif

namespace cell_memory_tests {
namespace {

using troupe::detail::cell_memory;
using troupe::detail::cell_record;

/// What stands for a cell: of the size that it has, and of others.
template <std::size_t Size>
struct alignas(8) bytes_for_cell {
  unsigned char bytes[Size];
};

template <class Cell>
struct place {
  void* cell;
  unsigned char mark;

  unsigned char* record() const {
    return reinterpret_cast<unsigned char*>(cell_memory::record_of<Cell>(cell));
  }
  bool whole() const {
    const auto* const bytes = static_cast<unsigned char*>(cell);
    for (std::size_t i = 0; i != sizeof(Cell); ++i) {
      if (bytes[i] != mark) return false;
    }
    for (std::size_t i = 0; i != sizeof(cell_record); ++i) {
      if (record()[i] != static_cast<unsigned char>(~mark)) return false;
    }
    return cell_memory::cell_of<Cell>(cell_memory::record_of<Cell>(cell)) == cell;
  }
};

template <class Cell>
place<Cell> take(cell_memory& from, unsigned char mark) {
  const place<Cell> p{from.allocate<Cell>(), mark};
  std::memset(p.cell, mark, sizeof(Cell));
  std::memset(p.record(), static_cast<unsigned char>(~mark), sizeof(cell_record));
  return p;
}

/// Takes and gives back at random, and counts the places that somebody else has written to.
template <class Cell>
int damaged(cell_memory& memory, std::uint64_t seed, int steps) {
  std::vector<place<Cell>> held;
  int found = 0;
  const auto give_back = [&](std::size_t i) {
    if (!held[i].whole()) ++found;
    memory.deallocate<Cell>(held[i].cell);
    held[i] = held.back();
    held.pop_back();
  };
  for (int i = 0; i != steps; ++i) {
    const std::uint64_t random = troupe::splitmix64(seed);
    if (held.empty() || random % 16 < 9) {
      held.push_back(take<Cell>(memory, static_cast<unsigned char>(random >> 32)));
    } else {
      give_back((random >> 8) % held.size());
    }
  }
  while (!held.empty()) give_back(held.size() - 1);
  return found;
}

template <class Cell>
int damaged_alone() {
  cell_memory memory;
  return damaged<Cell>(memory, sizeof(Cell), 10'000);
}

using cell_like = bytes_for_cell<160>;

}  // namespace

TEST_CASE("cells and their records lie apart from each other", "[actor][cell_memory]") {
  REQUIRE(damaged_alone<bytes_for_cell<8>>() == 0);
  REQUIRE(damaged_alone<bytes_for_cell<64>>() == 0);
  REQUIRE(damaged_alone<cell_like>() == 0);
  REQUIRE(damaged_alone<bytes_for_cell<200>>() == 0);
  REQUIRE(damaged_alone<bytes_for_cell<1000>>() == 0);
}

TEST_CASE("cells and their records lie apart from each other, for several threads",
          "[actor][cell_memory]") {
  cell_memory memory;
  int found[3] = {};
  std::vector<std::thread> threads;
  for (int& f : found) {
    const auto seed = static_cast<std::uint64_t>(&f - found);
    threads.emplace_back([&memory, &f, seed] { f = damaged<cell_like>(memory, seed, 5000); });
  }
  for (std::thread& t : threads) t.join();
  for (const int f : found) REQUIRE(f == 0);
}

TEST_CASE("a cell given back on another thread is whole", "[actor][cell_memory]") {
  cell_memory memory;
  std::vector<place<cell_like>> places;
  for (int i = 0; i != 1000; ++i) {
    places.push_back(take<cell_like>(memory, static_cast<unsigned char>(i)));
  }
  int found = 0;
  std::thread([&] {
    for (const place<cell_like>& p : places) {
      if (!p.whole()) ++found;
      memory.deallocate<cell_like>(p.cell);
    }
  }).join();
  REQUIRE(found == 0);
}

TEST_CASE("cells begin where a cache line does, records fill lines, and both come again",
          "[actor][cell_memory]") {
  if (!TROUPE_POOL_FRAMES || sizeof(cell_record) != 32) return;
  cell_memory memory;
  constexpr std::size_t count = 1000;  // more than a slab
  std::vector<void*> cells;
  for (std::size_t i = 0; i != count; ++i) {
    cells.push_back(memory.allocate<cell_like>());
    REQUIRE(reinterpret_cast<std::uintptr_t>(cells[i]) % troupe::cache_line_size == 0);
    const auto record =
        reinterpret_cast<std::uintptr_t>(cell_memory::record_of<cell_like>(cells[i]));
    REQUIRE(record % sizeof(cell_record) == 0);
  }
  // In the middle of slabs that are full, and at their edges.
  for (std::size_t i = 0; i != count; ++i) {
    memory.deallocate<cell_like>(cells[i]);
    REQUIRE(memory.allocate<cell_like>() == cells[i]);
  }
  for (void* const c : cells) memory.deallocate<cell_like>(c);
}

TEST_CASE("slabs lie side by side, but for few holes", "[actor][cell_memory]") {
  if (!TROUPE_POOL_FRAMES) return;
  constexpr std::uintptr_t slab = std::uintptr_t{1} << 14;
  cell_memory memory;
  std::vector<void*> cells;
  std::set<std::uintptr_t> slabs;
  while (slabs.size() < 512) {
    cells.push_back(memory.allocate<cell_like>());
    slabs.insert(reinterpret_cast<std::uintptr_t>(cells.back()) / slab);
  }
  std::size_t holes = 0;
  for (auto at = std::next(slabs.begin()); at != slabs.end(); ++at) {
    if (*at != *std::prev(at) + 1) ++holes;
  }
  REQUIRE(holes < slabs.size() / 4);
  for (void* const c : cells) memory.deallocate<cell_like>(c);
}

TEST_CASE("cells are taken and given back in blocks, in any order", "[actor][cell_memory]") {
  cell_memory memory;
  std::vector<place<cell_like>> held;
  std::uint64_t seed = 1;
  for (int round = 0; round != 6; ++round) {
    for (int i = 0; i != 4000; ++i) {
      held.push_back(take<cell_like>(memory, static_cast<unsigned char>(i)));
    }
    // All but a few, which may be anywhere; in the last rounds all.
    const std::size_t kept = round < 4 ? 10 : 0;
    while (held.size() > kept) {
      std::swap(held[troupe::splitmix64(seed) % held.size()], held.back());
      REQUIRE(held.back().whole());
      memory.deallocate<cell_like>(held.back().cell);
      held.pop_back();
    }
  }
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
namespace {
/// Bytes that the heap has given out; always the same where it is a sanitizer's.
std::size_t held_by_the_heap() {
  const struct mallinfo2 m = ::mallinfo2();
  return m.uordblks + m.hblkhd;
}
}  // namespace

TEST_CASE("a block that was emptied while all others were full does not stay as the last",
          "[actor][cell_memory]") {
  if (!TROUPE_POOL_FRAMES) return;
  constexpr std::size_t count = 200'000;  // the last blocks have many slabs
  constexpr std::uintptr_t slab = std::uintptr_t{1} << 14;
  std::vector<void*> cells(count);
  std::vector<void*> last;
  last.reserve(count);
  cell_memory memory;
  const std::size_t before = held_by_the_heap();
  for (void*& c : cells) c = memory.allocate<cell_like>();
  // The last that has room is filled, and then the last cells that were taken are given back, until
  // a whole block of some is empty: it is kept, for nothing else has room.
  const std::size_t full = held_by_the_heap();
  while (held_by_the_heap() == full && last.size() + 1 < count) {
    last.push_back(memory.allocate<cell_like>());
    if (full == before) break;  // not to be seen here
  }
  memory.deallocate<cell_like>(last.back());  // the first of a new block, which is empty
  last.pop_back();
  for (void* const c : cells) memory.deallocate<cell_like>(c);
  for (void* const c : last) memory.deallocate<cell_like>(c);
  CHECK(held_by_the_heap() <= before + 2 * slab);
}
#endif

TEST_CASE("several threads need the first block at once", "[actor][cell_memory]") {
  for (int round = 0; round != 200; ++round) {
    cell_memory memory;
    std::vector<place<cell_like>> taken(3);
    std::vector<std::thread> threads;
    for (place<cell_like>& p : taken) {
      threads.emplace_back([&] { p = take<cell_like>(memory, static_cast<unsigned char>(round)); });
    }
    for (std::thread& t : threads) t.join();
    for (const place<cell_like>& p : taken) REQUIRE(p.whole());
    for (const place<cell_like>& p : taken) memory.deallocate<cell_like>(p.cell);
  }
}

}  // namespace cell_memory_tests

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Memory for the cells of one broker: blocks that begin where a cache line does, side by side.
///
/// Layer: actor. A general heap puts a header before each block and the blocks of others between
/// them, so that what a look-up reads of a cell lies across two lines, and few cells in a page.
/// Here blocks of one size come from slabs (J. Bonwick, USENIX 1994). A slab of which nothing is
/// used goes back to the heap, except where none of its size has room besides it.
///
/// Under AddressSanitizer it steps aside as the pool of frames does (`TROUPE_POOL_FRAMES`).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <troupe/config.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A block, and which one of its slab it is: whoever has the block keeps that.
struct cell_block {
  void* memory;
  std::uint8_t slot;
};

/// In lines of its own: whoever makes workers disturbs nobody who calls them.
///
/// Thread safety: all members from any thread. All blocks are given back before it ends.
class alignas(cache_line_size) cell_memory {
public:
  cell_memory() = default;
  cell_memory(const cell_memory&) = delete;
  cell_memory& operator=(const cell_memory&) = delete;
  ~cell_memory();

  /// A block of `size` bytes. Throws `std::bad_alloc`.
  cell_block allocate(std::size_t size);
  /// Takes back what `allocate(size)` gave.
  void deallocate(cell_block b, std::size_t size) noexcept;

  /// Blocks up to this size begin where a line does.
  static constexpr std::size_t largest = 8 * cache_line_size;

private:
  struct free_block {
    free_block* next;
    std::uint8_t slot;
  };

  /// Stands where the first line of its memory begins; the blocks follow from the next line on.
  struct slab {
    void* memory;
    slab* next;      // of those of its size that have room
    slab* previous;  // nullptr: the first
    free_block* given_back;
    std::uint8_t used;     // blocks
    std::uint8_t touched;  // blocks that were ever used: memory beyond them costs nothing yet
  };
  static_assert(sizeof(slab) <= cache_line_size);

  static constexpr std::size_t slab_size = std::size_t{1} << 14;
  static constexpr std::size_t size_classes = largest / cache_line_size;
  static std::size_t class_of(std::size_t size) noexcept { return (size - 1) / cache_line_size; }
  static std::size_t block_size(std::size_t index) noexcept {
    return (index + 1) * cache_line_size;
  }
  /// Blocks of a slab; two lines are its own and what its memory is before the first line.
  static std::size_t capacity(std::size_t index) noexcept {
    constexpr std::size_t most = 255;
    return (std::min)(most, (slab_size - 2 * cache_line_size) / block_size(index));
  }
  static std::byte* block_of(slab& s, std::uint8_t slot, std::size_t index) noexcept {
    return reinterpret_cast<std::byte*>(&s) + cache_line_size + slot * block_size(index);
  }
  static slab& slab_of(cell_block b, std::size_t index) noexcept {
    auto* const first = static_cast<std::byte*>(b.memory) - b.slot * block_size(index);
    return *reinterpret_cast<slab*>(first - cache_line_size);
  }

  static slab* make_slab();
  static cell_block take(slab& s, std::size_t index) noexcept;
  void link(slab& s, std::size_t index) noexcept;
  void unlink(slab& s, std::size_t index) noexcept;

  spin_lock lock_;                      // guards the slabs and the lists
  slab* with_room_[size_classes] = {};  // doubly linked, for each size
};

inline cell_memory::~cell_memory() {
  for (slab* const last : with_room_) {
    if (last == nullptr) continue;
    TROUPE_ASSERT(last->used == 0 && last->next == nullptr, "a cell outlives its broker's memory");
    ::operator delete(last->memory);
  }
}

inline cell_memory::slab* cell_memory::make_slab() {
  void* const memory = ::operator new(slab_size);
  void* first_line = memory;
  std::size_t space = slab_size;
  std::align(cache_line_size, sizeof(slab), first_line, space);
  return ::new (first_line) slab{memory, nullptr, nullptr, nullptr, 0, 0};
}

/// From a slab that has room. The lock is held.
inline cell_block cell_memory::take(slab& s, std::size_t index) noexcept {
  ++s.used;
  if (free_block* const b = s.given_back) {
    s.given_back = b->next;
    return {b, b->slot};
  }
  const std::uint8_t slot = s.touched++;
  return {block_of(s, slot, index), slot};
}

inline void cell_memory::link(slab& s, std::size_t index) noexcept {
  s.previous = nullptr;
  s.next = with_room_[index];
  if (s.next != nullptr) s.next->previous = &s;
  with_room_[index] = &s;
}

inline void cell_memory::unlink(slab& s, std::size_t index) noexcept {
  (s.previous != nullptr ? s.previous->next : with_room_[index]) = s.next;
  if (s.next != nullptr) s.next->previous = s.previous;
}

inline cell_block cell_memory::allocate(std::size_t size) {
  if (!TROUPE_POOL_FRAMES || size > largest) return {::operator new(size), 0};
  const std::size_t index = class_of(size);
  {
    const spin_guard guard(lock_);
    if (slab* const s = with_room_[index]) {
      const cell_block b = take(*s, index);
      if (s->used == capacity(index)) unlink(*s, index);
      return b;
    }
  }
  slab* const made = make_slab();  // without the lock; another one at the same time does no harm
  const cell_block b = take(*made, index);
  const spin_guard guard(lock_);
  link(*made, index);
  return b;
}

inline void cell_memory::deallocate(cell_block b, std::size_t size) noexcept {
  if (!TROUPE_POOL_FRAMES || size > largest) return ::operator delete(b.memory);
  const std::size_t index = class_of(size);
  slab& s = slab_of(b, index);
  {
    const spin_guard guard(lock_);
    s.given_back = ::new (b.memory) free_block{s.given_back, b.slot};
    if (s.used-- == capacity(index)) link(s, index);
    const bool only_one = with_room_[index] == &s && s.next == nullptr;
    if (s.used != 0 || only_one) return;
    unlink(s, index);
  }
  ::operator delete(s.memory);
}

}  // namespace troupe::detail

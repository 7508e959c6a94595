// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Memory for the cells of one broker, with what a look-up reads of them apart.
///
/// Layer: actor. A look-up waits for memory, and what it reads of a hundred thousand cells stays in
/// a cache only if nothing else lies between. So a slab (J. Bonwick, USENIX 1994) has the records
/// of its cells side by side, then the cells, each in lines of its own; and it begins where a
/// multiple of its size does, so that a cell's address tells where its record is. A slab of which
/// nothing is used goes back to the heap, except where none has room besides it.
///
/// Under AddressSanitizer it steps aside as the pool of frames does (`TROUPE_POOL_FRAMES`).

#include <cstddef>
#include <cstdint>
#include <new>

#include <troupe/actor/cell_record.hpp>
#include <troupe/config.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Memory of `Cell`s, and no others. Whoever makes workers disturbs nobody who calls them: it is in
/// lines of its own.
///
/// Thread safety: all members from any thread. All cells are given back before it ends.
class alignas(cache_line_size) cell_memory {
public:
  cell_memory() = default;
  cell_memory(const cell_memory&) = delete;
  cell_memory& operator=(const cell_memory&) = delete;
  ~cell_memory();

  /// Room for a cell and, elsewhere, for its record. Throws `std::bad_alloc`.
  template <class Cell>
  void* allocate();
  /// Takes back what `allocate<Cell>()` gave.
  template <class Cell>
  void deallocate(void* cell) noexcept;

  /// Where the record of a cell is, and the other way round: by arithmetic, nothing is read.
  template <class Cell>
  static cell_record* record_of(const void* cell) noexcept;
  template <class Cell>
  static void* cell_of(const cell_record* record) noexcept;

private:
  struct free_cell {
    free_cell* next;
  };

  /// Stands where its memory begins.
  struct slab {
    slab* next = nullptr;      // of those that have room
    slab* previous = nullptr;  // nullptr: the first
    free_cell* given_back = nullptr;
    std::uint32_t used = 0;     // cells
    std::uint32_t touched = 0;  // cells that were ever used: memory beyond them costs nothing yet
  };

  /// A multiple of it is where a slab begins. What the heap itself needs follows before the next.
  static constexpr std::size_t slab_distance = std::size_t{1} << 14;
  static constexpr std::size_t slab_size = slab_distance - cache_line_size;
  static constexpr std::align_val_t slab_alignment{slab_distance};
  static constexpr std::size_t in_lines(std::size_t size) noexcept {
    return (size + cache_line_size - 1) / cache_line_size * cache_line_size;
  }

  template <class Cell>
  struct layout;

  static std::uintptr_t begin_of(std::uintptr_t address) noexcept {
    return address - address % slab_distance;
  }
  static slab& slab_of(const void* cell) noexcept {
    return *reinterpret_cast<slab*>(begin_of(reinterpret_cast<std::uintptr_t>(cell)));
  }
  template <class Cell>
  static void* take(slab& s) noexcept;
  void link(slab& s) noexcept;
  void unlink(slab& s) noexcept;

  spin_lock lock_;             // guards the slabs and the list
  slab* with_room_ = nullptr;  // doubly linked
};

/// Where things are in a slab.
template <class Cell>
struct cell_memory::layout {
  static constexpr std::size_t first_record = in_lines(sizeof(slab));
  static constexpr std::uint32_t ratio =  // of the distance of cells to that of records
      (in_lines(sizeof(Cell)) + sizeof(cell_record) - 1) / sizeof(cell_record);
  static constexpr std::size_t distance = ratio * sizeof(cell_record);
  static constexpr std::size_t capacity =
      (slab_size - first_record - cache_line_size) / (distance + sizeof(cell_record));
  static constexpr std::size_t first_cell = first_record + in_lines(capacity * sizeof(cell_record));
  static_assert(first_cell + capacity * distance <= slab_size);
  static_assert(distance % alignof(Cell) == 0 && cache_line_size % alignof(Cell) == 0);
};

inline cell_memory::~cell_memory() {
  slab* const last = with_room_;
  if (last == nullptr) return;
  TROUPE_ASSERT(last->used == 0 && last->next == nullptr, "a cell outlives its broker's memory");
  ::operator delete(last, slab_alignment);
}

template <class Cell>
inline cell_record* cell_memory::record_of(const void* cell) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(cell);
  if constexpr (!TROUPE_POOL_FRAMES) {
    return reinterpret_cast<cell_record*>(address - sizeof(cell_record));
  } else {
    using in = layout<Cell>;
    const auto from_first = static_cast<std::uint32_t>(address % slab_distance - in::first_cell);
    return reinterpret_cast<cell_record*>(begin_of(address) + in::first_record +
                                          from_first / in::ratio);
  }
}

template <class Cell>
inline void* cell_memory::cell_of(const cell_record* record) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(record);
  if constexpr (!TROUPE_POOL_FRAMES) {
    return reinterpret_cast<void*>(address + sizeof(cell_record));
  } else {
    using in = layout<Cell>;
    const std::uintptr_t from_first = address % slab_distance - in::first_record;
    return reinterpret_cast<void*>(begin_of(address) + in::first_cell + from_first * in::ratio);
  }
}

/// From a slab that has room. The lock is held, or nobody knows the slab.
template <class Cell>
inline void* cell_memory::take(slab& s) noexcept {
  ++s.used;
  if (free_cell* const c = s.given_back) {
    s.given_back = c->next;
    return c;
  }
  using in = layout<Cell>;
  return reinterpret_cast<std::byte*>(&s) + in::first_cell + s.touched++ * in::distance;
}

inline void cell_memory::link(slab& s) noexcept {
  s.previous = nullptr;
  s.next = with_room_;
  if (s.next != nullptr) s.next->previous = &s;
  with_room_ = &s;
}

inline void cell_memory::unlink(slab& s) noexcept {
  (s.previous != nullptr ? s.previous->next : with_room_) = s.next;
  if (s.next != nullptr) s.next->previous = s.previous;
}

template <class Cell>
inline void* cell_memory::allocate() {
  if constexpr (!TROUPE_POOL_FRAMES) {
    static_assert(sizeof(cell_record) % alignof(Cell) == 0);
    void* const both = ::operator new(sizeof(cell_record) + sizeof(Cell));
    return static_cast<std::byte*>(both) + sizeof(cell_record);
  } else {
    {
      const spin_guard guard(lock_);
      if (slab* const s = with_room_) {
        void* const c = take<Cell>(*s);
        if (s->used == layout<Cell>::capacity) unlink(*s);
        return c;
      }
    }
    // Without the lock; another one at the same time does no harm.
    slab* const made = ::new (::operator new(slab_size, slab_alignment)) slab;
    void* const c = take<Cell>(*made);
    const spin_guard guard(lock_);
    link(*made);
    return c;
  }
}

template <class Cell>
inline void cell_memory::deallocate(void* cell) noexcept {
  if constexpr (!TROUPE_POOL_FRAMES) {
    ::operator delete(static_cast<std::byte*>(cell) - sizeof(cell_record));
  } else {
    slab& s = slab_of(cell);
    {
      const spin_guard guard(lock_);
      s.given_back = ::new (cell) free_cell{s.given_back};
      if (s.used-- == layout<Cell>::capacity) link(s);
      const bool only_one = with_room_ == &s && s.next == nullptr;
      if (s.used != 0 || only_one) return;
      unlink(s);
    }
    ::operator delete(&s, slab_alignment);
  }
}

}  // namespace troupe::detail

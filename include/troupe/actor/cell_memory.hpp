// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Memory for the cells of one broker, with what a look-up reads of them apart.
///
/// Layer: actor. A look-up waits for memory, and what it reads of a hundred thousand cells stays in
/// a cache only if nothing else lies between. So a slab (J. Bonwick, USENIX 1994) has the records
/// of its cells side by side, then the cells, each in lines of its own; and it begins where a
/// multiple of its size does, so that a cell's address tells where its record is.
///
/// A heap leaves a hole before what begins at such a place, almost as big as a slab. So slabs are
/// taken from it in blocks, which grow with the number of slabs. A block of which
/// nothing is used goes back to the heap, except where no other slab has room.
///
/// Under AddressSanitizer it steps aside as the pool of frames does (`TROUPE_POOL_FRAMES`).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

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
    explicit slab(slab* of_block) noexcept : block(of_block) {}

    slab* next = nullptr;      // of those that have room
    slab* previous = nullptr;  // nullptr: the first
    free_cell* given_back = nullptr;
    slab* block;                // its first slab
    std::uint32_t used = 0;     // cells
    std::uint32_t touched = 0;  // cells that were ever used: memory beyond them costs nothing yet
    // Only in the first slab of a block, about the block:
    std::uint32_t slabs = 0;
    std::uint32_t begun = 0;   // slabs that were ever used: memory beyond them is no slab yet
    std::uint32_t in_use = 0;  // slabs with cells that are used
  };

  /// A multiple of it is where a slab begins.
  static constexpr std::size_t slab_distance = std::size_t{1} << 14;
  static constexpr std::uint32_t most_slabs = 128;  // in a block
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
  static slab* make_block(std::uint32_t slabs);
  /// And those that hang on it by `next`.
  static void delete_blocks(slab* first) noexcept {
    while (first != nullptr) ::operator delete(std::exchange(first, first->next), slab_alignment);
  }
  slab* find_room() noexcept;
  template <class Cell>
  void* take(slab& s) noexcept;
  template <class Cell>
  slab* give_back(void* cell) noexcept;
  bool is_kept(const slab& block) const noexcept;
  slab* take_out(slab& block) noexcept;
  void link(slab& s) noexcept;
  void unlink(slab& s) noexcept;

  spin_lock lock_;             // guards the slabs and all below
  slab* with_room_ = nullptr;  // doubly linked
  std::uint32_t with_room_count_ = 0;
  std::uint32_t slabs_ = 0;  // in all blocks
  slab* newest_ = nullptr;   // the block in which slabs are left that never began
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
  slab* const last = with_room_ != nullptr ? with_room_->block : nullptr;
  TROUPE_ASSERT(
      last == nullptr ? newest_ == nullptr : last->in_use == 0 && last->begun == with_room_count_,
      "a cell outlives its broker's memory");
  if (last != nullptr) last->next = nullptr;
  delete_blocks(last);
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

inline cell_memory::slab* cell_memory::make_block(std::uint32_t slabs) {
  void* const room = ::operator new(slabs * slab_distance, slab_alignment);
  slab* const first = ::new (room) slab(static_cast<slab*>(room));
  first->slabs = slabs;
  return first;
}

/// A slab that has room, or nothing. The lock is held.
inline cell_memory::slab* cell_memory::find_room() noexcept {
  if (with_room_ != nullptr || newest_ == nullptr) return with_room_;
  slab* const block = newest_;
  slab* s = block;
  if (block->begun != 0) {
    s = ::new (reinterpret_cast<std::byte*>(block) + block->begun * slab_distance) slab(block);
  }
  if (++block->begun == block->slabs) newest_ = nullptr;
  link(*s);
  return s;
}

/// From a slab that has room. The lock is held.
template <class Cell>
inline void* cell_memory::take(slab& s) noexcept {
  using in = layout<Cell>;
  if (s.used++ == 0) ++s.block->in_use;
  if (s.used == in::capacity) unlink(s);
  if (free_cell* const c = s.given_back) {
    s.given_back = c->next;
    return c;
  }
  return reinterpret_cast<std::byte*>(&s) + in::first_cell + s.touched++ * in::distance;
}

/// Returns what nobody needs any more: a block, on which another may hang; or nothing. The lock is
/// held.
template <class Cell>
inline cell_memory::slab* cell_memory::give_back(void* cell) noexcept {
  slab& s = slab_of(cell);
  s.given_back = ::new (cell) free_cell{s.given_back};
  if (s.used-- == layout<Cell>::capacity) link(s);
  slab* const block = s.block;
  if (s.used != 0 || --block->in_use != 0) return nullptr;
  if (is_kept(*block)) return nullptr;
  slab* const gone = take_out(*block);
  // The last that is left may have been emptied when the others were full, and kept for that.
  slab* const left = with_room_ != nullptr ? with_room_->block : nullptr;
  const bool is_last = left != nullptr && left->slabs == slabs_;
  if (is_last && left->in_use == 0 && left->slabs != 1) gone->next = take_out(*left);
  return gone;
}

/// A block of which nothing is used. The lock is held.
inline cell_memory::slab* cell_memory::take_out(slab& block) noexcept {
  slabs_ -= block.slabs;
  if (newest_ == &block) newest_ = nullptr;
  for (std::uint32_t i = 0; i != block.begun; ++i) {
    unlink(slab_of(reinterpret_cast<std::byte*>(&block) + i * slab_distance));
  }
  block.next = nullptr;
  return &block;
}

/// Of a block of which nothing is used. Whoever makes one worker after the other is not to need a
/// new one each time; and of a broker without workers no more than one slab is left.
inline bool cell_memory::is_kept(const slab& block) const noexcept {
  if (slabs_ == block.slabs) return block.slabs == 1;
  return with_room_count_ == block.begun && (newest_ == nullptr || newest_ == &block);
}

inline void cell_memory::link(slab& s) noexcept {
  ++with_room_count_;
  s.previous = nullptr;
  s.next = with_room_;
  if (s.next != nullptr) s.next->previous = &s;
  with_room_ = &s;
}

inline void cell_memory::unlink(slab& s) noexcept {
  --with_room_count_;
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
    std::uint32_t slabs = 0;
    {
      const spin_guard guard(lock_);
      if (slab* const s = find_room()) return take<Cell>(*s);
      slabs = std::clamp(slabs_ / 24, 1U, most_slabs);
    }
    // Without the lock. Of those who come here at the same time, the first one's is used.
    slab* made = make_block(slabs);
    void* c = nullptr;
    {
      const spin_guard guard(lock_);
      slab* s = find_room();
      if (s == nullptr) {
        newest_ = std::exchange(made, nullptr);
        slabs_ += slabs;
        s = find_room();
      }
      c = take<Cell>(*s);
    }
    delete_blocks(made);
    return c;
  }
}

template <class Cell>
inline void cell_memory::deallocate(void* cell) noexcept {
  if constexpr (!TROUPE_POOL_FRAMES) {
    ::operator delete(static_cast<std::byte*>(cell) - sizeof(cell_record));
  } else {
    slab* unused = nullptr;
    {
      const spin_guard guard(lock_);
      unused = give_back<Cell>(cell);
    }
    delete_blocks(unused);
  }
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Memory for coroutine frames and call blocks: free lists by size class, one set per thread.
///
/// Layer: coro. `allocate` throws `std::bad_alloc`; `deallocate` never throws. In the steady state
/// neither calls `malloc`: a thread's surplus goes to a shared depot in batches, from which threads
/// that run short are served (the magazine scheme of Bonwick & Adams, USENIX 2001).
///
/// Under AddressSanitizer the pool steps aside (`TROUPE_POOL_FRAMES`), so that a use after free is
/// seen.

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A free block; the first words of memory that nobody uses.
struct free_block {
  free_block* next;
  free_block* next_batch;  // in the depot: the first block of the next batch
};

inline constexpr std::size_t frame_granularity = 64;
inline constexpr std::size_t frame_classes = 32;  // up to 2 KiB
inline constexpr std::uint32_t frame_batch = 32;  // blocks that change hands at once
inline constexpr std::size_t depot_limit = std::size_t{1} << 20;  // bytes of one class, at most

/// The blocks of one size class that one thread holds: some, and maybe a full batch besides, so
/// that a thread at the edge of a batch does not go to the depot again and again.
struct frame_class {
  free_block* head = nullptr;
  std::uint32_t count = 0;      // at most frame_batch
  free_block* spare = nullptr;  // a full batch
};

/// What one thread holds back for its next allocations. Only its thread touches it.
struct frame_cache {
  frame_class classes[frame_classes];
};

inline void delete_blocks(free_block* block) noexcept {
  while (block != nullptr) {
    free_block* const next = block->next;
    ::operator delete(static_cast<void*>(block));
    block = next;
  }
}

/// Full batches that one thread had too many of and another will want. Shared, under a lock that is
/// taken once per `frame_batch` operations. What exceeds the limit goes to the heap.
class frame_depot {
public:
  static frame_depot& instance() noexcept {
    static constinit frame_depot depot;
    return depot;
  }

  void put(std::size_t index, free_block* batch) noexcept {
    {
      const spin_guard guard(lock_);
      if (counts_[index] * (index + 1) * frame_granularity * frame_batch < depot_limit) {
        ++counts_[index];
        batch->next_batch = std::exchange(batches_[index], batch);
        return;
      }
    }
    delete_blocks(batch);
  }

  /// A batch, or `nullptr`.
  free_block* take(std::size_t index) noexcept {
    const spin_guard guard(lock_);
    free_block* const batch = batches_[index];
    if (batch == nullptr) return nullptr;
    --counts_[index];
    batches_[index] = batch->next_batch;
    return batch;
  }

  /// Gives all to the heap: the library that holds this depot is about to go.
  void clear() noexcept {
    for (std::size_t index = 0; index != frame_classes; ++index) {
      while (free_block* const batch = take(index)) delete_blocks(batch);
    }
  }

private:
  constexpr frame_depot() = default;

  spin_lock lock_;  // guards both below
  free_block* batches_[frame_classes] = {};
  std::size_t counts_[frame_classes] = {};
};

/// Gives the cache of a thread that ends back to the heap: no batch that is not full reaches the
/// depot.
inline void release_frame_cache(frame_cache& cache) noexcept {
  for (frame_class& c : cache.classes) {
    delete_blocks(std::exchange(c.head, nullptr));
    delete_blocks(std::exchange(c.spare, nullptr));
    c.count = 0;
  }
}

/// Owns the cache of this thread; its destructor runs when the thread ends.
struct frame_cache_owner {
  frame_cache cache;

  frame_cache_owner() = default;
  frame_cache_owner(const frame_cache_owner&) = delete;
  frame_cache_owner& operator=(const frame_cache_owner&) = delete;
  ~frame_cache_owner() {
    this_thread_state().frames = nullptr;  // frames freed by later destructors go to the heap
    this_thread_state().frames_closed = true;
    release_frame_cache(cache);
  }
};

/// Makes the cache of this thread on first use; `nullptr` while the thread is being torn down.
TROUPE_NOINLINE inline frame_cache* open_frame_cache(thread_state& state) noexcept {
  if (state.frames_closed) return nullptr;
  state.frames = &thread_owned<frame_cache_owner>().cache;
  return state.frames;
}

/// Where this thread has no block of the class at hand.
TROUPE_NOINLINE inline void* refill_frames(thread_state& state, std::size_t index) {
  frame_cache* const cache = state.frames != nullptr ? state.frames : open_frame_cache(state);
  free_block* batch = nullptr;
  if (cache != nullptr) {
    frame_class& c = cache->classes[index];
    batch = std::exchange(c.spare, nullptr);
    if (batch == nullptr) batch = frame_depot::instance().take(index);
    if (batch != nullptr) {
      c.head = batch->next;
      c.count = frame_batch - 1;
    }
  }
  return batch != nullptr ? batch : ::operator new((index + 1) * frame_granularity);
}

/// Where this thread holds a full batch of the class already, or can hold nothing.
TROUPE_NOINLINE inline void spill_frame(thread_state& state, void* memory,
                                        std::size_t index) noexcept {
  frame_cache* const cache = state.frames != nullptr ? state.frames : open_frame_cache(state);
  if (cache == nullptr) return ::operator delete(memory);
  frame_class& c = cache->classes[index];
  if (c.count == frame_batch) {
    free_block* const full = std::exchange(c.head, nullptr);
    c.count = 0;
    if (free_block* const older = std::exchange(c.spare, full)) {
      frame_depot::instance().put(index, older);
    }
  }
  c.head = ::new (memory) free_block{c.head, nullptr};
  ++c.count;
}

/// Memory for `size` bytes, aligned as `operator new` aligns. Throws `std::bad_alloc`.
TROUPE_ALWAYS_INLINE void* allocate_frame(std::size_t size) {
#if TROUPE_POOL_FRAMES
  const std::size_t index = (size - 1) / frame_granularity;
  if (index >= frame_classes) return ::operator new(size);
  thread_state& state = this_thread_state();
  if (state.frames != nullptr) {
    frame_class& c = state.frames->classes[index];
    if (free_block* const block = c.head) {
      c.head = block->next;
      --c.count;
      return block;
    }
  }
  return refill_frames(state, index);
#else
  return ::operator new(size);
#endif
}

/// Takes back what `allocate_frame(size)` gave, on any thread.
TROUPE_ALWAYS_INLINE void deallocate_frame(void* memory,
                                           [[maybe_unused]] std::size_t size) noexcept {
#if TROUPE_POOL_FRAMES
  const std::size_t index = (size - 1) / frame_granularity;
  if (index >= frame_classes) return ::operator delete(memory);
  thread_state& state = this_thread_state();
  if (state.frames != nullptr) {
    frame_class& c = state.frames->classes[index];
    if (c.count < frame_batch) {
      // `next_batch` is written where the block becomes the first of one.
      auto* const block = ::new (memory) free_block;
      block->next = std::exchange(c.head, block);
      ++c.count;
      return;
    }
  }
  spill_frame(state, memory, index);
#else
  ::operator delete(memory);
#endif
}

/// Base of what is made by `new` and should come from the pool. Derived classes are `final` or
/// have a virtual destructor, so that the size handed back is the size that was asked for.
struct pooled {
  TROUPE_ALWAYS_INLINE static void* operator new(std::size_t size) { return allocate_frame(size); }
  TROUPE_ALWAYS_INLINE static void operator delete(void* memory, std::size_t size) noexcept {
    deallocate_frame(memory, size);
  }
};

}  // namespace troupe::detail

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

#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A free block; the first words of memory that nobody uses.
struct free_block {
  free_block* next;
  free_block* next_batch;  // in the depot: the first block of the next batch
};

/// The blocks of one size class that one thread holds.
struct frame_class {
  free_block* head = nullptr;
  std::uint32_t count = 0;
};

inline constexpr std::size_t frame_granularity = 64;
inline constexpr std::size_t frame_classes = 32;  // up to 2 KiB
inline constexpr std::uint32_t frame_batch = 32;  // blocks that move to or from the depot at once

/// What one thread holds back for its next allocations. Only its thread touches it.
struct frame_cache {
  frame_class classes[frame_classes];
};

/// Whole batches that one thread had too many of and another will want. Shared, under a lock that
/// is taken once per `frame_batch` operations.
class frame_depot {
public:
  static frame_depot& instance() noexcept {
    static constinit frame_depot depot;
    return depot;
  }

  void put(std::size_t index, free_block* batch) noexcept {
    const spin_guard guard(lock_);
    batch->next_batch = batches_[index];
    batches_[index] = batch;
  }

  /// A batch, or `nullptr`.
  free_block* take(std::size_t index) noexcept {
    const spin_guard guard(lock_);
    free_block* const batch = batches_[index];
    if (batch != nullptr) batches_[index] = batch->next_batch;
    return batch;
  }

private:
  constexpr frame_depot() = default;

  spin_lock lock_;
  free_block* batches_[frame_classes] = {};
};

/// Gives the cache of a thread that ends back: single blocks to the heap, so that no list of odd
/// length reaches the depot.
inline void release_frame_cache(frame_cache& cache) noexcept {
  for (frame_class& c : cache.classes) {
    while (c.head != nullptr) {
      free_block* const block = c.head;
      c.head = block->next;
      ::operator delete(static_cast<void*>(block));
    }
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

TROUPE_NOINLINE inline void* refill_frames(frame_cache* cache, std::size_t index) {
  if (cache != nullptr) {
    if (free_block* const batch = frame_depot::instance().take(index)) {
      cache->classes[index].head = batch->next;
      cache->classes[index].count = frame_batch - 1;
      return batch;
    }
  }
  return ::operator new((index + 1) * frame_granularity);
}

/// Sends the newest `frame_batch` blocks of a class to the depot.
TROUPE_NOINLINE inline void spill_frames(frame_class& c, std::size_t index) noexcept {
  free_block* const batch = c.head;
  free_block* last = batch;
  for (std::uint32_t i = 1; i < frame_batch; ++i) last = last->next;
  c.head = last->next;
  c.count -= frame_batch;
  last->next = nullptr;
  frame_depot::instance().put(index, batch);
}

/// Memory for `size` bytes, aligned as `operator new` aligns. Throws `std::bad_alloc`.
inline void* allocate_frame(std::size_t size) {
#if TROUPE_POOL_FRAMES
  const std::size_t index = (size - 1) / frame_granularity;
  if (index >= frame_classes) return ::operator new(size);
  thread_state& state = this_thread_state();
  frame_cache* const cache = state.frames != nullptr ? state.frames : open_frame_cache(state);
  if (cache == nullptr || cache->classes[index].head == nullptr) return refill_frames(cache, index);
  frame_class& c = cache->classes[index];
  free_block* const block = c.head;
  c.head = block->next;
  --c.count;
  return block;
#else
  return ::operator new(size);
#endif
}

/// Takes back what `allocate_frame(size)` gave, on any thread.
inline void deallocate_frame(void* memory, [[maybe_unused]] std::size_t size) noexcept {
#if TROUPE_POOL_FRAMES
  const std::size_t index = (size - 1) / frame_granularity;
  if (index >= frame_classes) return ::operator delete(memory);
  thread_state& state = this_thread_state();
  frame_cache* const cache = state.frames != nullptr ? state.frames : open_frame_cache(state);
  if (cache == nullptr) return ::operator delete(memory);
  frame_class& c = cache->classes[index];
  free_block* const block = ::new (memory) free_block{c.head, nullptr};
  c.head = block;
  if (++c.count >= 2 * frame_batch) spill_frames(c, index);
#else
  ::operator delete(memory);
#endif
}

/// Base of what is made by `new` and should come from the pool. Derived classes are `final` or
/// have a virtual destructor, so that the size handed back is the size that was asked for.
struct pooled {
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* memory, std::size_t size) noexcept {
    deallocate_frame(memory, size);
  }
};

}  // namespace troupe::detail

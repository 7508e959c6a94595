// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a thread knows about itself. The only file that names a `thread_local`.
///
/// Layer: coro. Compilers in our range keep the address of a thread-local variable across a
/// suspension point, after which the coroutine may be on another thread (docs/compilers.md). So
/// everything goes through functions that are never inlined, and no coroutine body holds on to
/// what they return.

#include <cstdint>

#include <troupe/config.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/turn_record.hpp>

namespace troupe {
class executor;
class home;
}  // namespace troupe

namespace troupe::detail {

class cell;
class chain_link;
struct frame;
struct frame_cache;

/// Awaits that a coroutine may complete at once before it looks whether others wait.
inline constexpr std::uint32_t run_budget = 128;

/// One per thread. Only its own thread reads or writes it, but for the record.
struct thread_state {
  /// The home whose loop runs on this thread now; `nullptr` outside of any.
  home* loop = nullptr;
  /// The loop belongs to a worker that is allowed to block its thread.
  bool may_block = false;
  /// The executor that can only make progress when this thread drives it (`sim_executor`).
  executor* bound = nullptr;
  /// What a coroutine may spend that goes on here. Less in a simulation, where it looks each time.
  std::uint32_t budget = run_budget;
  /// The pool worker that this thread is, as its pool knows it.
  void* pool_worker = nullptr;
  /// The innermost coroutine that runs on this thread now.
  frame* running = nullptr;
  /// The worker whose plain method runs on this thread now, out of its mailbox.
  cell* plain_turn = nullptr;
  /// What is above that method, as far as it is known: for the trace of what it tells others.
  chain_link* plain_chain = nullptr;
  /// What is above whatever this thread blocks for, if its worker may block it.
  chain_link* blocking = nullptr;
  /// What the loop on this thread runs next, before it asks its queue: first and last.
  runnable* next_first = nullptr;
  runnable* next_last = nullptr;
  /// Of the numbers for threads that have no other source; 0: not seeded yet.
  std::uint64_t random = 0;
  /// Free coroutine frames; see frame_pool.hpp.
  frame_cache* frames = nullptr;
  bool frames_closed = false;
  /// What others may know of it, as long as it is listed (thread_list.hpp).
  turn_record record;
  bool listed = false;
};

#if defined(TROUPE_ATOMIC_HEADER)

/// The state of the calling thread: a checker has threads of its own (sync/atomic.hpp).
thread_state& this_thread_state() noexcept;

#else

/// The state of the calling thread.
TROUPE_NOINLINE inline thread_state& this_thread_state() noexcept {
  static constinit thread_local thread_state state;
  return state;
}

#endif

/// An object that belongs to the calling thread and is destroyed when it ends.
template <class T>
TROUPE_NOINLINE T& thread_owned() {
  static thread_local T object;
  return object;
}

/// Leaves `r` to the loop that runs on this thread: it is run once the present one has returned to
/// the loop, before anything else. This is what keeps the stack flat where one coroutine completes
/// another (compilers do not all turn symmetric transfer into a jump).
inline void run_next(runnable& r) noexcept {
  thread_state& state = this_thread_state();
  r.next = nullptr;
  if (state.next_last != nullptr) {
    state.next_last->next = &r;
  } else {
    state.next_first = &r;
  }
  state.next_last = &r;
}

}  // namespace troupe::detail

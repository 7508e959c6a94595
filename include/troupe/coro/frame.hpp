// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What every coroutine of the library carries, and how one starts and completes another.
///
/// Layer: coro. Allocates nothing, never throws.
///
/// How a coroutine awaits another without growing the stack, on compilers that do not turn
/// symmetric transfer into a jump (GCC below -O2 and under sanitizers): the parent's
/// `await_suspend` *calls* the child. A child that completes before it ever suspends tells so
/// through a flag on the starter's stack, the parent does not suspend, and the stack is back where
/// it was. A child that suspends clears that pointer first; its completion then leaves the parent
/// to the loop of the thread (`run_next`), from the bottom of the stack. Depth is bounded by
/// sending every `nesting_limit`th level through the loop as well.

#include <coroutine>
#include <cstdint>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/thread_state.hpp>

namespace troupe::detail {

/// Levels of coroutines that may run on top of each other on one stack.
inline constexpr std::uint32_t nesting_limit = 32;

/// Told when a coroutine has completed after having been suspended.
class completion {
public:
  using function = void (*)(completion&) noexcept;

  /// Called on the thread that completed it, in tail position: its last touch of the coroutine.
  void done() noexcept { done_(*this); }

protected:
  explicit completion(function f) noexcept : done_(f) {}
  completion(const completion&) = default;
  completion& operator=(const completion&) = default;
  ~completion() = default;

private:
  function done_;
};

/// Base of every promise. As a runnable, it resumes its coroutine.
///
/// Thread safety: touched only by the thread that runs the coroutine, or, while it is suspended,
/// by whoever is going to make it ready.
struct frame : runnable {
  frame() noexcept : runnable(&frame::resume_ready) {}

  /// To be called before anything is published that may resume this coroutine.
  void park() noexcept { completed_inline = nullptr; }

  /// Takes over what a child inherits from the coroutine that awaits it.
  void inherit(frame& awaiting) noexcept {
    where = awaiting.where;
    chain = awaiting.chain;
    parent = &awaiting;
    depth = awaiting.depth + 1;
  }

  /// For a coroutine that nobody starts from a loop, and nobody gives a budget of its own.
  void refill() noexcept { budget = this_thread_state().budget; }

  // What has no value here is given one by whoever starts the coroutine: a frame is made for each
  // call of a coroutine method, and stores are what that costs.
  std::coroutine_handle<> self;
  home* where = nullptr;              // where it continues; nullptr: it was not started
  chain_link* chain;                  // what it inherits; once it was started, never nullptr
  frame* parent = nullptr;            // who awaits it; nullptr: a root
  completion* then;                   // told if it completes after having been suspended
  bool* completed_inline = nullptr;   // set instead, while its starter is still on the stack
  thread_state* thread;               // of the thread that runs it
  std::uint32_t depth = 0;            // coroutines above it
  std::uint32_t budget = run_budget;  // awaits left before it looks whether others wait
  bool fork_calls = false;            // its calls are queued, so that they run beside each other

private:
  static void resume_ready(runnable& r) noexcept {
    frame& f = static_cast<frame&>(r);
    thread_state& state = this_thread_state();
    f.budget = state.budget;
    f.thread = &state;
    state.running = &f;
    f.self.resume();
  }
};

/// Starts `child` here and now. True if it completed; else it is suspended, and will tell
/// `child.then`. Nothing of the child or of its starter is touched after a suspension.
///
/// Always inlined, so only into a function that is not: some compilers keep locals of an inlined
/// `await_suspend` in the frame, which may be gone when the child returns.
TROUPE_ALWAYS_INLINE bool start_inline_here(frame& child, thread_state& state) noexcept {
  bool completed = false;
  child.completed_inline = &completed;
  child.thread = &state;
  state.running = &child;
  child.self.resume();
  return completed;
}
TROUPE_NOINLINE inline bool start_inline(frame& child, thread_state& state) noexcept {
  return start_inline_here(child, state);
}

/// Runs `child`, which `parent` awaits. True if it completed and the parent may go on; false if the
/// parent is suspended. Not inlined, see `start_inline_here`.
TROUPE_NOINLINE inline bool run_child(frame& child, frame& parent) noexcept {
  bool* const parents_flag = std::exchange(parent.completed_inline, nullptr);
  if (parent.budget == 0) {
    if (child.where->others_wait()) {
      child.where->yield(child);
      return false;
    }
    child.refill();
  } else {
    child.budget = parent.budget - 1;
  }
  if (child.depth % nesting_limit == 0) {
    if (child.where == parent.thread->loop) {
      run_next(child);
    } else {
      child.where->resume(child);
    }
    return false;
  }
  thread_state& state = *parent.thread;
  if (!start_inline_here(child, state)) return false;
  state.running = &parent;
  parent.budget = child.budget;
  parent.completed_inline = parents_flag;
  return true;
}

/// Called in an `await_suspend` where there was nothing to wait for, but the budget is spent. True:
/// others go first, and the coroutine is suspended all the same; neither it nor its frame is
/// touched any more then. Not inlined, see `run_child`.
TROUPE_NOINLINE inline bool let_others_run(frame& f) noexcept {
  if (!f.where->others_wait()) {
    f.refill();
    return false;
  }
  f.park();
  f.where->yield(f);
  return true;
}

/// The last act of a coroutine. Not inlined, see `run_child`.
TROUPE_NOINLINE inline void complete(frame& f) noexcept {
  if (bool* const flag = f.completed_inline) {
    *flag = true;
    return;
  }
  f.then->done();
}

/// A completion that resumes the coroutine that waits for it.
class resume_parent : public completion {
public:
  explicit resume_parent(frame& parent) noexcept
      : completion(&resume_parent::resume), parent_(&parent) {}

  frame& parent() const noexcept { return *parent_; }

private:
  static void resume(completion& c) noexcept {
    frame& parent = *static_cast<resume_parent&>(c).parent_;
    parent.where->resume(parent);
  }

  frame* parent_;
};

}  // namespace troupe::detail

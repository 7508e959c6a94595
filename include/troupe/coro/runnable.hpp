// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What an executor runs: a coroutine ready to continue, a worker with mail, a turn with work.
///
/// Layer: coro. Allocates nothing, never throws.

namespace troupe {

/// Something that can be run once by whoever takes it from a queue.
///
/// A runnable is linked into at most one queue at a time, through `next`. The queue does not own
/// it: a runnable must outlive its stay, and may be gone when `run` returns.
class runnable {
public:
  runnable(const runnable&) = delete;
  runnable& operator=(const runnable&) = delete;

  using run_function = void (*)(runnable&) noexcept;

  /// Runs it, on this thread. The runnable must not be touched afterwards.
  void run() noexcept { run_(*this); }

  /// True if `run` means this function.
  bool runs(run_function f) const noexcept { return run_ == f; }

  /// The link of the queue that holds it; free for use by whoever holds the runnable.
  runnable* next = nullptr;

protected:
  explicit runnable(run_function f) noexcept : run_(f) {}
  ~runnable() = default;

private:
  run_function run_;
};

}  // namespace troupe

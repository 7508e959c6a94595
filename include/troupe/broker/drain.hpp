// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `drain`: workers that close together, and what is done to those that take too long.
///
/// Layer: broker.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/life.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A worker, and the mark that asks it to close.
struct closing_worker {
  intrusive_ptr<cell> worker;
  intrusive_ptr<close_mark> mark;
};

/// Workers that are asked to close at the same time. Counted: who waits for their end holds it, and
/// who sees to the limit. The former may give up; the limit holds all the same.
///
/// Thread safety: all members from any thread.
template <class Lazy = void>
class drain final {
public:
  /// Makes a mark for each, and asks nobody yet. Throws `std::bad_alloc`.
  explicit drain(std::vector<intrusive_ptr<put_off<cell, Lazy>>> workers) {
    all_.reserve(workers.size());
    for (auto& c : workers) {
      intrusive_ptr<close_mark> mark(new close_mark);
      all_.push_back(closing_worker{std::move(c), std::move(mark)});
    }
  }
  /// One that has been asked.
  drain(intrusive_ptr<cell> c, intrusive_ptr<close_mark> mark) {
    all_.push_back(closing_worker{std::move(c), std::move(mark)});
  }

  friend void add_ref(drain* d) noexcept { d->references_.fetch_add(1, order::relaxed); }
  friend void release(drain* d) noexcept {
    if (d->references_.fetch_sub(1, order::acq_rel) == 1) delete d;
  }

  const std::vector<put_off<closing_worker, Lazy>>& all() const noexcept { return all_; }

  /// Refuses what has not started of those that are still there, and asks what runs to stop. What
  /// came after a worker's end is another instance's, and is left alone. The mark of a worker that
  /// was abandoned is with the next one.
  void hurry() noexcept {
    for (const auto& w : all_) {
      if (w.mark->settled()) continue;
      const intrusive_ptr<cell> c = w.worker->current();
      c->refuse_waiting(errc::worker_stopped);
      c->stop_turns();
    }
  }

  /// All are closed.
  bool done() const noexcept {
    for (const auto& w : all_) {
      if (!w.mark->settled()) return false;
    }
    return true;
  }

  /// Notes why somebody waits no longer for one of them. `stopped`: having been asked to. The first
  /// reason counts, but one who waits for its own end hears that rather than of a stop that this
  /// end has brought about.
  void note_failure(std::exception_ptr why, bool stopped) noexcept {
    const spin_guard guard(lock_);
    if (failure_ && (stopped || !stopped_)) return;
    failure_ = std::move(why);
    stopped_ = stopped;
  }
  /// All waits have ended, one of them by a stop request, and none for another reason.
  bool stopped() const noexcept {
    const spin_guard guard(lock_);
    return stopped_;
  }
  void throw_failure() const {
    const std::exception_ptr why = failure();
    if (why) std::rethrow_exception(why);
  }

  async_semaphore over{0};  // a permit: nobody needs to see to the limit any more

private:
  ~drain() = default;

  std::exception_ptr failure() const noexcept {
    const spin_guard guard(lock_);
    return failure_;
  }

  std::vector<put_off<closing_worker, Lazy>> all_;  // constant once made
  atomic<std::uint32_t> references_{0};
  mutable spin_lock lock_;  // guards both below
  std::exception_ptr failure_;
  bool stopped_ = false;  // failure_ is a wait that was asked to stop
};

}  // namespace troupe::detail

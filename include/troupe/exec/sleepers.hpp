// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who of a pool sleeps and who looks for work: the event count that keeps wake-ups few and none
/// lost.
///
/// Layer: exec. Allocates in the constructor only.
///
/// The rule (as in Go's and Tokio's schedulers): at most one thread searches at a time. Whoever
/// adds work wakes one sleeper, unless somebody searches already; a searcher that finds work lets
/// the next sleeper search before it runs what it found. No wake-up is lost: whoever adds work
/// first makes it visible and then reads `word_` by a read-modify-write; a thread that goes to
/// sleep first enters `word_` and then looks at all queues once more. Of the two read-modify-writes
/// one comes first: either the adder sees the sleeper, or the sleeper, which acquires what the
/// adder has released, sees the work. So it is with whoever ends a search and looks then: an adder
/// that has seen it search has woken nobody. The word carries nothing else from thread to thread.

#include <cstdint>
#include <vector>

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Thread safety: all members from any thread; `index` names the calling thread of the pool.
class sleepers {
public:
  explicit sleepers(std::uint32_t threads) : asleep_(threads, 0) { order_.reserve(threads); }

  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  /// After work was added: who is to be woken, as a searcher; or `nobody`.
  std::uint32_t wake_one() noexcept {
    const std::uint32_t word = word_.fetch_add(0, order::release);  // pairs with enter, end_search
    if (searching(word) != 0 || sleeping(word) == 0) return nobody;
    return take_sleeper();
  }

  /// True if the caller may search: nobody else does. Relaxed: what the search misses, it finds
  /// when it looks again after `enter`.
  bool begin_search() noexcept {
    std::uint32_t word = word_.load(order::relaxed);
    while (searching(word) == 0) {
      if (word_.compare_exchange_weak(word, word + one_searching, order::relaxed, order::relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// The caller stops searching; afterwards it must look at all queues again.
  void end_search() noexcept { word_.fetch_sub(one_searching, order::acquire); }

  /// The caller is about to sleep; afterwards it must look at all queues again.
  void enter(std::uint32_t index, bool searched) noexcept {
    const spin_guard guard(lock_);
    asleep_[index] = 1;
    order_.push_back(index);
    word_.fetch_add(one_sleeping - (searched ? one_searching : 0), order::acquire);
  }

  /// The caller found work, or its time has come, after `enter`. True if it left by itself; false
  /// if it was taken by `wake_one` and searches now.
  bool leave(std::uint32_t index) noexcept {
    const spin_guard guard(lock_);
    if (asleep_[index] == 0) return false;
    asleep_[index] = 0;
    std::erase(order_, index);
    word_.fetch_sub(one_sleeping, order::acquire);  // pairs with count
    return true;
  }

  /// True if `wake_one` has taken the caller out since `enter`.
  bool was_woken(std::uint32_t index) const noexcept {
    const spin_guard guard(lock_);
    return asleep_[index] == 0;
  }

  /// How many sleep. Who leaves after this sees what the caller wrote before it.
  std::uint32_t count() const noexcept { return sleeping(word_.fetch_add(0, order::release)); }

private:
  static constexpr std::uint32_t one_searching = 1;
  static constexpr std::uint32_t one_sleeping = 1u << 16;

  static std::uint32_t searching(std::uint32_t word) noexcept { return word & 0xffff; }
  static std::uint32_t sleeping(std::uint32_t word) noexcept { return word >> 16; }

  std::uint32_t take_sleeper() noexcept {
    const spin_guard guard(lock_);
    if (order_.empty() || searching(word_.load(order::relaxed)) != 0) return nobody;
    const std::uint32_t index = order_.back();
    order_.pop_back();
    asleep_[index] = 0;
    word_.fetch_add(one_searching - one_sleeping, order::relaxed);  // the parker carries the rest
    return index;
  }

  // The low half counts threads that search, the high half threads that sleep.
  mutable atomic<std::uint32_t> word_{0};
  mutable spin_lock lock_;  // guards both below; the newest sleeper is woken first
  std::vector<std::uint8_t> asleep_;
  std::vector<std::uint32_t> order_;
};

}  // namespace troupe::detail

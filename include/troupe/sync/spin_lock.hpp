// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A lock of one word for sections of a few instructions.
///
/// Layer: sync. Spins, then yields its thread; never sleeps. Not fair, not recursive. Never held
/// over a suspension, a callback or an allocation.
/// Algorithm: L. Rudolph, Z. Segall, "Dynamic Decentralized Cache Schemes for MIMD Parallel
/// Processors", ISCA 1984 (test and test-and-set).

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>

#include <cstdint>
#include <thread>

namespace troupe {

class spin_lock {
public:
  spin_lock() = default;
  spin_lock(const spin_lock&) = delete;
  spin_lock& operator=(const spin_lock&) = delete;

  void lock() noexcept {
    if (!try_lock()) lock_contended();
  }

  [[nodiscard]] bool try_lock() noexcept {
    return word_.exchange(held, detail::order::acquire) == free;  // pairs with unlock
  }

  void unlock() noexcept {
    word_.store(free, detail::order::release);  // pairs with try_lock
  }

private:
  static constexpr std::uint32_t free = 0;
  static constexpr std::uint32_t held = 1;

  // Declared inline here: GCC warns about a noinline function that is defined inline.
  TROUPE_NOINLINE inline void lock_contended() noexcept;

  // free or held. Nothing tells by whom, or whether anybody waits.
  detail::atomic<std::uint32_t> word_{free};
};

/// Holds a `spin_lock` for a block.
class [[nodiscard("unlocks at the end of the full expression")]] spin_guard {
public:
  explicit spin_guard(spin_lock& lock) noexcept : lock_(lock) { lock_.lock(); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;
  ~spin_guard() { lock_.unlock(); }

private:
  spin_lock& lock_;
};

void spin_lock::lock_contended() noexcept {
  // Longer than any section under such a lock takes; beyond it, its holder has been preempted and
  // can only go on if it gets a core.
  constexpr int spins_before_yield = 128;
  do {
    // Only reads while waiting: the line stays shared instead of moving from core to core.
    for (int spins = 0; word_.load(detail::order::relaxed) == held; ++spins) {
      if (spins < spins_before_yield) {
        detail::cpu_relax();
      } else {
        std::this_thread::yield();
      }
    }
  } while (!try_lock());
}

}  // namespace troupe

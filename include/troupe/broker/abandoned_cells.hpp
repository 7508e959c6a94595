// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The cells that were abandoned, and which ones stand in their places.
///
/// Layer: broker. There is one for each turn that was given up and whose cell somebody refers to:
/// few, so that they stand in a list.

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <troupe/actor/cell.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Thread safety: all members from any thread.
template <class Lazy = void>
class abandoned_cells {
public:
  /// Throws `std::bad_alloc`.
  void add(cell& old, intrusive_ptr<cell> next) {
    const spin_guard guard(lock_);
    entries_.push_back({&old, std::move(next)});
    open_.fetch_add(1, order::relaxed);
  }

  /// Where the cell was not abandoned after all.
  void remove(const cell& old) noexcept {
    intrusive_ptr<cell> next;  // released without the lock
    {
      const spin_guard guard(lock_);
      next = take(old);
    }
    ended();
  }

  /// The cell in the place of `old`.
  intrusive_ptr<cell> successor(const cell& old) const noexcept {
    const spin_guard guard(lock_);
    const auto found = std::ranges::find(entries_, &old, &entry::old);
    return found != entries_.end() ? found->next : intrusive_ptr<cell>();
  }

  /// The one at an address that may be any, counted; empty if there is none.
  intrusive_ptr<cell> find(const cell* address) const noexcept {
    const spin_guard guard(lock_);
    const auto found = std::ranges::find(entries_, address, &entry::old);
    return found != entries_.end() ? intrusive_ptr<cell>(found->old) : intrusive_ptr<cell>();
  }

  /// Gives one reference of `old` back; deletes it if it was the last.
  void retire(cell& old) noexcept {
    intrusive_ptr<cell> next;
    {
      const spin_guard guard(lock_);
      if (!old.release_last()) return;  // found again by `all`
      next = take(old);
    }
    cell::destroy(old);
  }

  /// The last turn of one of them has ended.
  void ended() noexcept { open_.fetch_sub(1, order::release); }
  /// How many have turns that have not ended.
  std::size_t open() const noexcept { return open_.load(order::acquire); }

  /// Those that are there, counted.
  std::vector<intrusive_ptr<cell>> all() const {
    std::vector<intrusive_ptr<put_off<cell, Lazy>>> found;
    found.reserve(open() + 8);
    const spin_guard guard(lock_);
    for (const entry& e : entries_) {
      if (found.size() != found.capacity()) found.emplace_back(e.old);
    }
    return found;
  }

private:
  struct entry {
    cell* old;
    intrusive_ptr<cell> next;
  };

  /// Out of the list. The lock is held.
  intrusive_ptr<cell> take(const cell& old) noexcept {
    const auto found = std::ranges::find(entries_, &old, &entry::old);
    if (found == entries_.end()) return {};  // discarded
    intrusive_ptr<cell> next = std::move(found->next);
    entries_.erase(found);
    return next;
  }

  mutable spin_lock lock_;  // guards entries_, and the last reference of each cell in it
  std::vector<entry> entries_;
  atomic<std::size_t> open_{0};
};

}  // namespace troupe::detail

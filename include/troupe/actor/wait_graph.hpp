// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who waits for whom: finds a cycle of waiting calls at the moment it closes.
///
/// Layer: actor. Allocates nothing except the text that names a cycle.
///
/// Only calls that are made from within a turn and have to queue come here: a caller that holds no
/// worker cannot be part of a cycle. Such a wait is entered below the turn that makes it and
/// removed before it gets its own turn, so that what is in the graph is true at any moment. A turn
/// is *blocked* while it, or a call it awaits, has an entered wait; it is then known to what it
/// holds (its worker, or the turn it nests in). From a new wait the search goes: what it waits for
/// → the blocked turn that holds that → the waits below that turn → what they wait for, and so on.
/// Meeting a turn above the new wait closes a cycle. All under one lock of the process, since a
/// cycle may cross brokers; the lock is taken only by calls that have to queue.

#include <cstdint>
#include <string>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

class turn;

struct turn_waits;

/// Something that one turn holds and others wait for.
struct hold_point {
  turn_waits* blocked_holder =
      nullptr;  // its holder, while that is blocked; guarded by the graph's lock
  /// The blocked turns of an interleaved worker, which hold nothing but its end; guarded likewise.
  turn_waits* blocked_open = nullptr;
};

/// A call that waits, below a turn.
struct wait_entry : list_hook {
  turn* below = nullptr;        // the turn that waits; nullptr: not in the graph
  hold_point* point = nullptr;  // what for
  bool for_end = false;         // for the worker's end, and so for all of its turns
};

/// What the graph knows of a turn; made when it first has to know it. Guarded by the graph's lock.
struct turn_waits : list_hook {
  explicit turn_waits(turn& t) noexcept : of(t) {}

  turn& of;
  hold_point nest;                           // what a call that nests in this turn waits for: the
                                             // turn that nests in it now
  intrusive_list<wait_entry> waits;          // calls that this turn makes itself
  intrusive_list<turn_waits> blocked_below;  // blocked turns of calls that this turn awaits
  turn_waits* parent = nullptr;              // in whose `blocked_below` this is
  turn_waits* reached_from = nullptr;        // by the search that runs now
  turn_waits* next_to_visit = nullptr;
  turn_waits* next_blocked = nullptr;  // of its interleaved worker, in `blocked_open`
  std::uint64_t seen = 0;              // number of the last search that came here
  bool blocked = false;
};

/// The graph. One per process.
class wait_graph {
public:
  static wait_graph& instance() noexcept {
    static constinit wait_graph graph;
    return graph;
  }

  /// Enters a wait below `t` for `point`. Returns a text that names the cycle, and enters nothing,
  /// if the wait closes one; else an empty text.
  std::string enter(wait_entry& w, turn& t, hold_point& point) noexcept {
    const spin_guard guard(lock_);
    return enter_locked(w, t, point);
  }
  std::string enter_locked(wait_entry& w, turn& t, hold_point& point) noexcept;

  /// Removes the wait, if it is entered.
  void leave(wait_entry& w) noexcept {
    const spin_guard guard(lock_);
    leave_locked(w);
  }
  void leave_locked(wait_entry& w) noexcept;

  /// Guards also the link from an owning call to its caller; see owned_call.hpp.
  spin_lock& lock() noexcept { return lock_; }

  /// The turn no longer belongs to the call above it. The lock is held.
  void cut(turn& t) noexcept;

private:
  constexpr wait_graph() = default;

  void block(turn& t) noexcept;
  void unblock(turn_waits& w) noexcept;
  static void unlist_open(const turn_waits& gone) noexcept;
  turn_waits* find_cycle(turn& t, const wait_entry& w) noexcept;
  static std::string describe(const turn& t, const turn_waits* met) noexcept;

  spin_lock lock_;
  std::uint64_t search_ = 0;
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Finds, among many deadlines, those that have passed and the next one that will.
///
/// Layer: time. A state machine: no thread, no clock, no allocation, no exceptions. Inserting and
/// erasing take constant time; each timer moves at most once per level on its way.
/// Algorithm: G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7.

#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/time/clock.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace troupe {

/// Base of anything that waits for a deadline. Borrowed by the wheel while it is armed.
struct timer_node : list_hook {
  time_point deadline = never;  ///< Written by `timer_wheel::insert` alone.

  [[nodiscard]] bool armed() const noexcept { return linked(); }

private:
  friend class timer_wheel;
  std::uint16_t slot_ = 0;  // where it is, while it is armed; see timer_wheel::slots_
};

/// A hierarchical timer wheel. Not synchronised.
///
/// Times are compared exactly: a timer fires at the first `advance` whose `now` has reached its
/// deadline, and never before. The tick only decides which timers are looked at.
class timer_wheel {
public:
  /// 65.536 microseconds.
  static constexpr duration tick{std::int64_t{1} << 16};

  explicit timer_wheel(time_point start) noexcept;
  timer_wheel(const timer_wheel&) = delete;
  timer_wheel& operator=(const timer_wheel&) = delete;

  /// Arms `node`, which must not be armed. A deadline in the past fires at the next `advance`;
  /// `never` never fires.
  void insert(timer_node& node, time_point deadline) noexcept;

  /// Disarms `node`, which is in this wheel or in none; returns whether it was armed.
  bool erase(timer_node& node) noexcept;

  /// Not later than the earliest deadline; `never` without timers. It is the earliest
  /// deadline itself, unless a timer that was erased was to fire before: then an `advance` to the
  /// moment told corrects it.
  [[nodiscard]] time_point next_expiry() const noexcept;

  /// Disarms each timer whose deadline is not after `now` and calls `on_expired(timer_node&)` with
  /// it: first those that were overdue when they were armed, then tick after tick; those of one
  /// tick in any order, which depends on nothing but the calls made before.
  ///
  /// `on_expired` may insert, erase and destroy any timers, but not throw or advance this wheel. A
  /// timer that it arms with a passed deadline may fire now or at the next `advance`, so one that
  /// always re-arms itself in the past does not keep `advance` from returning.
  template <class F>
  void advance(time_point now, F on_expired) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

private:
  // The unsigned tick number: the high 48 bits of the time, shifted so that it starts at 0.
  using tick_number = std::uint64_t;
  using slot_number = std::uint16_t;

  static constexpr int tick_bits = 16;
  static constexpr int level_bits = 6;
  static constexpr int level_count = 6;
  static constexpr slot_number slots_per_level = 1 << level_bits;
  static constexpr slot_number far_slot = level_count * slots_per_level;
  static constexpr slot_number overdue_slot = far_slot + 1;
  static constexpr slot_number no_slot = far_slot + 2;

  struct slot {
    intrusive_list<timer_node> timers;
    // Not after any deadline in the slot; max() if it is empty. Stale after an erasure.
    time_point earliest = never;
  };

  [[nodiscard]] static constexpr tick_number tick_of(time_point at) noexcept;
  [[nodiscard]] static constexpr int top_bit_of(tick_number bits) noexcept;
  [[nodiscard]] slot_number slot_for(tick_number at) const noexcept;
  [[nodiscard]] slot_number first_occupied() const noexcept;
  [[nodiscard]] tick_number start_of(slot_number number) const noexcept;

  void link(timer_node& node, slot_number number) noexcept;
  void mark_empty(slot_number number) noexcept;
  void cascade(slot_number number) noexcept;
  void collect_expired(slot_number number, time_point now,
                       intrusive_list<timer_node>& expired) noexcept;
  template <class F>
  void fire_expired(slot_number number, time_point now, F& on_expired) noexcept;

  // Level l has 64 slots of 64^l ticks each. A timer stands on the level of the highest group of
  // level_bits bits in which its tick differs from current_, in the slot named by that group; on
  // level 0 if they are equal. So, whatever current_ is:
  //   - a slot of a level above 0 that is in use lies after the slot current_ is in;
  //   - all timers of a level are due before all of the levels above it.
  // The first occupied slot of the lowest occupied level therefore holds the next timer.
  //
  // Two slots stand on no level. far_slot keeps the timers that differ from current_ above all
  // levels: a wheel turns over every 52 days. overdue_slot keeps those armed after their tick: they
  // wait there for the next advance.
  slot slots_[no_slot];

  // Bit s of occupied_[l] is set exactly if slot s of level l is not empty.
  std::uint64_t occupied_[level_count] = {};

  tick_number current_;  // no timer stands in a slot before it
  tick_number floor_;    // ticks before it are overdue: current_, or the target while advancing
  std::size_t size_ = 0;
  bool is_advancing_ = false;
};

// -- Arithmetic ----------------------------------------------------------------------------------

constexpr auto timer_wheel::tick_of(time_point at) noexcept -> tick_number {
  // Flipping the sign bit makes unsigned order out of signed order: times may be negative.
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  return (static_cast<std::uint64_t>(at.time_since_epoch().count()) ^ sign) >> tick_bits;
}

/// The number of the highest bit that is set.
constexpr int timer_wheel::top_bit_of(tick_number bits) noexcept {
  return static_cast<int>(std::bit_width(bits)) - 1;
}

inline auto timer_wheel::slot_for(tick_number at) const noexcept -> slot_number {
  const tick_number difference = at ^ current_;
  const int level = difference == 0 ? 0 : top_bit_of(difference) / level_bits;
  if (level >= level_count) return far_slot;
  const auto index = (at >> (level * level_bits)) % slots_per_level;
  return static_cast<slot_number>(level * slots_per_level + static_cast<int>(index));
}

inline auto timer_wheel::first_occupied() const noexcept -> slot_number {
  for (int level = 0; level != level_count; ++level) {
    if (occupied_[level] == 0) continue;
    return static_cast<slot_number>(level * slots_per_level + std::countr_zero(occupied_[level]));
  }
  return slots_[far_slot].timers.empty() ? no_slot : far_slot;
}

/// The first tick of an occupied slot.
inline auto timer_wheel::start_of(slot_number number) const noexcept -> tick_number {
  // The far slot has no place of its own: it is due with the block of ticks its first timer is in.
  constexpr int all_bits = level_count * level_bits;
  if (number == far_slot) return tick_of(slots_[far_slot].earliest) >> all_bits << all_bits;
  const int low_bits = number / slots_per_level * level_bits;
  const tick_number above = current_ >> (low_bits + level_bits) << (low_bits + level_bits);
  return above | (static_cast<tick_number>(number % slots_per_level) << low_bits);
}

// -- The contract --------------------------------------------------------------------------------

inline timer_wheel::timer_wheel(time_point start) noexcept
    : current_(tick_of(start)), floor_(current_) {}

inline void timer_wheel::insert(timer_node& node, time_point deadline) noexcept {
  TROUPE_ASSERT(!node.armed(), "the timer is armed already");
  node.deadline = deadline;
  const tick_number at = tick_of(deadline);
  link(node, at < floor_ ? overdue_slot : slot_for(at));
  ++size_;
}

inline bool timer_wheel::erase(timer_node& node) noexcept {
  if (!node.armed()) return false;
  intrusive_list<timer_node>::remove(node);
  --size_;
  if (node.slot_ != no_slot && slots_[node.slot_].timers.empty()) mark_empty(node.slot_);
  return true;
}

inline time_point timer_wheel::next_expiry() const noexcept {
  const time_point overdue = slots_[overdue_slot].earliest;
  const slot_number first = first_occupied();
  if (first == no_slot || overdue < slots_[first].earliest) return overdue;
  return slots_[first].earliest;
}

template <class F>
void timer_wheel::advance(time_point now, F on_expired) noexcept {
  TROUPE_ASSERT(!is_advancing_, "on_expired advanced the wheel that called it");
  const tick_number now_tick = tick_of(now);
  const tick_number target = now_tick > current_ ? now_tick : current_;
  is_advancing_ = true;
  floor_ = target;
  fire_expired(overdue_slot, now, on_expired);
  for (slot_number first = first_occupied(); first != no_slot; first = first_occupied()) {
    const tick_number start = start_of(first);
    if (start > target) break;
    current_ = start;
    if (first >= slots_per_level) {
      cascade(first);
      continue;
    }
    fire_expired(first, now, on_expired);
    if (start == target) break;  // what is left in this slot is due later in this tick
  }
  current_ = target;
  is_advancing_ = false;
}

// -- Slots ---------------------------------------------------------------------------------------

inline void timer_wheel::link(timer_node& node, slot_number number) noexcept {
  slot& target = slots_[number];
  node.slot_ = number;
  target.timers.push_back(node);
  if (node.deadline < target.earliest) target.earliest = node.deadline;
  if (number >= far_slot) return;
  occupied_[number / slots_per_level] |= std::uint64_t{1} << (number % slots_per_level);
}

inline void timer_wheel::mark_empty(slot_number number) noexcept {
  slots_[number].earliest = never;
  if (number >= far_slot) return;
  occupied_[number / slots_per_level] &= ~(std::uint64_t{1} << (number % slots_per_level));
}

/// Spreads a slot that current_ has just entered over the levels below.
inline void timer_wheel::cascade(slot_number number) noexcept {
  intrusive_list<timer_node> moving;
  moving.append(slots_[number].timers);
  mark_empty(number);
  while (timer_node* const node = moving.pop_front()) {
    link(*node, slot_for(tick_of(node->deadline)));
  }
}

/// Moves what is due by `now` from a slot to `expired`, and sets the slot's `earliest` anew.
inline void timer_wheel::collect_expired(slot_number number, time_point now,
                                         intrusive_list<timer_node>& expired) noexcept {
  intrusive_list<timer_node> looked_at;
  looked_at.append(slots_[number].timers);
  mark_empty(number);
  while (timer_node* const node = looked_at.pop_front()) {
    if (node->deadline <= now) {
      node->slot_ = no_slot;
      expired.push_back(*node);
    } else {
      link(*node, number);
    }
  }
}

template <class F>
void timer_wheel::fire_expired(slot_number number, time_point now, F& on_expired) noexcept {
  intrusive_list<timer_node> expired;
  collect_expired(number, now, expired);
  // One by one, and counted until then: on_expired may erase or destroy those that come next.
  while (timer_node* const node = expired.pop_front()) {
    --size_;
    on_expired(*node);
  }
}

}  // namespace troupe

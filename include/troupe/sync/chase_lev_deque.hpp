// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The run queue of one thread: it pushes and pops at one end, thieves take from the other.
///
/// Layer: sync. Allocates nothing, never blocks, never throws. Its capacity is fixed: what does not
/// fit goes elsewhere.
/// Algorithm: D. Chase, Y. Lev, "Dynamic Circular Work-Stealing Deque", SPAA 2005; orderings after
/// N. M. Lê, A. Pop, A. Cohen, F. Zappa Nardelli, "Correct and Efficient Work-Stealing for Weak
/// Memory Models", PPoPP 2013, with their fences replaced by sequentially consistent operations on
/// top and bottom: ThreadSanitizer does not see fences.

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>

#include <cstddef>
#include <cstdint>

namespace troupe {

enum class steal_status {
  value,  ///< An element was taken.
  empty,  ///< There was none.
  lost,   ///< There was one, and somebody else got it: trying again may pay.
};

/// What became of an attempt to steal.
template <class T>
class steal_result {
public:
  steal_result(steal_status status) noexcept : status_(status) {}
  explicit steal_result(T* element) noexcept : element_(element), status_(steal_status::value) {}

  [[nodiscard]] steal_status status() const noexcept { return status_; }
  [[nodiscard]] bool lost() const noexcept { return status_ == steal_status::lost; }

  /// The element, or `nullptr` if none was taken.
  [[nodiscard]] T* get() const noexcept { return element_; }
  [[nodiscard]] explicit operator bool() const noexcept { return element_ != nullptr; }

private:
  T* element_ = nullptr;
  steal_status status_;
};

/// A bounded deque of borrowed elements, which are never null.
///
/// What the owner wrote before `push` is visible to whoever takes the element.
///
/// Thread safety: `push` and `pop` from the owner; `steal` and the hints from any thread.
template <class T, std::size_t Capacity = 1024>
class chase_lev_deque {
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0, "a power of two");

public:
  chase_lev_deque() = default;
  chase_lev_deque(const chase_lev_deque&) = delete;
  chase_lev_deque& operator=(const chase_lev_deque&) = delete;

  [[nodiscard]] static constexpr std::size_t capacity() noexcept { return Capacity; }

  /// Adds the newest element; returns false if the deque is full. Wait-free.
  ///
  /// Only a release: who looks for sleepers next, to wake one, does so with a read-modify-write of
  /// the word that sleepers announce themselves in by another one. Then either the pusher sees the
  /// sleeper, or the sleeper's look at the hints sees the element.
  [[nodiscard]] bool push(T* element) noexcept;

  /// Takes the newest element, or returns `nullptr`. Wait-free.
  [[nodiscard]] T* pop() noexcept;

  /// Takes the oldest element. The owner may use it too. Wait-free: one attempt, which may be lost.
  [[nodiscard]] steal_result<T> steal() noexcept;

  /// Exact for the owner as long as nobody steals. For others an estimate: the two ends are of two
  /// moments gone by, neither older than what the caller knows already.
  [[nodiscard]] bool empty_hint() const noexcept { return size_hint() == 0; }
  [[nodiscard]] std::size_t size_hint() const noexcept;

private:
  using index = std::int64_t;

  [[nodiscard]] detail::atomic<T*>& slot(index i) noexcept {
    return slots_[static_cast<std::size_t>(i) & (Capacity - 1)];
  }
  [[nodiscard]] bool claim(index top) noexcept;
  [[nodiscard]] T* pop_last(index bottom, index top) noexcept;

  // The elements are slot(top_) .. slot(bottom_ - 1), oldest first; indices only name positions
  // modulo Capacity and never wrap in practice. bottom_ - top_ is at most Capacity, and -1 only
  // while the owner is inside pop.
  //
  // top_ only grows, by whoever wins the compare-exchange, and with it the element at the old top_.
  // bottom_ is written by the owner alone.
  //
  // The owner takes the newest element without compare-exchange when it is not also the oldest.
  // That is safe because, of an owner that lowers bottom_ and then reads top_, and a thief that
  // raises top_ and then (itself or the next thief) reads bottom_, at least one sees the other's
  // write: all four are seq_cst.
  alignas(cache_line_size) detail::atomic<index> top_{0};
  alignas(cache_line_size) detail::atomic<index> bottom_{0};

  // Read before the claim that makes the read valid, so possibly while the owner overwrites it:
  // atomic, and relaxed, because bottom_ and top_ order it.
  alignas(cache_line_size) detail::atomic<T*> slots_[Capacity] = {};
};

template <class T, std::size_t Capacity>
bool chase_lev_deque<T, Capacity>::push(T* element) noexcept {
  TROUPE_ASSERT(element != nullptr, "null means that the deque is empty");
  const index bottom = bottom_.load(detail::order::relaxed);  // own writes only
  // Pairs with claim: the thief that emptied the slot about to be overwritten has read it.
  const index top = top_.load(detail::order::acquire);
  if (bottom - top >= static_cast<index>(Capacity)) return false;
  slot(bottom).store(element, detail::order::relaxed);
  bottom_.store(bottom + 1, detail::order::release);  // pairs with the load in steal
  return true;
}

template <class T, std::size_t Capacity>
T* chase_lev_deque<T, Capacity>::pop() noexcept {
  const index bottom = bottom_.load(detail::order::relaxed) - 1;  // own writes only
  bottom_.store(bottom, detail::order::seq_cst);                  // with the load in steal
  const index top = top_.load(detail::order::seq_cst);            // with claim
  if (top < bottom) return slot(bottom).load(detail::order::relaxed);
  return pop_last(bottom, top);
}

/// The deque held one element at most: whoever raises top_ has it.
template <class T, std::size_t Capacity>
T* chase_lev_deque<T, Capacity>::pop_last(index bottom, index top) noexcept {
  T* const element = top == bottom ? slot(bottom).load(detail::order::relaxed) : nullptr;
  const bool is_mine = top == bottom && claim(top);
  // Relaxed: it publishes no slot, since every element below this bottom_ is taken.
  bottom_.store(bottom + 1, detail::order::relaxed);
  return is_mine ? element : nullptr;
}

template <class T, std::size_t Capacity>
steal_result<T> chase_lev_deque<T, Capacity>::steal() noexcept {
  const index top = top_.load(detail::order::seq_cst);  // with claim, see the invariant above
  // Seq_cst with the store in pop; it also acquires from push what the element points to.
  const index bottom = bottom_.load(detail::order::seq_cst);
  if (top >= bottom) return steal_status::empty;
  T* const element = slot(top).load(detail::order::relaxed);
  if (!claim(top)) return steal_status::lost;
  return steal_result<T>(element);
}

/// Makes the element at `top` the caller's, or returns false if it is somebody else's already.
template <class T, std::size_t Capacity>
bool chase_lev_deque<T, Capacity>::claim(index top) noexcept {
  // Seq_cst with the loads of top_ in pop and steal; its release half pairs with the load in push.
  return top_.compare_exchange_strong(top, top + 1, detail::order::seq_cst, detail::order::relaxed);
}

template <class T, std::size_t Capacity>
std::size_t chase_lev_deque<T, Capacity>::size_hint() const noexcept {
  const index top = top_.load(detail::order::relaxed);
  const index bottom = bottom_.load(detail::order::relaxed);
  return bottom > top ? static_cast<std::size_t>(bottom - top) : 0;
}

}  // namespace troupe

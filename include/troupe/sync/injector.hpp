// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The queue through which outsiders hand work to a pool: any producer, any consumer, unbounded.
///
/// Layer: sync. Intrusive: allocates nothing, never throws. Producers are lock-free; consumers take
/// turns under a spin lock.
/// Algorithm: producers push on R. K. Treiber's stack ("Systems Programming: Coping with
/// Parallelism", IBM RJ 5118, 1986). Consumers take the whole stack at once, which has no ABA
/// problem, and reverse it onto a queue of their own.

#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

#include <cstddef>

namespace troupe {

/// A first-in first-out queue of borrowed elements, linked through their member `Next`.
///
/// Elements of one producer come out in the order it pushed them. What a producer wrote before
/// `push` is visible to whoever pops the element.
///
/// Thread safety: every function from any thread.
template <class T, T* T::* Next>
class injector {
public:
  injector() = default;
  injector(const injector&) = delete;
  injector& operator=(const injector&) = delete;

  /// Adds `element`, which stays borrowed until it is popped. Lock-free.
  void push(T& element) noexcept;

  /// Takes the oldest element, or returns `nullptr`.
  [[nodiscard]] T* pop() noexcept;

  /// Takes up to `count` of the oldest elements into `out`, and returns how many.
  [[nodiscard]] std::size_t pop_some(T** out, std::size_t count) noexcept;

  /// Whether there is nothing to pop. Never true while an element is inside whose `push` came
  /// before this call in the order of seq_cst operations: a thread may announce that it is about
  /// to sleep, ask here, and sleep, if producers push and then look for sleepers. An element pushed
  /// during the call may be missed, also if another one was inside until then.
  [[nodiscard]] bool empty_hint() const noexcept;

private:
  void refill() noexcept;

  // Null, or the newest pushed element; Next leads to older ones. Only push and refill write it.
  alignas(cache_line_size) detail::atomic<T*> newest_{nullptr};

  // Held by the consumer that is popping; guards queue_, and the writing of has_queued_.
  alignas(cache_line_size) spin_lock consumers_;

  // Whether queue_ may hold elements. True from before a consumer takes the stack until after the
  // last element of queue_ was popped, so an element on its way from one to the other shows.
  detail::atomic<bool> has_queued_{false};

  // Elements taken from the stack and not popped yet; all older than those on the stack.
  forward_queue<T, Next> queue_;
};

template <class T, T* T::* Next>
void injector<T, Next>::push(T& element) noexcept {
  T* newest = newest_.load(detail::order::relaxed);
  do {
    element.*Next = newest;
    // Its release half pairs with the exchange in refill; seq_cst with the load in empty_hint.
  } while (!newest_.compare_exchange_weak(newest, &element, detail::order::seq_cst,
                                          detail::order::relaxed));
}

template <class T, T* T::* Next>
T* injector<T, Next>::pop() noexcept {
  T* popped = nullptr;
  return pop_some(&popped, 1) == 1 ? popped : nullptr;
}

template <class T, T* T::* Next>
std::size_t injector<T, Next>::pop_some(T** out, std::size_t count) noexcept {
  if (empty_hint()) return 0;  // most calls, and they leave the lock's line alone
  const spin_guard guard(consumers_);
  std::size_t popped = 0;
  while (popped != count) {
    if (queue_.empty()) refill();
    T* const element = queue_.pop_front();
    if (element == nullptr) break;
    out[popped++] = element;
  }
  // Relaxed: a reader that sees it is told of no element, and owes nothing to anybody.
  if (queue_.empty()) has_queued_.store(false, detail::order::relaxed);
  return popped;
}

/// Moves the stack to the empty queue_, oldest first. The lock is held.
template <class T, T* T::* Next>
void injector<T, Next>::refill() noexcept {
  if (newest_.load(detail::order::relaxed) == nullptr) return;
  has_queued_.store(true, detail::order::relaxed);  // ordered by the next line's release
  // Acquire: the elements, from push. Release: has_queued_, to the load in empty_hint.
  T* at = newest_.exchange(nullptr, detail::order::acq_rel);
  while (at != nullptr) {
    T* const older = at->*Next;
    queue_.push_front(*at);
    at = older;
  }
}

template <class T, T* T::* Next>
bool injector<T, Next>::empty_hint() const noexcept {
  // Seq_cst with the compare-exchange in push: it reads that push or something later. If that is
  // the null of the refill which took the element, the acquire half makes has_queued_ visible.
  if (newest_.load(detail::order::seq_cst) != nullptr) return false;
  return !has_queued_.load(detail::order::relaxed);
}

}  // namespace troupe

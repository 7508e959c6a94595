// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A priority queue of borrowed elements, from which any element can be taken.
///
/// Layer: net. Owns nothing, allocates nothing, never throws. Not synchronised.
/// Algorithm: M. Fredman, R. Sedgewick, D. Sleator, R. Tarjan, "The Pairing Heap: A New Form of
/// Self-Adjusting Heap", Algorithmica 1 (1986), with two passes.

#include <utility>

#include <troupe/config.hpp>

namespace troupe::detail {

/// Base class of what can be an element of a `pairing_heap`; `Tag` tells several of one class
/// apart.
template <class Tag>
class heap_hook {
public:
  heap_hook() = default;
  heap_hook(const heap_hook&) = delete;
  heap_hook& operator=(const heap_hook&) = delete;
  ~heap_hook() { TROUPE_ASSERT(!in_heap_, "destroyed while still in a heap"); }

  [[nodiscard]] bool in_heap() const noexcept { return in_heap_; }

private:
  template <class, class, class>
  friend class pairing_heap;

  heap_hook* child_ = nullptr;     // the first of its children
  heap_hook* next_ = nullptr;      // the next child of the same parent
  heap_hook* previous_ = nullptr;  // the child before, or the parent of a first child
  bool in_heap_ = false;
};

/// The first of all elements by `Before`, which is a strict weak order and does not change for an
/// element that is in the heap.
template <class T, class Tag, class Before>
class pairing_heap {
public:
  pairing_heap() = default;
  pairing_heap(const pairing_heap&) = delete;
  pairing_heap& operator=(const pairing_heap&) = delete;
  ~pairing_heap() { TROUPE_ASSERT(empty(), "a heap was destroyed with elements in it"); }

  [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }

  /// The first element; there is one.
  [[nodiscard]] T& top() const noexcept {
    TROUPE_ASSERT(!empty(), "top of an empty heap");
    return element(*root_);
  }

  void push(T& e) noexcept {
    hook& h = e;
    TROUPE_ASSERT(!h.in_heap_, "already in a heap");
    h.in_heap_ = true;
    root_ = root_ == nullptr ? &h : meld(root_, &h);
  }

  /// `e`, which is in this heap, is in it no more.
  void erase(T& e) noexcept {
    hook& h = e;
    TROUPE_ASSERT(h.in_heap_, "taken from a heap it is not in");
    hook* const orphans = merge(std::exchange(h.child_, nullptr));
    if (&h == root_) {
      root_ = orphans;
    } else {
      cut(h);
      if (orphans != nullptr) root_ = meld(root_, orphans);
    }
    h.in_heap_ = false;
  }

private:
  using hook = heap_hook<Tag>;

  static T& element(hook& h) noexcept { return static_cast<T&>(h); }

  /// Both are roots, which nothing is beside.
  static hook* meld(hook* a, hook* b) noexcept {
    if (Before()(element(*b), element(*a))) std::swap(a, b);
    b->next_ = a->child_;
    if (b->next_ != nullptr) b->next_->previous_ = b;
    b->previous_ = a;
    a->child_ = b;
    return a;
  }

  static void cut(hook& h) noexcept {
    hook& before = *h.previous_;
    (before.child_ == &h ? before.child_ : before.next_) = h.next_;
    if (h.next_ != nullptr) h.next_->previous_ = &before;
    h.next_ = h.previous_ = nullptr;
  }

  /// One heap of siblings: in pairs, and then these from the last to the first.
  static hook* merge(hook* first) noexcept {
    hook* pairs = nullptr;  // linked by next_, the last one first
    while (first != nullptr) {
      hook* const a = first;
      hook* const b = a->next_;
      first = b != nullptr ? b->next_ : nullptr;
      a->next_ = a->previous_ = nullptr;
      hook* pair = a;
      if (b != nullptr) {
        b->next_ = b->previous_ = nullptr;
        pair = meld(a, b);
      }
      pair->next_ = pairs;
      pairs = pair;
    }
    hook* merged = nullptr;
    while (pairs != nullptr) {
      hook* const pair = pairs;
      pairs = std::exchange(pair->next_, nullptr);
      merged = merged == nullptr ? pair : meld(merged, pair);
    }
    return merged;
  }

  hook* root_ = nullptr;
};

}  // namespace troupe::detail

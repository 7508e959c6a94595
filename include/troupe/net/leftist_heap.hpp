// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A priority queue of borrowed elements, from which any element can be taken.
///
/// Layer: net. Owns nothing, allocates nothing, never throws. Not synchronised. No step takes
/// longer than the logarithm of the number of elements: it is done under spin locks. What comes in
/// order stands in a line beside the tree, and most does: that takes no time at all.
/// Algorithm: C. Crane, "Linear Lists and Priority Queues as Balanced Binary Trees", Stanford
/// University (1972), with links to parents for the removal of any element.

#include <cstdint>
#include <utility>

#include <troupe/config.hpp>

namespace troupe::detail {

/// Base class of what can be an element of a `leftist_heap`; `Tag` tells several of one class
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
  friend class leftist_heap;

  heap_hook* left_ = nullptr;   // in the line: the one before ...
  heap_hook* right_ = nullptr;  // ... and after
  heap_hook* parent_ = nullptr;
  std::uint32_t rank_ = 0;  // links to the next missing child, always by the right; 0: in the line
  bool in_heap_ = false;
};

/// The first of all elements by `Before`, which is a strict weak order and does not change for an
/// element that is in the heap.
///
/// In the tree a left child's rank is never below that of its sibling, so that a way down by the
/// right is never longer than the logarithm. The line is in order.
template <class T, class Tag, class Before>
class leftist_heap {
public:
  leftist_heap() = default;
  leftist_heap(const leftist_heap&) = delete;
  leftist_heap& operator=(const leftist_heap&) = delete;
  ~leftist_heap() { TROUPE_ASSERT(empty(), "a heap was destroyed with elements in it"); }

  [[nodiscard]] bool empty() const noexcept { return root_ == nullptr && first_ == nullptr; }

  /// The first element; there is one.
  [[nodiscard]] T& top() const noexcept {
    TROUPE_ASSERT(!empty(), "top of an empty heap");
    if (root_ == nullptr) return element(*first_);
    if (first_ == nullptr || Before()(element(*root_), element(*first_))) return element(*root_);
    return element(*first_);
  }

  void push(T& e) noexcept {
    hook& h = e;
    TROUPE_ASSERT(!h.in_heap_, "already in a heap");
    h.left_ = h.right_ = h.parent_ = nullptr;
    h.in_heap_ = true;
    if (last_ == nullptr || Before()(element(*last_), e)) return append(h);
    h.rank_ = 1;
    root_ = merge(root_, &h);
  }

  /// `e`, which is in this heap, is in it no more.
  void erase(T& e) noexcept {
    hook& h = e;
    TROUPE_ASSERT(h.in_heap_, "taken from a heap it is not in");
    if (h.rank_ == 0) return unlink(h);
    hook* const above = h.parent_;
    hook* const orphans = merge(apart(h.left_), apart(h.right_));
    h.in_heap_ = false;
    if (above == nullptr) {
      root_ = orphans;
      return;
    }
    (above->left_ == &h ? above->left_ : above->right_) = orphans;
    if (orphans != nullptr) orphans->parent_ = above;
    settle(above);
  }

private:
  using hook = heap_hook<Tag>;

  static T& element(hook& h) noexcept { return static_cast<T&>(h); }
  static std::uint32_t rank(const hook* h) noexcept { return h != nullptr ? h->rank_ : 0; }

  static hook* apart(hook* h) noexcept {
    if (h != nullptr) h->parent_ = nullptr;
    return h;
  }

  void append(hook& h) noexcept {
    h.rank_ = 0;
    h.left_ = std::exchange(last_, &h);
    (h.left_ == nullptr ? first_ : h.left_->right_) = &h;
  }

  void unlink(hook& h) noexcept {
    (h.left_ == nullptr ? first_ : h.left_->right_) = h.right_;
    (h.right_ == nullptr ? last_ : h.right_->left_) = h.left_;
    h.in_heap_ = false;
  }

  /// Both are roots, or nothing. Down by the right of both, and up again.
  static hook* merge(hook* a, hook* b) noexcept {
    if (a == nullptr) return b;
    if (b == nullptr) return a;
    if (Before()(element(*b), element(*a))) std::swap(a, b);
    hook* const root = a;
    while (b != nullptr) {
      // `a` is before `b`, which becomes the right child of something on the way.
      hook* const next = a->right_;
      if (next == nullptr || Before()(element(*b), element(*next))) {
        a->right_ = b;
        b->parent_ = a;
        a = b;
        b = next;
      } else {
        a = next;
      }
    }
    for (hook* h = a; h != nullptr; h = h->parent_) put_right(*h);
    return root;
  }

  /// Its children in their order, and its rank. False: it had that rank.
  static bool put_right(hook& h) noexcept {
    if (rank(h.left_) < rank(h.right_)) std::swap(h.left_, h.right_);
    const std::uint32_t before = std::exchange(h.rank_, rank(h.right_) + 1);
    return before != h.rank_;
  }

  /// A child of `h` has become another one. What is above changes as far as ranks do: there the
  /// rank of a right child has changed, and so it is not far.
  static void settle(hook* h) noexcept {
    while (h != nullptr && put_right(*h)) h = h->parent_;
  }

  hook* root_ = nullptr;   // of the tree
  hook* first_ = nullptr;  // of the line ...
  hook* last_ = nullptr;   // ... and its end
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Two lists of borrowed elements: a singly linked queue and a doubly linked list.
///
/// Layer: base. Neither owns its elements, allocates or throws; an element must outlive its stay.
/// Not synchronised.

#include <troupe/config.hpp>

#include <cstddef>
#include <iterator>
#include <utility>

namespace troupe {

/// A first-in first-out queue linked through the member `Next` of its elements.
///
/// `Next` belongs to the queue while the element is in it; the queue reads nothing else, so the
/// same member may serve one queue after the other.
template <class T, T* T::* Next>
class forward_queue {
public:
  constexpr forward_queue() noexcept = default;
  forward_queue(const forward_queue&) = delete;
  forward_queue(forward_queue&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)), last_(std::exchange(other.last_, nullptr)) {}
  forward_queue& operator=(const forward_queue&) = delete;
  forward_queue& operator=(forward_queue&& other) noexcept;
  ~forward_queue() = default;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  [[nodiscard]] T& front() const noexcept {
    TROUPE_ASSERT(!empty(), "front of an empty queue");
    return *first_;
  }

  void push_back(T& element) noexcept;
  void push_front(T& element) noexcept;

  /// Returns the oldest element, no longer linked, or `nullptr` if there is none.
  [[nodiscard]] T* pop_front() noexcept;

  /// Moves all elements of `other` behind this queue's own, in their order. Constant time.
  void append(forward_queue&& other) noexcept;

  /// Returns the oldest element that `matches` is true of, no longer linked, or `nullptr`.
  template <class F>
  [[nodiscard]] T* take_first(F matches) noexcept;

private:
  // Both null, or first_ reaches last_ through Next and (last_->*Next) is null.
  T* first_ = nullptr;
  T* last_ = nullptr;
};

/// Base class of what can be an element of an `intrusive_list`.
class list_hook {
public:
  list_hook() = default;
  list_hook(const list_hook&) = delete;
  list_hook& operator=(const list_hook&) = delete;
  ~list_hook() { TROUPE_ASSERT(!linked(), "destroyed while still in a list"); }

  [[nodiscard]] bool linked() const noexcept { return next_ != nullptr; }

private:
  template <class>
  friend class intrusive_list;

  // Both null while in no list; the lists are rings, so neither is null in one.
  list_hook* prev_ = nullptr;
  list_hook* next_ = nullptr;
};

/// A doubly linked list of `T`s, which derive from `list_hook`; removal needs only the element.
template <class T>
class intrusive_list {
public:
  class iterator;

  intrusive_list() noexcept { make_empty(); }
  intrusive_list(const intrusive_list&) = delete;
  intrusive_list& operator=(const intrusive_list&) = delete;

  /// Unlinks what is left.
  ~intrusive_list();

  [[nodiscard]] bool empty() const noexcept { return ring_.next_ == &ring_; }

  [[nodiscard]] T& front() const noexcept {
    TROUPE_ASSERT(!empty(), "front of an empty list");
    return *static_cast<T*>(ring_.next_);
  }

  void push_back(T& element) noexcept { link_before(ring_, element); }
  void push_front(T& element) noexcept { link_before(*ring_.next_, element); }

  /// Where `element` of this list stands.
  [[nodiscard]] iterator at(T& element) noexcept { return iterator(&element); }
  /// Links `element` before what stands there.
  void insert(iterator position, T& element) noexcept;

  /// Unlinks `element` from the list it is in, whichever that is.
  static void remove(T& element) noexcept;

  /// Unlinks and returns the first element, or returns `nullptr` if there is none.
  [[nodiscard]] T* pop_front() noexcept;

  /// Moves all elements of `other` behind this list's own, in their order. Constant time.
  void append(intrusive_list& other) noexcept;

  // An iterator stays valid until its own element is removed: advance first, then remove.
  [[nodiscard]] iterator begin() noexcept { return iterator(ring_.next_); }
  [[nodiscard]] iterator end() noexcept { return iterator(&ring_); }

private:
  void make_empty() noexcept { ring_.prev_ = ring_.next_ = &ring_; }
  static void link_before(list_hook& position, list_hook& hook) noexcept;

  // The ring's fixed point: next_ is the first element and prev_ the last; both are the ring itself
  // while the list is empty.
  list_hook ring_;
};

template <class T>
class intrusive_list<T>::iterator {
public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;

  iterator() = default;

  reference operator*() const noexcept { return *static_cast<T*>(at_); }
  pointer operator->() const noexcept { return static_cast<T*>(at_); }
  iterator& operator++() noexcept {
    at_ = at_->next_;
    return *this;
  }
  iterator operator++(int) noexcept {
    iterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const iterator&, const iterator&) = default;

private:
  friend class intrusive_list;
  explicit iterator(list_hook* at) noexcept : at_(at) {}

  list_hook* at_ = nullptr;
};

// -- forward_queue -------------------------------------------------------------------------------

template <class T, T* T::* Next>
auto forward_queue<T, Next>::operator=(forward_queue&& other) noexcept -> forward_queue& {
  // Two steps, so that assigning a queue to itself keeps its elements.
  T* const first = std::exchange(other.first_, nullptr);
  T* const last = std::exchange(other.last_, nullptr);
  first_ = first;
  last_ = last;
  return *this;
}

template <class T, T* T::* Next>
void forward_queue<T, Next>::push_back(T& element) noexcept {
  element.*Next = nullptr;
  if (last_ == nullptr) {
    first_ = &element;
  } else {
    last_->*Next = &element;
  }
  last_ = &element;
}

template <class T, T* T::* Next>
void forward_queue<T, Next>::push_front(T& element) noexcept {
  element.*Next = first_;
  first_ = &element;
  if (last_ == nullptr) last_ = &element;
}

template <class T, T* T::* Next>
T* forward_queue<T, Next>::pop_front() noexcept {
  if (first_ == nullptr) return nullptr;
  T* const popped = first_;
  first_ = std::exchange(popped->*Next, nullptr);
  if (first_ == nullptr) last_ = nullptr;
  return popped;
}

template <class T, T* T::* Next>
template <class F>
T* forward_queue<T, Next>::take_first(F matches) noexcept {
  T* before = nullptr;
  for (T* at = first_; at != nullptr; before = std::exchange(at, at->*Next)) {
    if (!matches(std::as_const(*at))) continue;
    (before != nullptr ? before->*Next : first_) = at->*Next;
    if (last_ == at) last_ = before;
    at->*Next = nullptr;
    return at;
  }
  return nullptr;
}

template <class T, T* T::* Next>
void forward_queue<T, Next>::append(forward_queue&& other) noexcept {
  TROUPE_ASSERT(this != &other, "a queue cannot be appended to itself");
  if (other.empty()) return;
  if (last_ == nullptr) {
    first_ = other.first_;
  } else {
    last_->*Next = other.first_;
  }
  last_ = std::exchange(other.last_, nullptr);
  other.first_ = nullptr;
}

// -- intrusive_list ------------------------------------------------------------------------------

template <class T>
intrusive_list<T>::~intrusive_list() {
  while (pop_front() != nullptr) {
  }
  ring_.prev_ = ring_.next_ = nullptr;  // the ring is a hook too, and checks that it is unlinked
}

template <class T>
void intrusive_list<T>::link_before(list_hook& position, list_hook& hook) noexcept {
  TROUPE_ASSERT(!hook.linked(), "already in a list");
  hook.prev_ = position.prev_;
  hook.next_ = &position;
  position.prev_->next_ = &hook;
  position.prev_ = &hook;
}

template <class T>
void intrusive_list<T>::insert(iterator position, T& element) noexcept {
  link_before(*position.at_, element);
}

template <class T>
void intrusive_list<T>::remove(T& element) noexcept {
  list_hook& hook = element;
  TROUPE_ASSERT(hook.linked(), "removed from a list it is not in");
  hook.prev_->next_ = hook.next_;
  hook.next_->prev_ = hook.prev_;
  hook.prev_ = hook.next_ = nullptr;
}

template <class T>
T* intrusive_list<T>::pop_front() noexcept {
  if (empty()) return nullptr;
  T& popped = front();
  remove(popped);
  return &popped;
}

template <class T>
void intrusive_list<T>::append(intrusive_list& other) noexcept {
  TROUPE_ASSERT(this != &other, "a list cannot be appended to itself");
  if (other.empty()) return;
  list_hook* const first = other.ring_.next_;
  list_hook* const last = other.ring_.prev_;
  first->prev_ = ring_.prev_;
  ring_.prev_->next_ = first;
  last->next_ = &ring_;
  ring_.prev_ = last;
  other.make_empty();
}

}  // namespace troupe

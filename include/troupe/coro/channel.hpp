// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `channel<T>`: a bounded queue between coroutines.
///
/// Layer: coro. Room for all elements is allocated by the constructor; the place in line is in the
/// waiting coroutine's frame. What can go on at once does not suspend.

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// A first-in first-out queue of at most `capacity` elements, with any number of senders and
/// receivers. Senders wait while it is full and receivers while it is empty, each in the order in
/// which they came.
///
/// `close` ends it: what was sent before is still received. Destroying a channel at which
/// coroutines wait is a broken precondition: close it and await them.
///
/// Thread safety: all members but the destructor from any thread.
template <class T>
class channel {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a channel carries values");
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "elements are moved under a lock, where nothing may throw: send a unique_ptr");

public:
  using value_type = T;

  /// Throws `std::bad_alloc`. `capacity` is at least 1.
  explicit channel(std::size_t capacity)
      : capacity_(capacity), ring_(std::make_unique<std::optional<T>[]>(capacity)) {
    TROUPE_ASSERT(capacity >= 1, "a channel holds at least one element");
  }
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel() {
    TROUPE_ASSERT(senders_.empty() && receivers_.empty(),
                  "a channel was destroyed while coroutines wait at it");
  }

  /// Awaited, sends `value` as soon as there is room: true. False if the channel is closed, or is
  /// closed meanwhile; `value` is lost then. A stop request ends the wait, which then throws
  /// `errc::cancelled`; where there is room, the value is sent all the same.
  ///
  /// GCC 12 destroys an aggregate twice that is made within an awaited expression
  /// (docs/compilers.md): give it a name before, and send `std::move(it)`.
  [[nodiscard("nothing is sent until this is awaited")]] auto send(T value) noexcept;

  /// Sends `value` if there is room and the channel is open. Otherwise it is left as it is.
  bool try_send(T&& value) noexcept;
  bool try_send(T& value) noexcept { return try_send(std::move(value)); }

  /// Awaited, gives the oldest element, as `std::optional<T>`; `nullopt` once the channel is closed
  /// and empty. A stop request ends the wait, which then throws `errc::cancelled`; where there is
  /// an element, it is given all the same.
  [[nodiscard("nothing is received until this is awaited")]] auto receive() noexcept;

  /// Gives the oldest element, or `nullopt` if there is none at the moment.
  [[nodiscard]] std::optional<T> try_receive() noexcept;

  /// Nothing can be sent from now on. Senders that wait get false; receivers that wait, `nullopt`.
  void close() noexcept;

  [[nodiscard]] bool closed() const noexcept {
    const spin_guard guard(lock_);
    return closed_;
  }

  /// How many elements it held at some moment gone by.
  [[nodiscard]] std::size_t size() const noexcept {
    const spin_guard guard(lock_);
    return size_;
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

private:
  class send_awaiter;
  class send_operation;
  class receive_awaiter;
  class receive_operation;

  bool receive_into(std::optional<T>& into) noexcept;

  // Under lock_. The coroutine that can go on because of it, if any, is added to `served`.
  bool put(T& value, detail::served_queue& served) noexcept;
  bool get(std::optional<T>& into, detail::served_queue& served) noexcept;
  void push(T&& value) noexcept;

  mutable spin_lock lock_;  // guards all below
  const std::size_t capacity_;
  const std::unique_ptr<std::optional<T>[]> ring_;
  std::size_t oldest_ = 0;       // the elements are ring_[oldest_] and the size_ - 1 behind it,
  std::size_t size_ = 0;         // around the end
  bool closed_ = false;          // set for good
  detail::wait_list senders_;    // send_awaiters; empty unless the ring is full and open
  detail::wait_list receivers_;  // receive_awaiters; empty unless the ring is empty and open
};

template <class T>
class channel<T>::send_awaiter : private detail::wait_node {
public:
  send_awaiter(channel& c, T& value, detail::frame& f) noexcept
      : wait_node(c.lock_, f), channel_(c), value_(value) {}

  bool await_ready() noexcept { return !spent() && (sent_ = channel_.try_send(value_)); }
  bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }
  bool await_resume() {
    end_wait();
    return sent_;
  }

private:
  friend class channel;

  TROUPE_NOINLINE static bool suspend(send_awaiter& self) {
    detail::served_queue served;
    const bool suspended = wait(self, self.channel_.senders_, [&self, &served]() noexcept {
      self.sent_ = self.channel_.put(self.value_, served);
      return self.sent_ || self.channel_.closed_;
    });
    detail::make_ready(served);  // of others; `self` may be gone if suspended
    return suspended;
  }

  channel& channel_;
  T& value_;
  bool sent_ = false;  // guarded by the lock while in line
};

template <class T>
class channel<T>::send_operation {
public:
  send_operation(channel& c, T&& value) noexcept : channel_(c), value_(std::move(value)) {}
  send_awaiter await_by(detail::frame& f) && noexcept { return send_awaiter(channel_, value_, f); }

private:
  channel& channel_;
  T value_;
};

template <class T>
class channel<T>::receive_awaiter : private detail::wait_node {
public:
  receive_awaiter(channel& c, detail::frame& f) noexcept : wait_node(c.lock_, f), channel_(c) {}

  bool await_ready() noexcept { return !spent() && channel_.receive_into(value_); }
  bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }
  std::optional<T> await_resume() {
    end_wait();
    return std::move(value_);
  }

private:
  friend class channel;

  TROUPE_NOINLINE static bool suspend(receive_awaiter& self) {
    detail::served_queue served;
    const bool suspended = wait(self, self.channel_.receivers_, [&self, &served]() noexcept {
      return self.channel_.get(self.value_, served) || self.channel_.closed_;
    });
    detail::make_ready(served);  // of others; `self` may be gone if suspended
    return suspended;
  }

  channel& channel_;
  std::optional<T> value_;  // guarded by the lock while in line
};

template <class T>
class channel<T>::receive_operation {
public:
  explicit receive_operation(channel& c) noexcept : channel_(c) {}
  receive_awaiter await_by(detail::frame& f) && noexcept { return receive_awaiter(channel_, f); }

private:
  channel& channel_;
};

template <class T>
auto channel<T>::send(T value) noexcept {
  return send_operation(*this, std::move(value));
}

template <class T>
auto channel<T>::receive() noexcept {
  return receive_operation(*this);
}

template <class T>
bool channel<T>::try_send(T&& value) noexcept {
  detail::served_queue served;
  bool sent = false;
  {
    const spin_guard guard(lock_);
    sent = put(value, served);
  }
  detail::make_ready(served);
  return sent;
}

template <class T>
std::optional<T> channel<T>::try_receive() noexcept {
  std::optional<T> received;
  receive_into(received);
  return received;
}

template <class T>
bool channel<T>::receive_into(std::optional<T>& into) noexcept {
  detail::served_queue served;
  bool received = false;
  {
    const spin_guard guard(lock_);
    received = get(into, served);
  }
  detail::make_ready(served);
  return received;
}

template <class T>
void channel<T>::close() noexcept {
  detail::served_queue served;
  {
    const spin_guard guard(lock_);
    closed_ = true;
    while (detail::wait_node* const n = senders_.pop_front()) served.push_back(n->coroutine());
    while (detail::wait_node* const n = receivers_.pop_front()) served.push_back(n->coroutine());
  }
  detail::make_ready(served);
}

/// To the receiver that has waited longest, or into the ring. False if it is full or closed.
template <class T>
bool channel<T>::put(T& value, detail::served_queue& served) noexcept {
  if (closed_ || size_ == capacity_) return false;
  if (detail::wait_node* const node = receivers_.pop_front()) {
    static_cast<receive_awaiter*>(node)->value_.emplace(std::move(value));
    served.push_back(node->coroutine());
    return true;
  }
  push(std::move(value));
  return true;
}

/// The oldest element; the sender that has waited longest gets its place. False if there is none.
template <class T>
bool channel<T>::get(std::optional<T>& into, detail::served_queue& served) noexcept {
  if (size_ == 0) return false;
  std::optional<T>& slot = ring_[oldest_];
  into.emplace(std::move(*slot));
  slot.reset();
  oldest_ = oldest_ + 1 == capacity_ ? 0 : oldest_ + 1;
  --size_;
  if (detail::wait_node* const node = senders_.pop_front()) {
    auto& sender = *static_cast<send_awaiter*>(node);
    push(std::move(sender.value_));
    sender.sent_ = true;
    served.push_back(node->coroutine());
  }
  return true;
}

template <class T>
void channel<T>::push(T&& value) noexcept {
  const std::size_t to_end = capacity_ - oldest_;
  ring_[size_ < to_end ? oldest_ + size_ : size_ - to_end].emplace(std::move(value));
  ++size_;
}

}  // namespace troupe

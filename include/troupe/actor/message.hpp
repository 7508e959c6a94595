// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What waits in a worker's mailbox.
///
/// Layer: actor. A message lives in its caller's frame (a borrowing call) or in a pooled block (an
/// owning call, a tell); the mailbox only links it.

#include <cstdint>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/coro/runnable.hpp>

namespace troupe::detail {

class cell;
struct frame;
class refusal;
class turn;

/// What has become of a message that a turn was given to.
enum class turn_state : std::uint8_t {
  ended,     // it is settled, and may be gone
  open,      // a coroutine is suspended: the worker is held until the turn ends
  suspended  // a coroutine of an interleaved worker is suspended: the worker is free
};

enum class message_kind : std::uint8_t {
  call,    // awaited, in its caller's memory
  owned,   // awaited with a time limit of its own
  tell,    // one way
  resume,  // continues a turn of an interleaved worker
  timer,   // a turn that the worker has asked for
  close    // ends the life of the instance
};

/// A message, and, as a runnable, a call that nests in a turn which is being served.
///
/// Whoever holds a message in a list owns its links. `start`, `run_plain` and `refuse` are each
/// called by the holder of the worker, or under the mailbox lock by whoever has unlinked the
/// message, and at most one of them, once: that settles it.
class message : public runnable {
public:
  /// Gives the message its turn. `nested_in`: the turn it nests in, if any.
  virtual turn_state start(cell& c, turn* nested_in) noexcept = 0;

  /// The same for one of several plain methods of a worker without hooks, in a scope made for all.
  virtual void run_plain(cell& c) noexcept { static_cast<void>(start(c, nullptr)); }

  /// Settles the message without having run it.
  virtual void refuse(const refusal& r) noexcept = 0;

  /// What it runs, for those who read about it. The name is there for good.
  virtual const std::string_view& method_name() const noexcept = 0;

  /// Its worker was abandoned: from now on it is meant for `c`, the next one. False if it belongs
  /// to the instance, and stays. By whoever has unlinked it, or before it is in a mailbox.
  virtual bool move_to(cell& c) noexcept {
    static_cast<void>(c);
    return false;
  }

  /// The coroutine that waits for it; `nullptr`: none. While it is queued, and under the lock of
  /// the wait graph.
  virtual const frame* caller_frame() const noexcept { return nullptr; }

  // In the mailbox's queue: towards its front; `next` leads to its end. That of the front is the
  // end.
  message* older = nullptr;
  const message_kind kind;
  bool runs_plain = false;  // a plain method without hooks: may be run by whoever ends a turn
  bool counted = false;     // among those that wait, against the mailbox's capacity
  // Both guarded by the mailbox lock. One byte, so that `queued_at` adds nothing to a message.
  bool queued : 1 = false;     // linked in the mailbox's queue
  bool withdrawn : 1 = false;  // to be taken out as soon as it is back in the queue
  // Since when it waits, where that is measured: microseconds, modulo 2^32; 0: not known. Written
  // before it enters the inbox, then the holder's.
  std::uint32_t queued_at = 0;

protected:
  explicit message(message_kind k) noexcept : runnable(&message::run_nested), kind(k) {}
  ~message() = default;

public:
  /// What a message is as a runnable: a mark for `turn::run_ready`, which starts it itself.
  static void run_nested(runnable&) noexcept {}
};

/// A doubly linked list of messages that owns none of them. One word, as each cell has two; the
/// front knows the end.
class message_queue {
public:
  bool empty() const noexcept { return front_ == nullptr; }
  message* front() const noexcept { return front_; }

  static message* newer(const message& m) noexcept { return static_cast<message*>(m.next); }

  void push_back(message& m) noexcept {
    m.next = nullptr;
    append(m, m);
  }

  void push_front(message& m) noexcept {
    m.older = front_ != nullptr ? std::exchange(front_->older, &m) : &m;
    m.next = front_;
    front_ = &m;
  }

  void remove(message& m) noexcept {
    message* const after = newer(m);
    if (&m != front_) {
      m.older->next = after;
      (after != nullptr ? after : front_)->older = m.older;
    } else {
      front_ = after;
      if (after != nullptr) after->older = m.older;
    }
  }

  message* pop_front() noexcept {
    message* const m = front_;
    if (m != nullptr) remove(*m);
    return m;
  }

  /// Appends what an inbox held: `newest`, each linked by `next` to the one before it.
  void append_inbox(runnable* newest) noexcept {
    auto* m = static_cast<message*>(newest);
    message* const last = m;
    for (message* after = nullptr;;) {
      auto* const before = static_cast<message*>(m->next);
      m->next = after;
      m->queued = true;
      if (before == nullptr) break;
      m->older = before;
      after = m;
      m = before;
    }
    append(*m, *last);
  }

  /// Moves the front of `other`, up to and with `last`, into this queue, which is empty.
  void take_front(message_queue& other, message& last) noexcept {
    message* const rest = newer(last);
    front_ = std::exchange(other.front_, rest);
    if (rest != nullptr) rest->older = front_->older;
    front_->older = &last;
    last.next = nullptr;
  }

  /// Leaves the queue empty: its front, each linked to the next newer one.
  message* take_all() noexcept { return std::exchange(front_, nullptr); }

private:
  /// Those from `first` on, linked up to `last`, which links nothing.
  void append(message& first, message& last) noexcept {
    if (front_ != nullptr) {
      first.older = std::exchange(front_->older, &last);
      first.older->next = &first;
    } else {
      front_ = &first;
      first.older = &last;
    }
  }

  message* front_ = nullptr;
};

}  // namespace troupe::detail

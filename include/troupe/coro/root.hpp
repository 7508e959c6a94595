// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The coroutine that nobody awaits, at the top of a call chain, and who is told of its end.
///
/// Layer: coro.

#include <exception>
#include <utility>

#include <troupe/coro/chain.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// The chain link of a coroutine that nobody awaits.
class root_link : public chain_link {
public:
  explicit root_link(executor& e) noexcept : chain_link(link_kind::root) {
    trace.trace_high = e.random();
    trace.trace_low = e.random();
  }
};

/// Sets a flag when the root has completed; the flag is read by the loop that ran it.
class root_done final : public completion {
public:
  explicit root_done(bool& flag) noexcept : completion(&root_done::set), flag_(flag) {}

private:
  static void set(completion& c) noexcept { static_cast<root_done&>(c).flag_ = true; }
  bool& flag_;
};

/// Notifies a waiter when the root has completed.
class root_notify final : public completion {
public:
  explicit root_notify(waiter& w) noexcept : completion(&root_notify::notify), waiter_(w) {}

private:
  static void notify(completion& c) noexcept { static_cast<root_notify&>(c).waiter_.notify(); }
  waiter& waiter_;
};

/// A root on an executor that its thread drives. It can outlive who waits for it: where the
/// executor finds that nothing can run any more, a coroutine that has started stays behind.
class driven_root {
public:
  driven_root(executor& e, chain_link* above) noexcept : link_(e), notify_(waiter_) {
    if (above != nullptr) link_.join(above);
    link_.make_stoppable();
  }
  driven_root(const driven_root&) = delete;
  driven_root& operator=(const driven_root&) = delete;
  virtual ~driven_root() = default;

  bool done() const noexcept { return waiter_.done(); }

  /// Runs it to its end: empty. Else it could not get there, and was asked to stop: why.
  std::exception_ptr drive(executor& e) noexcept {
    e.post(*root_);
    e.drive(waiter_);
    if (done()) return nullptr;
    std::exception_ptr why = e.stuck();
    link_.request_stop();
    e.drive(waiter_);
    return why;
  }

  /// Leaves a root that is stuck to the end of the program, where leak checkers find it.
  static void abandon(driven_root& root) noexcept {
    static constinit atomic<driven_root*> newest{nullptr};
    root.link_.above = nullptr;  // may be gone soon
    root.older_ = newest.load(order::relaxed);
    while (!newest.compare_exchange_weak(root.older_, &root, order::release, order::relaxed)) {
    }
  }

protected:
  void begin_at(frame& root, executor& e) noexcept {
    root_ = &root;
    root.where = &e;
    root.chain = &link_;
    root.then = &notify_;
  }

private:
  root_link link_;
  waiter waiter_;
  root_notify notify_;
  frame* root_ = nullptr;
  driven_root* older_ = nullptr;  // abandoned before this one
};

template <class T>
class driven_root_of final : public driven_root {
public:
  driven_root_of(executor& e, chain_link* above, task<T>& t) noexcept
      : driven_root(e, above), task_(t.release()) {
    task_.promise().result = &result_;
    begin_at(task_.promise(), e);
  }

  T take() { return result_.take(); }

private:
  result_slot<T> result_;
  started_task<T> task_;  // destroyed before the slot it writes to
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who runs the coroutines of a module: the threads of its host, which it only borrows.
///
/// Layer: function. In the module's library.
///
/// What runs in a module runs below one of the functions of its table, or is posted through its
/// host. So the module needs no thread of its own, and its host knows when nothing of it runs.

#include <cstdint>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

inline std::int64_t to_nanoseconds(time_point t) noexcept { return t.time_since_epoch().count(); }
inline time_point from_nanoseconds(std::int64_t n) noexcept { return time_point(duration(n)); }

/// The executor of one instance of a module. Counts who uses the instance: once the count is back
/// to zero nothing of it runs or is posted any more, and the host is told.
class guest_executor final : public executor {
public:
  explicit guest_executor(const troupe_module_host& host) noexcept : host_(host) {}

  const troupe_module_host& host() const noexcept { return host_; }

  // --- executor ---------------------------------------------------------------------------------
  void post(runnable& r) noexcept override {
    begin_use();
    {
      const spin_guard guard(lock_);
      ready_.push_back(r);
      waiting_.store(waiting_.load(order::relaxed) + 1, order::relaxed);
    }
    host_.post(host_.self, &guest_executor::run_oldest, this);  // may be gone when this returns
  }
  bool others_wait() const noexcept override {
    return waiting_.load(order::relaxed) != 0 || this_thread_state().next_first != nullptr;
  }
  time_point now() const noexcept override { return from_nanoseconds(host_.now(host_.self)); }
  std::uint64_t random() noexcept override { return host_.random(host_.self); }
  void wake_at(time_point t) noexcept override { host_.wake_at(host_.self, to_nanoseconds(t)); }

  // --- for the instance -------------------------------------------------------------------------
  /// First of all that the host calls.
  ///
  /// The thread is the host's, and may outlive the library: no destructor of this library must be
  /// left for its end, or the library would have to stay until then. So it keeps no frames, and
  /// stands in no list.
  static void borrow_thread() noexcept {
    thread_state& state = this_thread_state();
    if (state.frames == nullptr) state.frames_closed = true;
    state.listed = true;
  }

  /// Runs `r` here and now, on a borrowed thread.
  void run(runnable& r) noexcept { run_here(r); }
  /// The time that was asked for has come.
  void fire() noexcept {
    const time_point next = fire_timers();
    if (next != never) wake_at(next);
  }

  /// While a use lasts, the instance does. By whoever knows that it does.
  void begin_use() noexcept { uses_.fetch_add(1, order::relaxed); }
  /// The same for one who comes from outside; false: it has ended.
  bool try_use() noexcept {
    std::uint64_t uses = uses_.load(order::relaxed);
    while (uses != 0) {
      if (uses_.compare_exchange_weak(uses, uses + 1, order::relaxed, order::relaxed)) return true;
    }
    return false;
  }
  /// May be the end. The last touch.
  void end_use() noexcept {
    // Acquire and release: who ends it comes after all that the others did.
    if (uses_.fetch_sub(1, order::acq_rel) == 1) ended_(ended_context_);
  }
  /// Who is told of the end. By one who uses it; the first use, which is there from the beginning,
  /// is the caller's to end.
  void tell_of_end(void (*ended)(void*), void* context) noexcept {
    ended_ = ended;
    ended_context_ = context;
  }

private:
  static void run_oldest(void* self) {
    auto& e = *static_cast<guest_executor*>(self);
    borrow_thread();
    runnable* oldest = nullptr;
    {
      const spin_guard guard(e.lock_);
      oldest = e.ready_.pop_front();
      e.waiting_.store(e.waiting_.load(order::relaxed) - 1, order::relaxed);
    }
    e.run(*oldest);  // there is one for each that was posted
    e.end_use();
  }

  const troupe_module_host& host_;
  spin_lock lock_;  // guards ready_
  forward_queue<runnable, &runnable::next> ready_;
  atomic<std::uint32_t> waiting_{0};  // in ready_; a hint
  atomic<std::uint64_t> uses_{1};     // 0: ended, for good
  void (*ended_)(void*) = nullptr;    // both written before the first use ends
  void* ended_context_ = nullptr;
};

}  // namespace troupe::detail

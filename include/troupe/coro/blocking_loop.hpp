// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The loop of a thread that blocks until a coroutine ends (`sync_wait`, `broker::run`).
///
/// Layer: coro. Lives on the stack of the thread that waits.

#include <cstdint>
#include <optional>

#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/parker.hpp>

namespace troupe::detail {

/// An executor of one thread: the one that constructs it and calls `run_until`.
///
/// Coroutines that start beside the root go to `pool`, if there is one.
class blocking_loop final : public executor {
public:
  explicit blocking_loop(executor* pool) noexcept : pool_(pool) {}
  ~blocking_loop() override {
    while (posting_.load(order::acquire) != 0) cpu_relax();
  }

  inline void post(runnable& r) noexcept override;
  void fork(runnable& r) noexcept override {
    if (pool_ != nullptr) return pool_->fork(r);
    post(r);
  }
  bool others_wait() const noexcept override {
    return newest_.load(order::relaxed) != nullptr || oldest_ != nullptr ||
           this_thread_state().next_first != nullptr;
  }
  bool serial() const noexcept override { return true; }
  home& children() noexcept override { return pool_ != nullptr ? pool_->children() : *this; }

  time_point now() const noexcept override {
    return pool_ != nullptr ? pool_->now() : steady_now();
  }
  wall_time wall_now() const noexcept override {
    return pool_ != nullptr ? pool_->wall_now() : troupe::wall_now();
  }
  std::uint64_t random() noexcept override {
    if (pool_ != nullptr) return pool_->random();
    thread_state& state = this_thread_state();
    if (state.random == 0) {
      state.random =
          hash_combine(reinterpret_cast<std::uintptr_t>(&state),
                       static_cast<std::uint64_t>(steady_now().time_since_epoch().count()));
    }
    return splitmix64(state.random);
  }
  void wake_at(time_point) noexcept override {
    if (this_thread_state().loop != this) parker_.unpark();
  }
  void offload(runnable& r) override {
    if (pool_ != nullptr) return pool_->offload(r);
    executor::offload(r);
  }

  /// Runs `first`, and then what is posted, on the thread that made this, until `done` is set by
  /// something it ran.
  void run_until(runnable& first, const bool& done) noexcept;

private:
  static constexpr unsigned timer_interval = 61;  // steps between looks at the timers

  runnable* take() noexcept;
  void wait() noexcept;

  executor* const pool_;
  runnable* oldest_ = nullptr;  // taken from newest_, in order
  parker parker_;
  atomic<runnable*> newest_{nullptr};  // nullptr: nothing posted; else the newest, linked to older
  atomic<unsigned> posting_{0};        // threads inside `post`, which touches the loop last
};

inline void blocking_loop::post(runnable& r) noexcept {
  posting_.fetch_add(1, order::relaxed);
  runnable* newest = newest_.load(order::relaxed);
  do {
    r.next = newest;
  } while (!newest_.compare_exchange_weak(newest, &r, order::release, order::relaxed));
  if (this_thread_state().loop != this) parker_.unpark();
  posting_.fetch_sub(1, order::release);  // pairs with the load in the destructor
}

/// The oldest that was posted, or `nullptr`.
inline runnable* blocking_loop::take() noexcept {
  if (oldest_ == nullptr) {
    runnable* newest = newest_.exchange(nullptr, order::acquire);  // pairs with the CAS in `post`
    while (newest != nullptr) {
      runnable* const older = newest->next;
      newest->next = oldest_;
      oldest_ = newest;
      newest = older;
    }
  }
  runnable* const r = oldest_;
  if (r != nullptr) oldest_ = r->next;
  return r;
}

inline void blocking_loop::wait() noexcept {
  // An answer from a running thread comes within a microsecond or two.
  constexpr int spins = spin_limit(200);
  for (int i = 0; i < spins; ++i) {
    if (newest_.load(order::relaxed) != nullptr) return;
    cpu_relax();
  }
  const time_point due = fire_timers();
  if (newest_.load(order::relaxed) != nullptr) return;
  thread_state& state = this_thread_state();
  end_activity(state);
  if (due == never) {
    parker_.park();
  } else {
    parker_.park_until(due);
  }
  begin_activity(state);
}

inline void blocking_loop::run_until(runnable& first, const bool& done) noexcept {
  thread_state& state = this_thread_state();
  home* const outer_loop = std::exchange(state.loop, this);
  frame* const outer_frame = std::exchange(state.running, nullptr);
  cell* const outer_turn = std::exchange(state.plain_turn, nullptr);
  chain_link* const outer_blocking = std::exchange(state.blocking, nullptr);
  const bool outer_may_block = std::exchange(state.may_block, false);
  runnable* const outer_first = std::exchange(state.next_first, nullptr);
  runnable* const outer_last = std::exchange(state.next_last, nullptr);
  std::optional<shelved_record> outer_record;
  if (shelved_record::shows_something(state.record)) outer_record.emplace(state.record);
  const bool outer_active = begin_activity(state);
  safepoint(state);
  run_step(state, first);
  unsigned step = 0;
  while (!done) {
    if (++step % timer_interval == 0) fire_timers();
    safepoint(state);
    if (runnable* const r = take()) {
      run_step(state, *r);
    } else {
      wait();
    }
  }
  if (!outer_active) end_activity(state);
  state.next_first = outer_first;
  state.next_last = outer_last;
  state.loop = outer_loop;
  state.running = outer_frame;
  state.plain_turn = outer_turn;
  state.blocking = outer_blocking;
  state.may_block = outer_may_block;
}

}  // namespace troupe::detail

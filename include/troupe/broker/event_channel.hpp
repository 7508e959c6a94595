// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How worker events reach the cleaner: one at a time, in order, with no lock held.
///
/// Layer: broker. One pooled block per event, and nothing where there is no cleaner.
///
/// Who has an event adds it to the queue, and delivers what is there unless somebody does already
/// (flat combining; D. Hendler et al., SPAA 2010). So the cleaner needs no lock of its own, and may
/// do what brings about further events.

#include <utility>

#include <troupe/actor/outside_code.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/broker/cleaner.hpp>
#include <troupe/broker/worker_event.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What a channel needs of its broker.
class event_channel_owner {
public:
  /// Makes `worker_stats::last_used` of all later turns later than those of all turns so far.
  virtual void refresh_tick() noexcept = 0;

  /// Asks that `event_channel::look` be called after this time.
  virtual void look_after(duration d) = 0;

protected:
  ~event_channel_owner() = default;
};

/// Thread safety: all members from any thread.
class event_channel : private runnable {
public:
  event_channel(cleaner c, executor& e, event_channel_owner& owner) noexcept
      : runnable(&event_channel::go_on), cleaner_(std::move(c)), executor_(e), owner_(owner) {}
  event_channel(const event_channel&) = delete;
  event_channel& operator=(const event_channel&) = delete;

  /// False if there is no cleaner.
  explicit operator bool() const noexcept { return static_cast<bool>(cleaner_); }
  bool wants_get() const noexcept { return cleaner_.wants_get(); }

  /// Whose events these are; before the first.
  void open(broker& b) noexcept { broker_ = &b; }
  broker* whose() const noexcept { return broker_; }

  /// Delivers the event, or leaves it to the thread that is delivering. Where there is no memory
  /// for it the cleaner is not told.
  void send(worker_event::kind_type kind, worker_id id, const worker_stats& stats) noexcept {
    try {
      add(*new item(worker_event(kind, broker_, std::move(id), stats), false));
    } catch (...) {
    }
  }

  /// Lets the cleaner look at the time.
  void look() noexcept {
    try {
      add(*new item(worker_event(worker_event::get, broker_, worker_id(), worker_stats()), true));
    } catch (...) {
    }
  }

  /// True if nothing is being delivered.
  bool idle() const noexcept {
    const spin_guard guard(lock_);
    return !delivering_;
  }

private:
  struct item : pooled {
    item(worker_event e, bool look) noexcept : event(std::move(e)), only_look(look) {}
    worker_event event;
    bool only_look;  // at the time: there is no event
    item* next = nullptr;
  };

  static constexpr int limit = 64;  // delivered before the thread is given back

  static void go_on(runnable& r) noexcept { static_cast<event_channel&>(r).deliver(); }

  void add(item& i) noexcept {
    {
      const spin_guard guard(lock_);
      waiting_.push_back(i);
      if (std::exchange(delivering_, true)) return;
    }
    deliver();
  }

  void deliver() noexcept;
  void handle(const item& i) noexcept;

  cleaner cleaner_;
  executor& executor_;
  event_channel_owner& owner_;
  broker* broker_ = nullptr;
  mutable spin_lock lock_;  // guards both below
  forward_queue<item, &item::next> waiting_;
  bool delivering_ = false;  // by some thread, or posted to the executor
};

inline void event_channel::deliver() noexcept {
  const outside_code outside;
  for (int i = 0; i < limit; ++i) {
    item* oldest = nullptr;
    {
      const spin_guard guard(lock_);
      oldest = waiting_.pop_front();
      delivering_ = oldest != nullptr;
    }
    if (oldest == nullptr) return;
    handle(*oldest);
    delete oldest;
  }
  executor_.post(*this);
}

/// What a cleaner throws harms nobody.
inline void event_channel::handle(const item& i) noexcept {
  owner_.refresh_tick();
  try {
    if (!i.only_look) cleaner_(i.event);
  } catch (...) {
  }
  try {
    const duration wait = cleaner_.look(*broker_);
    if (wait != endless) owner_.look_after(wait);
  } catch (...) {
  }
}

}  // namespace troupe::detail

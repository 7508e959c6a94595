// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The call chain: what a running coroutine inherits from those who await it.
///
/// Layer: coro. A coroutine points to one `chain_link`; a new link is made only where something
/// changes: at a root, at a scope that can be stopped on its own, at a call of a worker. Links live
/// in the frame of whoever made them, which is suspended or alive as long as anything below runs.

#include <cstdint>
#include <utility>

#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/trace_context.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class cell;

/// What a link adds to the chain.
enum class link_kind : std::uint8_t {
  root,   // nobody awaits it
  scope,  // all children are needed: when_all, task_scope, within
  any,    // one child is enough: a wait below it does not hold up what is above
  call,   // a worker's method runs below
  traced  // a span of its own, but no turn
};

/// The stop state of a link that somebody asked for, and its tie to the link above.
class linked_stop final : public pooled, private stop_hook {
public:
  linked_stop() : stop_hook(&linked_stop::on_stop_above), state_(new stop_state) {
    state_->sources.fetch_add(1, order::relaxed);
  }
  ~linked_stop() {
    detach();
    state_->sources.fetch_sub(1, order::relaxed);
  }

  stop_state* state() const noexcept { return state_.get(); }
  void follow(stop_state* above) noexcept { attach(above); }

private:
  static void on_stop_above(stop_hook& hook) noexcept {
    static_cast<linked_stop&>(hook).state_->request();
  }

  intrusive_ptr<stop_state> state_;
};

/// One link of a call chain.
///
/// Thread safety: the plain members are written before anything runs below the link; the stop
/// state may be asked for and requested from any thread below or beside it.
class chain_link {
public:
  explicit chain_link(link_kind k) noexcept : kind(k) {}
  /// A call below `link_above`, with a stop state of its own. The same as `join` and
  /// `make_stoppable`, with each member written once.
  chain_link(link_kind k, chain_link& link_above) noexcept
      : above(&link_above),
        call(this),
        deadline(link_above.deadline),
        trace(link_above.trace),
        kind(k),
        limited(link_above.limited),
        depth(link_above.depth_below()),
        stoppable_(this) {}
  chain_link(const chain_link&) = delete;
  chain_link& operator=(const chain_link&) = delete;
  ~chain_link() {
    const std::uintptr_t word = stop_.load(order::relaxed);  // all who used the link came before
    if (word > requested) drop_stop(word);
  }

  /// Makes this a link below `above`, which stays alive longer.
  void join(chain_link* above) noexcept;

  /// Gives this link a stop state of its own. After `join`, before anything runs below.
  void make_stoppable() noexcept { stoppable_ = this; }

  /// Brings the deadline forward. Before anything runs below.
  void limit_deadline(time_point t) noexcept {
    if (t < deadline) deadline = t;
    limited = limited || deadline != never;
  }

  /// Workers' turns above what runs below this link.
  std::uint32_t depth_below() const noexcept {
    return depth + static_cast<std::uint32_t>(kind == link_kind::call);
  }

  /// Asks all below to stop. From any thread.
  void request_stop() noexcept;

  /// True if a stop of this link, or of one above, was requested. Allocates nothing.
  bool stop_requested() const noexcept;

  /// The stop state that holds here, made on first use; `nullptr`: nobody can request a stop.
  /// Throws `std::bad_alloc`.
  stop_state* stop();

  chain_link* above = nullptr;  // nullptr: a root, or cut loose
  chain_link* call = nullptr;   // the nearest call at or above this link
  cell* outside = nullptr;      // who called from another process or library; nullptr: not known
  time_point deadline = never;  // the earliest of this link and those above
  // Of the chain. Its `span` counts only where `above` is not set: that of whoever is above all
  // the same. See coro/span.hpp.
  trace_context trace;
  link_kind kind;
  atomic<bool> thread_blocked{false};  // a call: its thread waits, nothing can nest in it
  bool limited = false;                // calls below look for a stop or a deadline first
  std::uint32_t depth = 0;             // workers' turns above this link

  // 0: nobody has asked for this link's own span yet; else its id, for good. Whoever asks first
  // sets it by compare-exchange; it orders nothing.
  atomic<std::uint64_t> span{0};

private:
  // 0: nobody has asked for the state; `requested`: stop was requested before anybody did; else a
  // linked_stop*, for good. Set by compare-exchange with release, read with acquire: whoever sees
  // the pointer sees what it points to. What a compare-exchange replaces needs no acquire: nothing,
  // or a request that was seen by the one before, which failed.
  static constexpr std::uintptr_t requested = 1;

  linked_stop* make_stop();
  TROUPE_NOINLINE static void drop_stop(std::uintptr_t word) noexcept {
    delete reinterpret_cast<linked_stop*>(word);
  }
  bool requested_here() const noexcept {
    const std::uintptr_t word = stop_.load(order::acquire);
    if (word <= requested) return word == requested;
    return reinterpret_cast<linked_stop*>(word)->state()->requested();
  }

  atomic<std::uintptr_t> stop_{0};
  chain_link* stoppable_ = nullptr;  // the nearest link at or above with a stop state of its own
};

inline void chain_link::join(chain_link* link_above) noexcept {
  above = link_above;
  if (above == nullptr) return;
  call = above->call;
  outside = above->outside;
  deadline = above->deadline;
  trace = above->trace;
  depth = above->depth_below();
  limited = above->limited;
  stoppable_ = above->stoppable_;
}

inline void chain_link::request_stop() noexcept {
  std::uintptr_t word = 0;
  if (stop_.compare_exchange_strong(word, requested, order::release, order::acquire)) return;
  if (word > requested) reinterpret_cast<linked_stop*>(word)->state()->request();
}

inline bool chain_link::stop_requested() const noexcept {
  for (const chain_link* l = stoppable_; l != nullptr;) {
    if (l->requested_here()) return true;
    l = l->above != nullptr ? l->above->stoppable_ : nullptr;
  }
  return false;
}

inline stop_state* chain_link::stop() {
  if (stoppable_ == nullptr) return nullptr;
  chain_link& owner = *stoppable_;
  const std::uintptr_t word = owner.stop_.load(order::acquire);
  if (word > requested) return reinterpret_cast<linked_stop*>(word)->state();
  return owner.make_stop()->state();
}

inline linked_stop* chain_link::make_stop() {
  stop_state* const above_state = above != nullptr ? above->stop() : nullptr;
  auto* const fresh = new linked_stop;
  std::uintptr_t word = 0;
  while (!stop_.compare_exchange_weak(word, reinterpret_cast<std::uintptr_t>(fresh), order::release,
                                      order::acquire)) {
    if (word <= requested) continue;
    delete fresh;  // somebody else was first
    return reinterpret_cast<linked_stop*>(word);
  }
  if (word == requested) fresh->state()->request();
  fresh->follow(above_state);
  return fresh;
}

}  // namespace troupe::detail

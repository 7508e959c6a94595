// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `observer`: sees every call and every worker of a broker, and may refuse calls.
///
/// Layer: broker. Without one, nothing of this is on the path of a call; with one, every call takes
/// the longer path.

#include <vector>

#include <troupe/actor/call_info.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/slow_turn_report.hpp>
#include <troupe/broker/worker_event.hpp>

namespace troupe {

class observers;
namespace detail {
template <class Lazy>
class broker_core;
}

/// Derive from it, and hand it to `broker_options::observe`; it outlives the broker.
///
/// A call, tell or call with a time limit that gets its turn is seen in this order: `before_call`
/// here, the actor's own, the method, the actor's `after_call`, `after_call` here. Whatever becomes
/// of it, `on_settled` comes exactly once: after these, or alone where it never got its turn. Only
/// where a time limit has passed does `on_settled` come first, and the end of the method later.
/// Timers and hooks are nobody's calls.
///
/// Thread safety: its functions are called from any thread, many at once; those around one worker's
/// turns one after the other, unless it interleaves them. They are short and do not wait.
class observer {
public:
  virtual ~observer() = default;

  /// In the worker's turn, before anything of the call has run. What it throws refuses the call:
  /// that settles `errc::refused`, which nests the exception.
  virtual void before_call(const worker_id& to, const call_info& call) {
    static_cast<void>(to), static_cast<void>(call);
  }

  /// In the worker's turn, at its end, wherever `before_call` was called; `call.outcome` says how
  /// it ended. What it throws is dropped.
  virtual void after_call(const worker_id& to, const call_info& call) {
    static_cast<void>(to), static_cast<void>(call);
  }

  /// What its caller gets, just before that goes on, on the caller's side; of a tell, where it
  /// ends. Calls that outlast the broker are seen no more. What it throws is dropped.
  virtual void on_settled(const worker_id& to, const call_info& call) {
    static_cast<void>(to), static_cast<void>(call);
  }

  /// A turn has been running for longer than `broker_options::slow_turn`; once for each. On a
  /// thread of its own kind, beside everything else: the turn may have ended meanwhile. It may ask
  /// for a dump, but makes and destroys no brokers. What it throws is dropped.
  virtual void on_slow_turn(const slow_turn_report& report) { static_cast<void>(report); }

  /// A worker was made or destroyed (`worker_event::create`, `remove`). What it throws is dropped.
  virtual void on_worker(const worker_event& event) { static_cast<void>(event); }

  /// `broker::evict` has decided that the worker goes, now or when its mailbox next runs dry. What
  /// it throws is dropped.
  virtual void on_evict(const worker_id& id) { static_cast<void>(id); }

private:
  friend class observers;
  template <class Lazy>
  friend class detail::broker_core;

  /// Adds itself, or what it is made of.
  virtual void list(std::vector<observer*>& all) { all.push_back(this); }
};

}  // namespace troupe

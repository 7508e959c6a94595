// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `observer`: sees every call and every worker of a broker, and may refuse calls.
///
/// Layer: broker. Without one, nothing of this is on the path of a call; with one, every call takes
/// the longer path.

#include <troupe/actor/hooks.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/slow_turn_report.hpp>
#include <troupe/broker/worker_event.hpp>

namespace troupe {

/// Derive from it, and hand it to `broker_options::observe`; it outlives the broker.
///
/// Thread safety: its functions are called from any thread, many at once; those about one worker's
/// calls one after the other. They run in the worker's turn, so they are short and do not wait.
class observer {
public:
  virtual ~observer() = default;

  /// Before each call, tell or call with a time limit, and before the worker's own hook. What it
  /// throws refuses the call: that settles `errc::refused`, which nests the exception.
  virtual void before_call(const worker_id& to, const call_info& call) {
    static_cast<void>(to), static_cast<void>(call);
  }

  /// After it, in every case; `call.error` says how it ended. What it throws is dropped.
  virtual void after_call(const worker_id& to, const call_info& call) {
    static_cast<void>(to), static_cast<void>(call);
  }

  /// A turn has been running for longer than `broker_options::slow_turn`; once for each. On a
  /// thread of its own kind, beside everything else: the turn may have ended meanwhile. It may ask
  /// for a dump, but makes and destroys no brokers. What it throws is dropped.
  virtual void on_slow_turn(const slow_turn_report& report) { static_cast<void>(report); }

  /// A worker was made or destroyed (`worker_event::create`, `remove`). What it throws is dropped.
  virtual void on_worker(const worker_event& event) { static_cast<void>(event); }
};

}  // namespace troupe

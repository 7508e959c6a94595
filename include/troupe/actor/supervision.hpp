// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What happens to a worker whose method has thrown, or that cannot be started.
///
/// Layer: actor. Plain values; cell_supervision.hpp carries them out.

#include <chrono>
#include <cstdint>
#include <exception>
#include <string_view>
#include <utility>

#include <troupe/base/worker_id.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// What happens to a worker after a failure. Its caller gets the exception in any case. An
/// interleaved worker is restarted or stopped when no turn of it is open any more, and goes on
/// serving until then.
enum class directive : std::uint8_t {
  inherit,  ///< What the broker says; for the broker: `resume`.
  resume,   ///< Nothing: the exception is the caller's affair.
  restart,  ///< After a pause a new instance takes over the queue, in order.
  stop,  ///< It is closed, its queue settles `errc::worker_stopped`; the next call makes a new one.
  escalate  ///< `broker_options::on_escalation` decides; `stop`, where there is none.
};

/// The reaction to failures, and its limits; of an actor (`actor_options::supervise`) or of all
/// those of a broker that have none of their own (`broker_options::supervise`).
///
/// A failure is an exception that leaves a method, a timer's turn, or the start of a worker; not
/// the end of a turn that was asked to stop (`std::errc::operation_canceled`), and not a call that
/// a hook has refused.
///
/// Before the first restart passes about `backoff_first`, before each further one twice the time,
/// up to `backoff_max`; each drawn anew between the half and the whole of that. Who calls meanwhile
/// waits. The count and the pauses begin again with the first failure that comes later than
/// `period` after the one that began the count. Closing a worker ends the pause.
struct supervision {
  directive on_failure = directive::inherit;
  duration backoff_first = std::chrono::milliseconds(10);
  duration backoff_max = std::chrono::seconds(10);
  unsigned max_restarts = 5;  ///< Within `period`; the next failure escalates.
  duration period = std::chrono::seconds(60);
  /// Decides by the exception, instead of `on_failure`; what it throws counts as `escalate`. Where
  /// it says `inherit`, the broker's supervision decides, and its limits count.
  directive (*decide)(const std::exception_ptr& error) = nullptr;
};

/// A failure that its worker's supervision does not settle by itself.
struct worker_failure {
  worker_failure(worker_id i, std::string_view m, std::exception_ptr e, unsigned r)
      : id(std::move(i)), method(m), error(std::move(e)), restarts(r) {}

  worker_id id;              ///< Who has failed.
  std::string_view method;   ///< In which method; valid while the handler runs.
  std::exception_ptr error;  ///< What it has thrown.
  unsigned restarts;         ///< Within the present period.
};

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a request for a job, and what is said of its end, must not be.
///
/// Layer: net. Every store asks here, whoever wants the job: nothing else stands before it.

#include <chrono>
#include <cmath>
#include <stdexcept>

#include <troupe/net/job_store.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

inline void require_of_job(bool is, const char* otherwise) {
  if (!is) throw std::invalid_argument(otherwise);
}

/// A factor that is no number would make waits that are none.
inline bool rises(const backoff_options& o) noexcept {
  return o.first >= duration::zero() && o.max >= o.first && o.factor >= 1.0 &&
         std::isfinite(o.factor);
}

}  // namespace detail

/// Throws `std::invalid_argument`, which says what is wrong.
inline void require_valid(const job_request& r) {
  using detail::require_of_job;
  require_of_job(!r.script.empty(), "a job has a script");
  require_of_job(r.attempts != 0, "a job has at least one attempt");
  require_of_job(r.losses != 0, "a job is dead after at least one loss");
  require_of_job(r.lease >= std::chrono::milliseconds(30), "a lease is at least 30 ms");
  require_of_job(r.time_limit > duration::zero(), "a time limit is more than nothing");
  require_of_job(detail::rises(r.retry), "waits between attempts do not fall");
  require_of_job(r.together == 0 || !r.key.empty(), "a limit of together needs a key");
}

/// Throws `std::invalid_argument` for a failure that says nothing.
inline void require_valid(const job_commit& c) {
  const bool says_why = c.kind == job_commit::failed || c.kind == job_commit::crashed ||
                        c.kind == job_commit::refused;
  detail::require_of_job(!says_why || c.error != nullptr, "a failure has an error");
  detail::require_of_job(c.kind <= job_commit::released, "a commit is of a kind that there is");
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `job_context`: what a running script knows of its job, and what it can tell.
///
/// Layer: job.

#include <cstdint>
#include <utility>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/net/job_store.hpp>

namespace troupe {

/// Lives as long as the attempt.
///
/// Thread safety: all members from any thread.
class job_context {
public:
  job_context(job_taker& t, const job_delivery& d, troupe::stop_token stop) noexcept
      : taker_(t), delivery_(d), stop_(std::move(stop)) {}
  job_context(const job_context&) = delete;
  job_context& operator=(const job_context&) = delete;

  [[nodiscard]] job_id id() const noexcept { return delivery_.id; }
  /// From 1 on.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return delivery_.attempt; }
  /// Rises with each delivery: a store that has seen a higher one refuses what a lower one writes.
  [[nodiscard]] std::uint64_t fence() const noexcept { return delivery_.fence; }

  /// Asked: the job is wanted no more, its time is over, it is somebody else's, or the instrument
  /// goes. Coroutines have the same token as `this_task::stop_token()`. What is called back by it
  /// runs on the thread that renews leases: it is short, and does not block.
  [[nodiscard]] const troupe::stop_token& stop_token() const noexcept { return stop_; }

  /// How far it has come. Only the latest is kept. False: it was not taken.
  template <class T>
  bool progress(const T& value) {
    return taker_.write(delivery_.id, delivery_.fence, true, shared_bytes(encode(value)));
  }
  /// A part of what it brings forth. False: it was not taken, since the job is lost or has said as
  /// much as it may.
  template <class T>
  bool write(const T& value) {
    return taker_.write(delivery_.id, delivery_.fence, false, shared_bytes(encode(value)));
  }

private:
  job_taker& taker_;
  const job_delivery& delivery_;
  const troupe::stop_token stop_;
};

}  // namespace troupe

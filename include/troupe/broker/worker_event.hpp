// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a broker tells about its workers: how one is doing (`worker_info`), and what became of it
/// (`worker_event`).
///
/// Layer: broker.

#include <cstdint>
#include <utility>

#include <troupe/actor/worker_stats.hpp>
#include <troupe/base/worker_id.hpp>

namespace troupe {

class broker;

/// One worker at one moment, and which it is.
struct worker_info : worker_stats {
  worker_info(worker_id i, const worker_stats& s) noexcept : worker_stats(s), id(std::move(i)) {}

  worker_id id;
};

/// Something that has happened to a worker.
struct worker_event {
  /// `create`: an instance was made. `get`: a call or tell reached one that was there. `remove`: it
  /// was destroyed. `terminate`: so were all, by `broker::terminate`; it names no worker.
  enum kind_type : std::uint8_t { create, get, remove, terminate };

  worker_event(kind_type k, troupe::broker* b, worker_id i, const worker_stats& s) noexcept
      : kind(k), broker(b), id(std::move(i)), stats(s) {}

  kind_type kind;
  troupe::broker* broker;  ///< To act on: all but waiting is allowed.
  worker_id id;
  worker_stats stats;
};

}  // namespace troupe

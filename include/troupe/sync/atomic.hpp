// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The one name for atomics; a model checker replaces it here.
///
/// Layer: sync. Every lock-free part of the library spells its shared words `detail::atomic<T>`.
/// With TROUPE_ATOMIC_HEADER defined as a header, that header is included instead and supplies
/// `troupe::model::atomic`, with the interface of `std::atomic` (and, where blocking is used, the
/// functions of sync/futex.hpp). It also defines `detail::cpu_relax` and
/// `detail::this_thread_state`, since its threads are not the system's; tests/model has one.

#include <atomic>

#if defined(TROUPE_ATOMIC_HEADER)
#  include TROUPE_ATOMIC_HEADER
#endif

namespace troupe::detail {

#if defined(TROUPE_ATOMIC_HEADER)
template <class T>
using atomic = model::atomic<T>;
#else
template <class T>
using atomic = std::atomic<T>;
#endif

/// What a model checker leaves alone; for sync/published.hpp only.
template <class T>
using unmodelled_atomic = std::atomic<T>;

/// The memory orders under short names. No default is ever relied on: every operation says which.
namespace order {

inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;

}  // namespace order
}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The memory of one execution: for each atomic object the history of its stores, for each plain
/// variable who touched it last.
///
/// An operational reading of the C++20 memory model (M. Batty et al., "Mathematizing C++
/// Concurrency", POPL 2011; in the manner of B. Norris, B. Demsky, "CDSChecker", OOPSLA 2013).
/// Modification order is the order of execution, and what is read was written before: every outcome
/// that is found is one that the language allows. What is not found is in docs/model_checking.md.
/// For seq_cst see total_order.hpp.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <model/checker/clock.hpp>

namespace troupe::model {

inline bool acquires(std::memory_order o) noexcept {
  return o == std::memory_order_acquire || o == std::memory_order_acq_rel ||
         o == std::memory_order_seq_cst;
}
inline bool releases(std::memory_order o) noexcept {
  return o == std::memory_order_release || o == std::memory_order_acq_rel ||
         o == std::memory_order_seq_cst;
}

/// One store in the history of a location.
struct stored {
  std::uint64_t value = 0;
  clock seen;       // by thread, the first step that wrote or read it; 0: none
  clock published;  // what an acquire load that reads it learns
};

/// One atomic object.
struct location {
  std::vector<stored> history;  // in modification order
  clock touched;                // by thread, its last operation
  unsigned creator = 0;
  std::uint32_t created = 0;  // the creator's step; 0: there before the execution began
  bool alive = true;
  std::uint64_t value_before = 0;  // to be put back, where it was there before
  void* bytes = nullptr;
  std::uint32_t size = 0;

  /// The oldest store that a thread with this clock may still read: coherence forbids to go behind
  /// a store that it knows to have been written or read.
  std::size_t floor_for(const clock& now) const noexcept {
    for (std::size_t i = history.size(); i-- > 1;) {
      if (now.knows_one_of(history[i].seen)) return i;
    }
    return 0;
  }

  /// `reader` reads store `i`; what it learns is added to its clock.
  std::uint64_t read(std::size_t i, unsigned reader, clock& now, std::memory_order o) noexcept {
    stored& s = history[i];
    if (s.seen.at[reader] == 0) s.seen.at[reader] = now.at[reader];
    if (acquires(o)) now.join(s.published);
    return s.value;
  }

  /// Appends a store. As part of a read-modify-write it continues the release sequence of the store
  /// it has read.
  void write(std::uint64_t value, unsigned writer, const clock& now, std::memory_order o,
             bool reads_newest) {
    stored s;
    s.value = value;
    s.seen.at[writer] = now.at[writer];
    if (reads_newest) s.published = history.back().published;
    if (releases(o)) s.published.join(now);
    history.push_back(s);
  }
};

/// One plain variable.
struct plain {
  unsigned writer = 0;
  std::uint32_t written = 0;  // the writer's step
  clock read;                 // by thread, its last read since
};

}  // namespace troupe::model

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the library asks a simulation, where it runs in one; and the fault point, for the library
/// and for users (`TROUPE_BUGGIFY`).
///
/// Layer: coro. Outside of a simulation a fault point is one look at the thread's state.

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>

namespace troupe::detail {

/// How a call is held up whose worker is free.
enum class hold_up : std::uint8_t {
  no,         ///< Not at all: it runs at once.
  in_line,    ///< It has the worker, but runs later; who comes meanwhile waits behind it.
  contended,  ///< It finds the worker busy, and waits in its mailbox.
  afterwards  ///< It runs at once, but its caller goes on later.
};

/// Somebody who can say what waits, when nothing can run any more.
class witness : public list_hook {
public:
  virtual void testify(std::string& text) const = 0;

protected:
  witness() = default;
  ~witness() = default;
};

/// The part of a simulating executor that the library knows.
///
/// Thread safety: none; all on the thread of the simulation.
class simulation {
public:
  virtual hold_up hold_up_call() noexcept = 0;

  /// Whether the fault point with this number fires now.
  virtual bool fault_fires(std::uint64_t point) noexcept = 0;

  /// Something has failed that may otherwise remain unseen: the first one is the run's.
  virtual void note_failure(std::exception_ptr e) noexcept = 0;

  /// `w` is asked where the run comes to a deadlock, until it is taken out.
  virtual void add_witness(witness& w) noexcept = 0;
  virtual void remove_witness(witness& w) noexcept = 0;

protected:
  ~simulation() = default;
};

/// The simulation that runs on this thread; `nullptr`: none.
simulation* simulation_here() noexcept;

/// A number for a place in the source that does not depend on where the source lies.
constexpr std::uint64_t fault_point(std::string_view file, unsigned line) noexcept {
  return hash_bytes(file.substr(file.find_last_of("/\\") + 1), line);
}

TROUPE_NOINLINE TROUPE_COLD inline bool fault_fires(const char* file, unsigned line) noexcept {
  simulation* const s = simulation_here();
  return s != nullptr && s->fault_fires(fault_point(file, line));
}

}  // namespace troupe::detail

/// A fault point: `if (TROUPE_BUGGIFY) ...` around something rare that is allowed to happen. False
/// outside of a simulation and in one without `buggify`. In one with it, a quarter of all points is
/// enabled in a run, and these are true every fourth time; all of it follows from the seed (the
/// idea and the odds are FoundationDB's, J. Zhou et al., SIGMOD 2021).
#define TROUPE_BUGGIFY (::troupe::detail::fault_fires(__FILE__, __LINE__))

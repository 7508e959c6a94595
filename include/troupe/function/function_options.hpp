// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a `function_host` is made, what it is told of single modules, and its figures.
///
/// Layer: function.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <troupe/function/module_permissions.hpp>
#include <troupe/function/sandbox_options.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {
class module_launcher;
}

/// What holds for one module, whatever its version.
struct module_options {
  std::optional<isolation> kept{};    ///< Nothing: as the host's options say.
  duration limit = duration::zero();  ///< For each call; zero: as the host's options say.
  bool per_key = false;  ///< Each key has an instance of its own: tenants that share no memory.
  module_permissions permissions{};
};

/// How a host is made.
struct function_host_options {
  isolation kept = isolation::process;  ///< Of modules that nothing else is said of.

  /// Instances at the same time; 0: 0.8 times the memory that the process could still have when the
  /// host is made, by what an instance costs; for processes, no more than 0.8 times as many as it
  /// could have descriptors for, five for each. A module that is loaded beside its older self, or
  /// that does not come to its end, may be one more.
  std::size_t max_workers = 0;

  /// For each call, from when it is made: the caller is settled by then. `endless`: none.
  duration limit = endless;
  /// What a module in a process still has after that to give up the call, before it is killed with
  /// all its calls. A call that it has not begun by then is taken back instead.
  duration stop_grace = std::chrono::milliseconds(20);
  /// The same after its caller was asked to stop, and so is gone: where somebody waits for another
  /// call of that process, it is killed only at the limit of the call, or so much later if that has
  /// none.
  duration cancel_grace = std::chrono::seconds(1);
  /// A process that has calls, has begun none of them, and does not begin one for so long is
  /// killed, within two seconds; another gets its calls. `endless`: none is.
  duration stall_limit = std::chrono::seconds(5);
  duration start_limit = std::chrono::seconds(10);  ///< For loader, copy and start together.
  duration idle_after = std::chrono::minutes(5);  ///< An instance without a call for so long goes.

  /// How often the files of modules that run are looked at; zero: never. A file that has changed,
  /// and is the same in two looks, is loaded anew.
  duration watch_files = std::chrono::milliseconds(500);

  /// While modules wait for room, and none of those that have it is idle, one of these is drained
  /// each time that so much has passed: its calls that run are awaited, further ones wait.
  duration patience = std::chrono::milliseconds(100);

  /// Calls of one module that wait for it; more: mailbox_full. As many may a module that runs have
  /// when it is told something: what is awaited is not refused then.
  std::size_t max_waiting = 10'000;
  std::size_t max_payload = std::size_t{64} << 20;  ///< Bytes; more: too_large.
  /// Bytes of replies of one module in processes that its callers have not read yet, all keys and
  /// versions together; what comes beyond that is dropped, and its call ends `result_lost`. 0: a
  /// quarter of the memory that the process could still have when the host is made, but 64 MiB at
  /// least. Replies up to 1 KiB do not count.
  std::size_t max_held_replies = 0;
  duration drain_limit = std::chrono::seconds(10);  ///< Of `terminate` and the destructor.

  sandbox_options sandbox{};  ///< How modules are kept in processes.

  /// For the library: who starts modules in processes; outlives the host. nullptr: a sandbox of the
  /// host's own.
  detail::module_launcher* processes = nullptr;
};

/// Figures of a host; of some moment gone by where work is under way.
struct function_stats {
  std::size_t max_workers = 0;
  std::size_t workers = 0;   ///< Instances: all below.
  std::size_t starting = 0;  ///< Not there yet.
  std::size_t idle = 0;      ///< Without a call.
  std::size_t ending = 0;    ///< Replaced, evicted, or drained: they take no new calls.
  std::size_t running = 0;   ///< Calls that modules have.
  std::size_t waiting = 0;   ///< Calls that wait for a module to start, or for room.
  std::uint64_t calls = 0;   ///< That were settled, however.
  std::uint64_t starts = 0;  ///< That were begun.
  std::uint64_t failed_starts = 0;
  std::uint64_t evictions =
      0;                      ///< Idle instances that had to make room, or had been idle for long.
  std::uint64_t reloads = 0;  ///< Instances that took the place of one that still lived.
  std::uint64_t crashes = 0;  ///< Instances that died, or were killed.
  std::size_t lingering =
      0;  ///< Libraries of the process that are still mapped for a thread's sake.
};

}  // namespace troupe

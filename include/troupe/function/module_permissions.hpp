// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a module may do, and how it is kept apart from the program that calls it.
///
/// Layer: function.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <troupe/time/clock.hpp>

namespace troupe {

/// Where the code of a module runs.
enum class isolation : std::uint8_t {
  /// In this process: for modules that are trusted like the program itself. What they break is
  /// broken, and what never returns cannot be ended.
  in_process,
  /// In a child process of its own, in a sandbox: what it breaks is itself.
  process
};

/// What a module may do beyond computing. All but `may_call` is for modules in a process: one that
/// runs in this process may do what this process may.
struct module_permissions {
  std::vector<std::string> may_call{};  ///< The modules that it may call; "*": all.
  std::string may_read{};               ///< A directory that it may read; empty: none.
  bool network = false;                 ///< It may use the network.
  std::size_t memory = std::size_t{256}
                       << 20;  ///< Bytes that it may have beyond what it starts with.
  unsigned files = 16;         ///< Descriptors that it may have open.

  /// How far it gives way to others where there is not enough processor time for all, as `nice`
  /// does: 0, not at all, to 19. Limits of calls go by the clock: what gives way is late sooner.
  int niceness = 0;
  /// The share of a core that it may use while it has no call, by timers and work of its own. Above
  /// that, for a second or two, its process is killed. What a call uses is bounded by its limit.
  double idle_processor = 0.25;
};

}  // namespace troupe

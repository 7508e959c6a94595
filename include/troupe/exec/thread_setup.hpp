// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the system can do for a thread: a name, a core. The platform's part of exec/.
///
/// Layer: exec. Best effort: where the system cannot, nothing happens.

#include <string>
#include <thread>

#if defined(__linux__)
#  include <pthread.h>
#  include <sched.h>
#endif

namespace troupe::detail {

/// How many threads can run at once; at least 1.
inline unsigned core_count() noexcept {
  const unsigned cores = std::thread::hardware_concurrency();
  return cores != 0 ? cores : 1;
}

/// Linux keeps 15 characters: the suffix is what tells threads apart.
inline void name_this_thread([[maybe_unused]] const std::string& name,
                             [[maybe_unused]] const std::string& suffix) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), (name.substr(0, 15 - suffix.size()) + suffix).c_str());
#endif
}

inline void pin_this_thread([[maybe_unused]] unsigned core) noexcept {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core % core_count(), &set);
  sched_setaffinity(0, sizeof set, &set);
#endif
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
// What the library leaves to a replacement of its atomics.

#include <sched.h>

#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>

namespace troupe::detail {

void cpu_relax() noexcept { ::sched_yield(); }

thread_state& this_thread_state() noexcept {
  static constinit thread_local thread_state state;
  return state;
}

}  // namespace troupe::detail

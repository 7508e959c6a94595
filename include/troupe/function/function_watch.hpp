// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Processes that use the processor, or keep their callers waiting, for nothing that was asked.
///
/// Layer: function. A time limit of a call ends what runs because of that call; what a module does
/// of its own accord, by timers and work that it has posted, is looked at once a second.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The lock is held.
inline void function_core::watch_processes() noexcept {
  const bool any = std::any_of(instances_.begin(), instances_.end(), [](const auto& r) {
    return !r->closing && r->instance->kept() == isolation::process;
  });
  if (any) watch_alarm_.set(saturating_add(on_.now(), watch_every));
}

/// A process that had no call between two looks, nor at either, may have used its share, no more:
/// one that ended since the first has used the processor for its caller. One that has calls, and
/// has begun none of them, is to begin one, sooner or later.
inline const char* function_core::what_is_wrong(running_module& r, const process_look& seen,
                                                time_point now) noexcept {
  process_look& before = r.seen;
  const bool is_first = before.at == time_point{};
  const bool was_idle =
      !is_first && before.in_flight == 0 && r.in_flight == 0 && r.last_call == before.last_call;
  const bool is_stuck = !is_first && seen.begins_none && seen.progress == before.progress;
  const duration used = seen.processor_time - before.processor_time;
  const auto over = static_cast<double>((now - before.at).count());
  const double share = r.slot->options.permissions.idle_processor;
  if (!is_stuck) r.stuck_since = now;
  before = seen;
  before.at = now;
  if (was_idle && static_cast<double>(used.count()) > share * over) {
    return "it used the processor though it had no call";
  }
  if (is_stuck && now - r.stuck_since >= options_.stall_limit) {
    return "it did not begin the calls that it had";
  }
  return nullptr;
}

inline void function_core::look_at_processes() noexcept {
  struct look {
    intrusive_ptr<running_module> of;
    process_look seen;
    const char* why = nullptr;
  };
  std::vector<look> looks;
  {
    const spin_guard guard(lock_);
    watch_alarm_.is_set = false;
    if (watch_alarm_.stopped) return;
    for (const auto& r : instances_) {
      if (r->closing || r->instance->kept() != isolation::process) continue;
      look& one = looks.emplace_back(look{r, {}, nullptr});
      one.seen.last_call = r->last_call;
      one.seen.in_flight = r->in_flight;
    }
  }
  for (look& one : looks) {  // asks the kernel: not under the lock
    const module_instance& i = *one.of->instance;
    one.seen.processor_time = i.processor_time();
    one.seen.progress = i.progress();
    one.seen.begins_none = i.begins_none();
  }
  {
    const spin_guard guard(lock_);
    const time_point now = on_.now();
    for (look& one : looks) {
      if (!one.of->closing) one.why = what_is_wrong(*one.of, one.seen, now);
    }
    watch_processes();
  }
  for (const look& one : looks) {
    if (one.why == nullptr) continue;
    instance_failed(*one.of, errc::worker_stalled, one.why);
    one.of->instance->kill(errc::worker_stalled, one.why);
  }
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `co_await this_task::caller()`: who called the method that runs.
///
/// Layer: actor. Does not suspend.

#include <troupe/actor/caller.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/this_task.hpp>

namespace troupe::this_task {

/// The worker from whose turn the method was called within which this coroutine runs; nobody, if it
/// was called from outside, or this is no worker's code.
[[nodiscard]] inline auto caller() {
  return detail::frame_query([](detail::frame& f) noexcept {
    const detail::turn* const t = detail::turn_of(f.chain->call);
    return troupe::caller(intrusive_ptr<detail::cell>(t != nullptr ? t->called_by : nullptr));
  });
}

}  // namespace troupe::this_task

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Code of the program's that is called by the library and belongs to no worker: handlers,
/// cleaners.
///
/// Layer: actor. Lives on the stack around it.

#include <utility>

#include <troupe/coro/thread_state.hpp>

namespace troupe::detail {

/// While it stands, what this thread runs is the code of no worker and of no coroutine.
class outside_code {
public:
  outside_code() noexcept
      : state_(this_thread_state()),
        worker_(std::exchange(state_.plain_turn, nullptr)),
        chain_(std::exchange(state_.plain_chain, nullptr)),
        running_(std::exchange(state_.running, nullptr)) {}
  outside_code(const outside_code&) = delete;
  outside_code& operator=(const outside_code&) = delete;
  ~outside_code() {
    state_.plain_turn = worker_;
    state_.plain_chain = chain_;
    state_.running = running_;
  }

private:
  thread_state& state_;
  cell* const worker_;
  chain_link* const chain_;
  frame* const running_;
};

}  // namespace troupe::detail

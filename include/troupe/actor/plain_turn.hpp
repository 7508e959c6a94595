// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a thread knows while it runs a plain method out of a worker's mailbox.
///
/// Layer: actor. Lives on the stack of the method; allocates nothing.

#include <optional>
#include <string_view>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/coro/thread_state.hpp>

namespace troupe::detail {

/// Makes the worker known as the one whose code runs on this thread. Where that may block its
/// thread (`own_thread`), what it waits for is below a turn of its own, so that a cycle through a
/// blocked thread is found as well.
class plain_turn {
public:
  plain_turn(cell& c, turn* nested_in, chain_link* above, std::string_view method) noexcept
      : state_(this_thread_state()),
        outer_frame_(std::exchange(state_.running, nullptr)),
        outer_worker_(std::exchange(state_.plain_turn, &c)),
        outer_blocking_(std::exchange(state_.blocking, nullptr)) {
    if (c.runs_here()) return;
    blocking_.emplace(c, nested_in, above, method);
    state_.blocking = &*blocking_;
  }
  plain_turn(const plain_turn&) = delete;
  plain_turn& operator=(const plain_turn&) = delete;
  ~plain_turn() {
    state_.blocking = outer_blocking_;
    state_.plain_turn = outer_worker_;
    state_.running = outer_frame_;
  }

private:
  /// Holds the worker while its thread waits; nothing can nest in it.
  class blocking_turn final : public turn {
  public:
    blocking_turn(cell& c, turn* in, chain_link* link_above, std::string_view name) noexcept {
      open(c, in, link_above, name);
    }

  private:
    void ended() noexcept override {}
  };

  thread_state& state_;
  frame* const outer_frame_;
  cell* const outer_worker_;
  chain_link* const outer_blocking_;
  std::optional<blocking_turn> blocking_;
};

}  // namespace troupe::detail

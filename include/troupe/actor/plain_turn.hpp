// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a thread knows while it runs a plain method out of a worker's mailbox.
///
/// Layer: actor. Lives on the stack of the method; allocates nothing.

#include <memory>
#include <string_view>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>

namespace troupe::detail {

/// Makes the worker known as the one whose code runs on this thread. Where that may block its
/// thread (`own_thread`), what it waits for is below a turn of its own, so that a cycle through a
/// blocked thread is found as well.
class plain_turn {
public:
  plain_turn(cell& c, turn* nested_in, chain_link* above, const std::string_view& method) noexcept
      : state_(this_thread_state()),
        shown_(state_.record, c, method),
        outer_worker_(std::exchange(state_.plain_turn, &c)),
        outer_chain_(std::exchange(state_.plain_chain, above)) {
    if (outer_worker_ == &c) return;  // one of several that run here one after the other
    outer_frame_ = std::exchange(state_.running, nullptr);
    outer_blocking_ = std::exchange(state_.blocking, nullptr);
    if (c.runs_here()) return;
    std::construct_at(&blocking_, c, nested_in, above, method);
    may_block_ = true;
    state_.blocking = &blocking_;
    state_.plain_chain = &blocking_;
  }
  plain_turn(const plain_turn&) = delete;
  plain_turn& operator=(const plain_turn&) = delete;
  ~plain_turn() {
    state_.plain_chain = outer_chain_;
    if (state_.plain_turn == outer_worker_) return;
    state_.blocking = outer_blocking_;
    state_.plain_turn = outer_worker_;
    state_.running = outer_frame_;
    if (may_block_) std::destroy_at(&blocking_);
  }

  /// The turn of its own where it may block its thread, else `other`.
  chain_link& link_or(chain_link& other) noexcept { return may_block_ ? blocking_ : other; }

private:
  /// Holds the worker while its thread waits; nothing can nest in it.
  class blocking_turn final : public turn {
  public:
    blocking_turn(cell& c, turn* in, chain_link* link_above,
                  const std::string_view& name) noexcept {
      open(c, in, link_above, name);
    }

  private:
    void ended() noexcept override {}
  };

  thread_state& state_;
  const serving shown_;
  cell* const outer_worker_;
  chain_link* const outer_chain_;
  frame* outer_frame_ = nullptr;
  chain_link* outer_blocking_ = nullptr;
  bool may_block_ = false;  // blocking_ is alive
  union {
    blocking_turn blocking_;
  };
};

}  // namespace troupe::detail

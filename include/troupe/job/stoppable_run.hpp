// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A coroutine that somebody else can ask to stop, without stopping who awaits it.
///
/// Layer: job.

#include <coroutine>
#include <cstdint>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// The link above one child. `request_stop` may come at any time of its life.
class stoppable_run final : public chain_link, private completion {
public:
  explicit stoppable_run(frame& child) noexcept
      : chain_link(link_kind::scope), completion(&stoppable_run::on_done), child_(child) {}

  class awaiter {
  public:
    awaiter(stoppable_run& run, frame& parent) noexcept : run_(run), parent_(parent) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) noexcept { return run_.start(parent_); }
    void await_resume() const noexcept {}

  private:
    stoppable_run& run_;
    frame& parent_;
  };
  class operation {
  public:
    explicit operation(stoppable_run& run) noexcept : run_(run) {}
    awaiter await_by(frame& parent) && noexcept { return awaiter(run_, parent); }

  private:
    stoppable_run& run_;
  };

  /// Awaited once, runs the child to its end.
  operation run() noexcept { return operation(*this); }

private:
  TROUPE_NOINLINE inline bool start(frame& parent) noexcept;

  void release() noexcept {
    if (users_.fetch_sub(1, order::acq_rel) == 1) parent_->where->resume(*parent_);
  }
  static void on_done(completion& c) noexcept { static_cast<stoppable_run&>(c).release(); }

  frame& child_;
  frame* parent_ = nullptr;
  atomic<std::uint32_t> users_{0};  // the child and the starter: the last one resumes the parent
};

bool stoppable_run::start(frame& parent) noexcept {
  join(parent.chain);
  make_stoppable();
  limited = true;
  parent_ = &parent;
  users_.store(2, order::relaxed);
  bool* const flag = std::exchange(parent.completed_inline, nullptr);
  child_.inherit(parent);
  child_.chain = this;
  child_.then = this;
  thread_state& state = this_thread_state();
  if (child_.depth % nesting_limit == 0) {
    child_.where->post(child_);
  } else if (start_inline(child_, state)) {
    release();
  }
  if (users_.fetch_sub(1, order::acq_rel) != 1) return true;
  parent.completed_inline = flag;
  state.running = &parent;
  return false;
}

}  // namespace troupe::detail

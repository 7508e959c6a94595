// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A borrowing call of a method that is a coroutine: a turn, and before it, where the worker is
/// busy, a message that waits for it.
///
/// Layer: actor. Lives in the caller's frame; allocates only the method's frame.

#include <coroutine>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

#include <troupe/actor/call_info.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

/// Awaits the call. The message is made only where the call does not run at once, the turn only
/// when the method does run.
template <class Invocation>
class coroutine_call {
public:
  using result = typename Invocation::result;

  coroutine_call(cell& target, Invocation& made, frame& caller) noexcept
      : target_(target), invocation_(made), caller_(caller) {}
  coroutine_call(const coroutine_call&) = delete;
  coroutine_call& operator=(const coroutine_call&) = delete;
  ~coroutine_call() {
    if (has_turn_ || is_queued_) clear();
  }

  bool await_ready() noexcept {
    if (caller_.budget != 0) --caller_.budget;
    return false;
  }
  bool await_suspend(std::coroutine_handle<>) noexcept { return issue(*this); }
  result await_resume() {
    if (result_.failed() || record_.outcome != call_outcome::running) tell_observers();
    return result_.take();
  }

private:
  /// The method's turn.
  class method_turn final : public turn {
  public:
    method_turn(coroutine_call& of, cell& c, turn* nested) noexcept
        : turn(c, nested, *of.caller_.chain, Invocation::name()), call_(of) {
      called_by = caller_above(of.caller_.chain);
    }

    /// Makes the method's coroutine; `nullptr`: it has failed, or was refused.
    TROUPE_ALWAYS_INLINE frame* prepare() noexcept;

    /// The method has ended at once.
    TROUPE_ALWAYS_INLINE void ended_at_once() noexcept {
      call_.caller_.budget = method_.promise().budget;
      finish();
    }

    const frame* caller_frame() const noexcept override { return &call_.caller_; }

  private:
    void ended() noexcept override {
      finish();
      frame& caller = call_.caller_;
      caller.where->resume(caller);
    }
    TROUPE_ALWAYS_INLINE void finish() noexcept {
      if (call_.result_.failed() || worker().has_hooks()) finish_slowly();
    }
    void finish_slowly() noexcept;
    bool refused_by_hook() noexcept;
    void fail_to_begin(std::exception_ptr thrown) noexcept;
    call_facts facts() noexcept {
      return {Invocation::called(), call_kind::call, called_by, *this};
    }

    coroutine_call& call_;
    started_task<result> method_;
  };

  /// The call where it could not run at once.
  class queued final : public pending_call {
  public:
    explicit queued(coroutine_call& of) noexcept
        : pending_call(of.target_, of.caller_), call_(of) {}

    cell& reached() const noexcept { return target(); }
    const std::string_view& method_name() const noexcept override { return Invocation::name(); }

  private:
    void fail(std::exception_ptr e) noexcept override { call_.result_.fail(std::move(e)); }
    turn_state run(cell& c, turn* nested) noexcept override {
      method_turn& t = *std::construct_at(&call_.turn_, call_, c, nested);
      call_.has_turn_ = true;
      frame* const method = t.prepare();
      if (method == nullptr) return turn_state::ended;
      const turn_state state = t.begin_turn(*method);
      if (state == turn_state::ended) t.ended_at_once();
      return state;
    }

    coroutine_call& call_;
  };

  TROUPE_NOINLINE static bool issue(coroutine_call& self) noexcept;
  TROUPE_NOINLINE static bool issue_queued(coroutine_call& self) noexcept {
    self.is_queued_ = true;
    return std::construct_at(&self.queued_, self)->issue();
  }
  TROUPE_NOINLINE void clear() noexcept {
    if (has_turn_) std::destroy_at(&turn_);
    if (is_queued_) std::destroy_at(&queued_);
  }
  TROUPE_NOINLINE void tell_observers() noexcept {
    tell_of_settled(is_queued_ ? queued_.reached() : target_, caller_, Invocation::name(), record_,
                    result_.failed() ? &result_.error() : nullptr);
  }

  cell& target_;
  Invocation& invocation_;
  frame& caller_;
  bool has_turn_ = false;   // turn_ is alive
  bool is_queued_ = false;  // queued_ is alive
  result_slot<result> result_;
  call_record record_;  // of the hooks
  union {
    method_turn turn_;
  };
  union {
    queued queued_;
  };
};

/// True if the caller is suspended. Where the worker is idle, and nothing else speaks against it,
/// the method runs on this stack.
template <class Invocation>
bool coroutine_call<Invocation>::issue(coroutine_call& self) noexcept {
  frame& f = self.caller_;
  cell& c = self.target_;
  const bool has_room = (f.depth + 1) % nesting_limit != 0;  // on the stack
  if (f.budget == 0 || f.fork_calls || !has_room || is_past_limits(f) || !c.enter_fast()) {
    return issue_queued(self);
  }
  method_turn& t = *std::construct_at(&self.turn_, self, c, nullptr);
  if (frame* const method = t.prepare()) {
    thread_state& state = *f.thread;
    if (!t.run_here(*method, state, &f)) {
      self.has_turn_ = true;
      f.park();
      if (t.keep_open(state, &f) == turn_state::suspended) c.leave();
      return true;
    }
    t.ended_at_once();
  }
  c.leave_fast();
  std::destroy_at(&t);  // here, while it is at hand
  return false;
}

template <class Invocation>
TROUPE_ALWAYS_INLINE frame* coroutine_call<Invocation>::method_turn::prepare() noexcept {
  cell& c = worker();
  frame& f = call_.caller_;
  c.count_turn();
  c.note_get();
  if (c.has_hooks() && refused_by_hook()) return nullptr;
  try {
    method_ = started_task<result>(
        call_.invocation_(c.object_of(Invocation::called()), called_by).release());
  } catch (...) {
    fail_to_begin(std::current_exception());
    return nullptr;
  }
  task_promise<result>& method = method_.promise();
  method.result = &call_.result_;
  method.parent = &f;
  method.depth = f.depth + 1;
  method.budget = f.budget;  // one budget for all that runs on top of each other
  return &method;
}

template <class Invocation>
TROUPE_NOINLINE bool coroutine_call<Invocation>::method_turn::refused_by_hook() noexcept {
  std::exception_ptr thrown;
  if (!worker().refused_by_hook(facts(), call_.record_, thrown)) return false;
  call_.result_.fail(std::move(thrown));
  return true;
}

/// There is no memory for its coroutine, or its parameters could not be made.
template <class Invocation>
TROUPE_NOINLINE void coroutine_call<Invocation>::method_turn::fail_to_begin(
    std::exception_ptr thrown) noexcept {
  call_.result_.fail(as_seen_by_caller(std::move(thrown), worker()));
  finish();
}

/// Only where it failed, or there are hooks, is anything left to do.
template <class Invocation>
TROUPE_NOINLINE void coroutine_call<Invocation>::method_turn::finish_slowly() noexcept {
  cell& c = worker();
  result_slot<result>& got = call_.result_;
  std::exception_ptr thrown;
  if (got.failed()) {
    thrown = as_seen_by_caller(got.error(), c);
    got.fail(thrown);
  }
  c.after_hook(facts(), call_.record_, thrown);
  if (thrown) c.turn_failed(Invocation::name(), thrown);
}

}  // namespace troupe::detail

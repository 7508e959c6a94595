// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A borrowing call of a plain method: at once, on the caller's stack, or as a message that waits.
///
/// Layer: actor. Lives in the caller's frame; allocates nothing.

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
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/turn_record.hpp>

namespace troupe::detail {

/// The call where it could not run at once.
template <class Invocation>
class pending_plain final : public pending_call {
public:
  using result = typename Invocation::result;

  pending_plain(cell& target, frame& caller, Invocation& call) noexcept
      : pending_call(target, caller), call_(call) {
    runs_plain = true;
  }
  /// Neither is inlined: it would be in the way of the calls that run at once.
  TROUPE_NOINLINE ~pending_plain() {}

  TROUPE_NOINLINE result take() {
    if (result_.failed() || record_.outcome != call_outcome::running) {
      tell_of_settled(target(), caller(), method_name(), record_,
                      result_.failed() ? &result_.error() : nullptr);
    }
    return result_.take();
  }
  const std::string_view& method_name() const noexcept override { return Invocation::name(); }

private:
  void fail(std::exception_ptr e) noexcept override { result_.fail(std::move(e)); }
  turn_state run(cell& c, turn*) noexcept override;
  void run_hooked(cell& c, turn* nested) noexcept;
  void invoke(cell& c, cell* from) noexcept;

  Invocation& call_;
  call_record record_;  // of the hooks
  result_slot<result> result_;
};

template <class Invocation>
turn_state pending_plain<Invocation>::run(cell& c, turn* nested) noexcept {
  c.count_turn();
  c.note_get();
  if (c.has_hooks()) {
    run_hooked(c, nested);
  } else {
    const plain_turn scope(c, nested, caller().chain, Invocation::name());
    invoke(c, caller_above(caller().chain));
    if (result_.failed()) c.turn_failed(Invocation::name(), result_.error());
  }
  return turn_state::ended;
}

template <class Invocation>
void pending_plain<Invocation>::invoke(cell& c, cell* from) noexcept {
  try {
    result_.emplace_from(
        [&]() -> result { return call_(c.object_of(Invocation::called()), from); });
  } catch (...) {
    // A plain method awaits nothing; only where it may block can it have been stopped mid-way.
    std::exception_ptr thrown = std::current_exception();
    if (!c.runs_here()) thrown = as_seen_by_caller(std::move(thrown), c);
    result_.fail(std::move(thrown));
  }
}

template <class Invocation>
TROUPE_NOINLINE void pending_plain<Invocation>::run_hooked(cell& c, turn* nested) noexcept {
  cell* const from = caller_above(caller().chain);
  span_link span(caller().chain);
  plain_turn scope(c, nested, c.runs_here() ? &span : caller().chain, Invocation::name());
  const call_facts facts{Invocation::called(), call_kind::call, from, scope.link_or(span)};
  std::exception_ptr thrown;
  if (c.refused_by_hook(facts, record_, thrown)) {
    result_.fail(std::move(thrown));
    return;
  }
  invoke(c, from);
  if (result_.failed()) thrown = result_.error();
  c.after_hook(facts, record_, thrown);
  if (thrown) c.turn_failed(Invocation::name(), thrown);
}

/// What ends a plain method that was entered by the fast path, also when it throws. Always inlined,
/// like all on that path: left to themselves, compilers take some of it out of line, now this, now
/// that.
class inline_turn {
public:
  TROUPE_ALWAYS_INLINE inline_turn(cell& c, frame& f, const std::string_view& method) noexcept
      : cell_(c), record_(f.thread->record) {
    record_.call(c, method, c.count_turn());
  }
  inline_turn(const inline_turn&) = delete;
  inline_turn& operator=(const inline_turn&) = delete;
  TROUPE_ALWAYS_INLINE ~inline_turn() {
    record_.call_ended();
    cell_.leave_fast();
  }

private:
  cell& cell_;
  turn_record& record_;  // of the thread that a plain method stays on
};

/// Awaits a borrowing call of a plain method. The part that waits is made only where the call does
/// not run at once.
template <class Invocation>
class plain_call {
public:
  using result = typename Invocation::result;

  plain_call(cell& target, Invocation& call, frame& caller) noexcept
      : target_(target), call_(call), caller_(caller) {}
  plain_call(const plain_call&) = delete;
  plain_call& operator=(const plain_call&) = delete;
  ~plain_call() {
    if (issued_) std::destroy_at(&pending_);
  }

  /// Runs the method if it can be run at once. Here, and not in `await_resume`: of two calls in one
  /// expression GCC 12 asks both whether they are ready before it resumes either, and the first
  /// would hold its worker meanwhile (docs/compilers.md).
  TROUPE_ALWAYS_INLINE bool await_ready() {
    frame& f = caller_;
    if (f.budget == 0) return false;
    --f.budget;
    if (f.fork_calls || (f.chain->limited && looks_past_limits(f))) return false;
    if (!target_.enter_fast()) return false;
    run_inline();
    return true;
  }

  bool await_suspend(std::coroutine_handle<>) noexcept { return issue(*this); }

  result await_resume() {
    if (!issued_) return result_.take();
    return pending_.take();
  }

private:
  TROUPE_NOINLINE static bool issue(plain_call& self) noexcept {
    std::construct_at(&self.pending_, self.target_, self.caller_, self.call_);
    self.issued_ = true;
    return self.pending_.issue();
  }

  TROUPE_ALWAYS_INLINE void run_inline() {
    cell* const from = Invocation::takes_caller ? caller_above(caller_.chain) : nullptr;
    const inline_turn turn(target_, caller_, Invocation::name());
    try {
      result_.emplace_from([&]() -> result { return call_(target_.instance(), from); });
    } catch (...) {
      target_.turn_failed(Invocation::name(), std::current_exception());
      throw;
    }
  }

  cell& target_;
  Invocation& call_;
  frame& caller_;
  bool issued_ = false;         // pending_ is alive
  result_slot<result> result_;  // of the fast path
  union {
    pending_plain<Invocation> pending_;
  };
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A one-way message: it owns its arguments, runs in its turn, and nobody waits for it.
///
/// Layer: actor. One pooled block per tell.

#include <cstdint>
#include <exception>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/actor/call_info.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/span.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>

namespace troupe::detail {

/// The worker whose code runs on this thread now, as far as it is known; `nullptr`: none.
inline cell* worker_of_this_thread() noexcept {
  const thread_state& state = this_thread_state();
  if (state.plain_turn != nullptr) return state.plain_turn;
  const frame* const f = state.running;
  if (f == nullptr) return nullptr;
  if (cell* const called = state.record.called.load()) return called;
  return caller_above(f->chain);
}

/// The trace and the span of the code that runs on this thread now; nothing, where it has none.
inline trace_context trace_of_this_thread() noexcept {
  const thread_state& state = this_thread_state();
  if (frame* const f = state.running) return trace_of(*f->chain, f->where->base());
  if (state.plain_turn == nullptr || state.plain_chain == nullptr) return {};
  return trace_of(*state.plain_chain, state.plain_turn->place().base());
}

/// The part of a tell that does not depend on the method. Deletes itself when it is over.
class tell_base : public message {
public:
  virtual ~tell_base() = default;

  void refuse(const refusal& r) noexcept final {
    if (target_->owner().observes) tell_observers_of(r);
    target_->owner().dead(*target_, method_name(), r.why(), r.make(), from_.get());
    delete this;
  }

  bool move_to(cell& c) noexcept final {
    target_ = &c;
    return true;
  }

  /// Hands the tell to its worker. False if that refused it; then it is a dead letter.
  bool send() noexcept;

protected:
  explicit tell_base(cell& target) noexcept
      : message(message_kind::tell), target_(&target), from_(worker_of_this_thread()) {}

  /// The method has thrown.
  void method_failed(std::exception_ptr thrown) noexcept {
    target_->turn_failed(method_name(), thrown);
    failed(std::move(thrown));
  }

  /// The method, or a hook before it, has thrown.
  void failed(std::exception_ptr thrown) noexcept {
    target_->owner().dead(*target_, method_name(), std::error_code(), std::move(thrown),
                          from_.get());
  }

  /// It has ended, or was refused: those who observe are told, and of what nobody awaits.
  void settled(const call_facts& facts, const call_record& record,
               std::exception_ptr thrown) noexcept {
    if (target_->owner().observes) {
      const troupe::caller who(from_);
      target_->owner().settled(*target_, call_info(facts, who, target_->owner().where(),
                                                   record.outcome, record.took, thrown));
    }
    if (thrown) failed(std::move(thrown));
  }

  cell& target() const noexcept { return *target_; }
  cell* from() const noexcept { return from_.get(); }

  /// Where it comes from, as far as anybody wants to know.
  virtual trace_context sent_in() const noexcept { return {}; }

private:
  void tell_observers_of(const refusal& r) noexcept;

  cell* target_;  // refers to itself for as long as a message waits
  intrusive_ptr<cell> from_;
};

TROUPE_NOINLINE inline void tell_base::tell_observers_of(const refusal& r) noexcept {
  span_link link(nullptr);
  link.trace = sent_in();
  const troupe::caller who(from_);
  const call_facts facts{{method_name(), nullptr}, call_kind::tell, from(), link};
  target_->owner().settled(*target_, call_info(facts, who, target_->owner().where(),
                                               call_outcome::not_run, duration::zero(), r.make()));
}

inline bool tell_base::send() noexcept {
  intrusive_ptr<cell> heir;  // counted meanwhile; its capacity counts
  if (target_->abandoned()) {
    heir = target_->current();
    target_ = heir.get();
  }
  cell& c = *target_;
  c.begin_wait(*this);
  if (!c.has_room() && (c.options().overflow != overflow::drop_old || !c.drop_oldest())) {
    refuse(refusal(errc::mailbox_full, c));
    return false;
  }
  std::uintptr_t seen = c.word();
  return c.push(*this, seen) || c.deliver(*this);
}

/// The trace of a tell that nobody observes.
struct untraced {
  operator trace_context() const noexcept { return {}; }
};

/// A tell of a plain method. `Trace`: what it keeps of the trace in which it was sent.
template <class Invocation, class Trace>
class plain_tell final : public tell_base, public pooled {
public:
  plain_tell(cell& target, Invocation&& call) : tell_base(target), call_(std::move(call)) {
    runs_plain = true;
    if constexpr (std::is_same_v<Trace, trace_context>) trace_ = trace_of_this_thread();
  }

  const std::string_view& method_name() const noexcept override { return Invocation::name(); }

private:
  trace_context sent_in() const noexcept override { return trace_; }

  turn_state start(cell& c, turn*) noexcept override {
    span_link span(nullptr);
    plain_turn scope(c, nullptr, c.runs_here() ? &span : nullptr, Invocation::name());
    chain_link& link = scope.link_or(span);
    link.trace = sent_in();
    const call_facts facts{Invocation::called(), call_kind::tell, from(), link};
    call_record record;
    std::exception_ptr thrown;
    c.count_tell();
    c.note_get();
    if (!c.refused_by_hook(facts, record, thrown)) {
      try {
        static_cast<void>(call_(c.object_of(Invocation::called()), from()));
      } catch (...) {
        thrown = std::current_exception();
      }
      c.after_hook(facts, record, thrown);
      if (thrown) c.turn_failed(Invocation::name(), thrown);
    }
    settled(facts, record, std::move(thrown));
    delete this;
    return turn_state::ended;
  }

  void run_plain(cell& c) noexcept override {
    const serving shown(this_thread_state().record, c, Invocation::name());
    try {
      c.count_tell();
      static_cast<void>(call_(c.instance(), from()));
    } catch (...) {
      method_failed(std::current_exception());
    }
    delete this;
  }

  Invocation call_;
  TROUPE_NO_UNIQUE_ADDRESS Trace trace_{};
};

/// A tell of a method that is a coroutine.
template <class Invocation>
class coroutine_tell final : public tell_base, public turn, public pooled {
public:
  using result = typename Invocation::result;

  coroutine_tell(cell& target, Invocation&& made) : tell_base(target), call_(std::move(made)) {
    trace = trace_of_this_thread();
  }

  const std::string_view& method_name() const noexcept override { return Invocation::name(); }

private:
  turn_state start(cell& c, turn* nested) noexcept override {
    open_as_root(c, nested, Invocation::name());
    called_by = from();
    c.count_tell();
    c.note_get();
    std::exception_ptr thrown;
    if (c.refused_by_hook(facts(), record_, thrown)) {
      settled(facts(), record_, std::move(thrown));
      delete this;
      return turn_state::ended;
    }
    try {
      method_.emplace(call_(c.object_of(Invocation::called()), from()).release());
    } catch (...) {
      result_.fail(std::current_exception());
      ended();
      return turn_state::ended;
    }
    method_->promise().result = &result_;
    method_->promise().refill();
    const turn_state state = begin_turn(method_->promise());
    if (state == turn_state::ended) ended();
    return state;
  }

  void ended() noexcept override {
    std::exception_ptr thrown;
    if (result_.failed()) thrown = result_.error();
    target().after_hook(facts(), record_, thrown);
    if (thrown) target().turn_failed(Invocation::name(), thrown);
    settled(facts(), record_, std::move(thrown));
    delete this;
  }

  call_facts facts() noexcept { return {Invocation::called(), call_kind::tell, from(), *this}; }
  trace_context sent_in() const noexcept override { return trace; }

  Invocation call_;
  call_record record_;
  result_slot<result> result_;
  std::optional<started_task<result>> method_;  // destroyed before the slot it writes to
};

/// Makes the tell of `call`, ready to be sent.
template <class Invocation>
TROUPE_ALWAYS_INLINE tell_base* new_tell(cell& target, Invocation&& call) {
  if constexpr (Invocation::is_coroutine) {
    return new coroutine_tell<Invocation>(target, std::move(call));
  } else {
    using traced = plain_tell<Invocation, trace_context>;
    using plain = plain_tell<Invocation, untraced>;
    if (target.owner().observes) return new traced(target, std::move(call));
    return new plain(target, std::move(call));
  }
}

}  // namespace troupe::detail

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
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>
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

/// The part of a tell that does not depend on the method. Deletes itself when it is over.
class tell_base : public message {
public:
  virtual ~tell_base() = default;

  void refuse(const refusal& r) noexcept final {
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

  /// The method, or a hook before it, has thrown.
  void failed(std::exception_ptr thrown) noexcept {
    target_->owner().dead(*target_, method_name(), std::error_code(), std::move(thrown),
                          from_.get());
  }

  cell& target() const noexcept { return *target_; }
  cell* from() const noexcept { return from_.get(); }

private:
  cell* target_;  // refers to itself for as long as a message waits
  intrusive_ptr<cell> from_;
};

inline bool tell_base::send() noexcept {
  cell& c = *target_;
  if (!c.has_room() && (c.options().overflow != overflow::drop_old || !c.drop_oldest())) {
    refuse(refusal(errc::mailbox_full, c));
    return false;
  }
  std::uintptr_t seen = c.word();
  return c.push(*this, seen) || c.deliver(*this);
}

/// A tell of a plain method.
template <class Invocation>
class plain_tell final : public tell_base, public pooled {
public:
  plain_tell(cell& target, Invocation&& call) : tell_base(target), call_(std::move(call)) {
    runs_plain = true;
  }

  const std::string_view& method_name() const noexcept override { return Invocation::name(); }

private:
  turn_state start(cell& c, turn*) noexcept override {
    const plain_turn scope(c, nullptr, nullptr, Invocation::name());
    std::exception_ptr thrown;
    c.count_call();
    if (!c.refused_by_hook(Invocation::name(), from(), thrown)) {
      try {
        static_cast<void>(call_(c.instance(), from()));
      } catch (...) {
        thrown = std::current_exception();
      }
      c.after_hook(Invocation::name(), from(), thrown);
    }
    if (thrown) failed(std::move(thrown));
    delete this;
    return turn_state::ended;
  }

  void run_plain(cell& c) noexcept override {
    const serving shown(this_thread_state().record, c, Invocation::name());
    try {
      c.count_turn();
      static_cast<void>(call_(c.instance(), from()));
    } catch (...) {
      failed(std::current_exception());
    }
    delete this;
  }

  Invocation call_;
};

/// A tell of a method that is a coroutine.
template <class Invocation>
class coroutine_tell final : public tell_base, public turn, public pooled {
public:
  using result = typename Invocation::result;

  coroutine_tell(cell& target, Invocation&& made) : tell_base(target), call_(std::move(made)) {}

  const std::string_view& method_name() const noexcept override { return Invocation::name(); }

private:
  turn_state start(cell& c, turn* nested) noexcept override {
    open_as_root(c, nested, Invocation::name());
    called_by = from();
    c.count_call();
    std::exception_ptr thrown;
    if (c.refused_by_hook(Invocation::name(), from(), thrown)) {
      failed(std::move(thrown));
      delete this;
      return turn_state::ended;
    }
    try {
      method_.emplace(call_(c.instance(), from()).release());
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
    target().after_hook(Invocation::name(), from(), thrown);
    if (thrown) failed(std::move(thrown));
    delete this;
  }

  Invocation call_;
  result_slot<result> result_;
  std::optional<started_task<result>> method_;  // destroyed before the slot it writes to
};

template <class Invocation>
using tell_of = std::conditional_t<Invocation::is_coroutine, coroutine_tell<Invocation>,
                                   plain_tell<Invocation>>;

}  // namespace troupe::detail

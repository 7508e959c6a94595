// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A timer of a worker (`context::after`, `context::every`): when it fires, its function runs as a
/// turn.
///
/// Layer: actor. One pooled block per timer.

#include <cstdint>
#include <exception>
#include <optional>
#include <string_view>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

/// Counted: the worker's life lists it until it has fired for the last time or is stopped; the
/// mailbox holds it while it waits for its turn, or has it.
class context_timer final : public message, public turn, public timer, public pooled {
public:
  using function = unique_function<task<>()>;

  context_timer(cell& c, duration first, duration again, function f)
      : message(message_kind::timer),
        timer(&context_timer::on_time),
        cell_(c),
        first_(first),
        again_(again),
        function_(std::move(f)) {}

  /// Lists and arms it; the life holds it from here on.
  void begin();

  /// Called when the worker closes, by its holder, with the timer taken out of the list.
  void stop() noexcept {
    stopped_ = true;
    cell_.owner().where().disarm(*this);  // `on_time` is over, or will never be
    release();
  }

  inline turn_state start(cell& c, turn* nested) noexcept override;
  void refuse(const refusal&) noexcept override { release(); }
  const std::string_view& method_name() const noexcept override {
    static constexpr std::string_view name = "timer";
    return name;
  }

  /// Into the list that starts at `first`; out of it. The holder.
  void link(context_timer*& first) noexcept {
    next_ = first;
    link_ = &first;
    if (next_ != nullptr) next_->link_ = &next_;
    first = this;
  }
  void unlink() noexcept {
    *link_ = next_;
    if (next_ != nullptr) next_->link_ = link_;
  }

private:
  ~context_timer() = default;

  /// Fires: the message enters the mailbox. On whichever thread advances the timers.
  static void on_time(timer& t) noexcept {
    auto& self = static_cast<context_timer&>(t);
    self.references_.fetch_add(1, order::relaxed);
    static_cast<void>(self.cell_.deliver(self));
  }

  void arm(duration d) {
    executor& e = cell_.owner().where();
    e.arm(*this, saturating_add(e.now(), d));
  }

  inline void ended() noexcept override;
  void release() noexcept {
    if (references_.fetch_sub(1, order::acq_rel) == 1) delete this;
  }

  cell& cell_;
  const duration first_;
  const duration again_;  // zero: once
  function function_;
  context_timer* next_ = nullptr;   // of the worker's timers; the holder's
  context_timer** link_ = nullptr;  // the pointer that points here; the holder's
  bool stopped_ = false;            // the holder's
  atomic<std::uint32_t> references_{1};
  result_slot<void> result_;
  std::optional<started_task<void>> steps_;  // destroyed before the slot it writes to
};

inline turn_state context_timer::start(cell& c, turn* nested) noexcept {
  if (stopped_) {
    release();
    return turn_state::ended;
  }
  open_as_root(c, nested, method_name());
  c.count_turn();
  c.owner().timer_ran();
  try {
    const plain_turn scope(c, nullptr, nullptr, method_name());
    task<> steps = function_();
    if (steps) steps_.emplace(steps.release());
  } catch (...) {
    result_.fail(std::current_exception());
  }
  if (steps_) {
    steps_->promise().result = &result_;
    steps_->promise().refill();
    const turn_state left = begin_turn(steps_->promise());
    if (left != turn_state::ended) return left;
  }
  ended();
  return turn_state::ended;
}

inline void context_timer::ended() noexcept {
  if (result_.failed()) {
    cell_.turn_failed(method_name(), result_.error());
    cell_.owner().dead(cell_, "timer", std::error_code(), result_.error(), &cell_);
    result_.fail(nullptr);
  }
  steps_.reset();
  if (!stopped_ && again_ != duration::zero()) {
    reopen();
    arm(again_);
  } else if (!stopped_) {
    stopped_ = true;
    unlink();
    release();  // the life's reference
  }
  release();  // the mailbox's
}

}  // namespace troupe::detail

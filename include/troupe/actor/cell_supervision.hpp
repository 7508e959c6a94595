// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a cell does when its worker has failed: the bodies of `cell` that concern it.
///
/// Layer: actor. The holder's, unless said otherwise; nothing of it is on the path of a call that
/// does not throw.
///
/// A failed turn leaves its directive in the cell. Where the turn is over, `serve` carries it out:
/// closes the instance, and for a restart makes the next one, with or without a message that wants
/// it. Meanwhile the cell is held, so that who calls waits in line; for the pause before a restart
/// it is held by nobody but a timer, from which a close takes it.

#include <exception>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_life.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/outside_code.hpp>
#include <troupe/actor/supervision.hpp>
#include <troupe/actor/supervisor.hpp>
#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

// --- what is to be done --------------------------------------------------------------------------

/// True if a turn has ended because it was asked to.
inline bool was_asked_to_stop(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code() == std::errc::operation_canceled;
  } catch (...) {
    return false;
  }
}

inline directive ask(const supervision& s, const std::exception_ptr& error) noexcept {
  if (s.decide == nullptr) return s.on_failure;
  const outside_code outside;
  try {
    return s.decide(error);
  } catch (...) {
    return directive::escalate;
  }
}

inline const supervision& cell::supervision_in_force() const noexcept {
  const supervision& own = options().supervise;
  const bool inherits = own.on_failure == directive::inherit && own.decide == nullptr;
  return inherits ? owner_.supervise : own;
}

/// Asks whom it concerns, tells who watches, and counts: `resume`, `restart` or `stop`.
inline directive cell::reaction_to(std::string_view method,
                                   const std::exception_ptr& error) noexcept {
  const supervision* s = &supervision_in_force();
  const bool may_matter = s->on_failure > directive::resume || s->decide != nullptr ||
                          supervisor_.load(order::relaxed) != nullptr;
  if (!may_matter || was_asked_to_stop(error)) return directive::resume;
  directive d = ask(*s, error);
  if (d == directive::inherit && s != &owner_.supervise) {  // said by `decide`
    s = &owner_.supervise;
    d = ask(*s, error);
  }
  if (d == directive::escalate) d = escalate(method, error, 0);
  if (d == directive::inherit) d = directive::resume;
  if (d == directive::restart) d = count_restart(*s, method, error);
  notify(worker_notice::failed, method, error, d);
  return d;
}

/// Where there were too many within the period, the broker's handler decides. Without memory to
/// count them they are not limited.
inline directive cell::count_restart(const supervision& s, std::string_view method,
                                     const std::exception_ptr& error) noexcept try {
  supervisor& sup = supervisor_of();
  executor& e = owner_.where();
  if (sup.allows_restart(s, e.now(), e.random())) return directive::restart;
  const directive d = escalate(method, error, sup.restarts());
  if (d == directive::restart) sup.allow_once_more(s, e.now(), e.random());
  return d;
} catch (...) {
  return directive::restart;
}

inline directive cell::escalate(std::string_view method, const std::exception_ptr& error,
                                unsigned restarts) noexcept {
  try {
    const directive d = owner_.escalated(worker_failure(id(), method, error, restarts));
    return d == directive::resume || d == directive::restart ? d : directive::stop;
  } catch (...) {
    return directive::stop;  // no memory for the report
  }
}

inline void cell::notify(worker_notice::kind_type kind, std::string_view method,
                         const std::exception_ptr& error, directive follows) noexcept {
  supervisor* const s = supervisor_.load(order::acquire);
  if (s == nullptr || s->watchers.empty()) return;
  try {
    const worker_id who = id();
    s->watchers.tell(worker_notice(kind, who, method, error, follows));
  } catch (...) {
    // No memory for the name.
  }
}

// --- how it is done ------------------------------------------------------------------------------

TROUPE_NOINLINE inline void cell::turn_failed(std::string_view method,
                                              const std::exception_ptr& error) noexcept {
  if (abandoned()) return;  // it goes in any case, and another one is there
  const directive d = reaction_to(method, error);
  if (d <= after_turn_) return;
  after_turn_ = d;
  if (d == directive::stop) {  // who calls from now on is for the next instance
    put_back();
    refuse_waiting(errc::worker_stopped);
  }
  std::uintptr_t plain = word_plain;  // so that leave_fast looks here
  word_.compare_exchange_strong(plain, word_held, order::relaxed, order::relaxed);
}

/// The failed turn is over. False if the cell is not the caller's any more.
inline bool cell::supervise() noexcept {
  const directive d = std::exchange(after_turn_, directive::resume);
  if (instance_ == nullptr) return true;
  put_back();  // where it can be withdrawn
  restart_wanted_ = d == directive::restart;
  return close_instance(nullptr) != turn_state::open;
}

inline supervisor& cell::supervisor_of() {
  supervisor* known = supervisor_.load(order::acquire);
  if (known != nullptr) return *known;
  auto made = std::make_unique<supervisor>(*this);
  if (supervisor_.compare_exchange_strong(known, made.get(), order::release, order::acquire)) {
    return *made.release();
  }
  return *known;
}

// --- the pause before a restart ------------------------------------------------------------------

/// Among what waits. The mailbox lock is held, and the inbox is in the queue.
inline bool cell::close_is_waiting() const noexcept {
  for (const message* m = queue_.front(); m != nullptr; m = message_queue::newer(*m)) {
    if (m->kind == message_kind::close) return true;
  }
  return false;
}

inline bool cell::has_to_rest() const noexcept {
  const supervisor* const s = supervisor_.load(order::acquire);
  return s != nullptr && s->not_before > owner_.where().now();
}

/// True if no instance is to be made yet: then the cell is the timer's, or has been handed over.
/// Without memory for a timer, or where a close waits, there is no pause. The executor's own code
/// is called with no lock held.
inline bool cell::rests() noexcept {
  if (!has_to_rest()) return false;
  supervisor* const s = supervisor_.load(order::acquire);
  put_back();  // where it can be withdrawn
  if (begin_rest(*s)) return true;
  s->not_before = time_point();
  hand_over();
  return true;
}

/// True if the cell is the timer's.
inline bool cell::begin_rest(supervisor& s) noexcept {
  {
    const spin_guard guard(mail_lock_);
    take_inbox();
    if (close_is_waiting()) return false;
    s.rest = rest_state::beginning;
  }
  bool armed = false;
  try {
    owner_.where().arm(s, s.not_before);
    armed = true;
  } catch (...) {
  }
  {
    const spin_guard guard(mail_lock_);
    if (armed && s.rest == rest_state::beginning) {
      s.rest = rest_state::resting;
      return true;
    }
    s.rest = rest_state::none;
  }
  if (armed) owner_.where().disarm(s);
  return false;
}

/// Whoever ends a rest has the cell, unless it is with the one who begins it. The mailbox lock is
/// held.
inline bool cell::end_rest_locked(supervisor& s) noexcept {
  if (s.rest == rest_state::beginning) s.rest = rest_state::over;
  if (s.rest != rest_state::resting) return false;
  s.rest = rest_state::none;
  return true;
}

inline bool cell::end_rest() noexcept {
  supervisor* const s = supervisor_.load(order::acquire);
  const spin_guard guard(mail_lock_);
  return end_rest_locked(*s);
}

inline void supervisor::on_time(timer& t) noexcept {
  supervisor& self = static_cast<supervisor&>(t);
  if (self.cell_.end_rest()) self.cell_.hand_over();
}

/// A close was left in the mailbox. From any thread that refers to the cell. Under the lock first:
/// either `begin_rest` sees the close, or this sees that it rests.
inline void cell::wake_from_rest() noexcept {
  supervisor* s = nullptr;
  {
    const spin_guard guard(mail_lock_);
    s = supervisor_.load(order::acquire);
    if (s == nullptr || !end_rest_locked(*s)) return;
  }
  owner_.where().disarm(*s);  // `on_time` is over, or will never be
  s->not_before = time_point();
  hand_over();
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The way of a call: to an instance, or into the line for one; and what ends it before its reply.
///
/// Layer: function.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/actor/invocation.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/codec/shape.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/function/caller_stamp.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

// --- calls --------------------------------------------------------------------------------------

inline duration function_core::limit_of(const open_call& c) const noexcept {
  if (c.limit != duration::zero()) return c.limit;
  const duration own = c.slot().options.limit;
  return own != duration::zero() ? own : options_.limit;
}

/// The call is the instance's from now on.
inline void function_core::give(running_module& r, open_call& c) noexcept {
  if (r.in_flight++ == 0 && r.linked()) idle_.remove(r);
  ++running_calls_;
  c.place = call_place::running;
  c.where = intrusive_ptr<running_module>(&r);
  c.id = ++r.last_call;
  c.begun = false;
}

/// A tell is taken to its instance behind those that were issued before it for the same worker; any
/// other call only where it comes behind such. False: nobody takes it there yet. The lock is held.
inline bool function_core::enter_lane(running_module& r, open_call& c, to_do& todo) noexcept {
  if (!c.is_tell && r.busy_lanes == 0) return false;
  call_lane& l = r.lanes[hash_bytes(c.worker_key()) % r.lanes.size()];
  if (!c.is_tell && !l.busy) return false;
  l.calls.push_back(c);
  if (std::exchange(l.busy, true)) return true;
  ++r.busy_lanes;
  add_ref(&r);  // the step's
  todo.lanes.push_back(&l);
  return true;
}

inline void function_core::run_lane(call_lane& l) noexcept {
  constexpr int in_a_row = 16;
  running_module& r = *l.of;
  for (int i = 0; i != in_a_row; ++i) {
    intrusive_ptr<open_call> next;
    {
      const spin_guard guard(lock_);
      if (open_call* const c = l.calls.pop_front()) {
        next = intrusive_ptr<open_call>(c);
        c->begun = true;
      } else {
        l.busy = false;
        --r.busy_lanes;
      }
    }
    if (!next) return release(&r);
    dispatch(*next, r);
  }
  on_.yield(l);
}

inline void call_lane::run(runnable& r) noexcept {
  call_lane& self = static_cast<call_lane&>(r);
  const intrusive_ptr<function_core> core = self.of->slot->core;  // may go with the last reference
  core->run_lane(self);
}

inline errc function_core::issue(open_call& c) noexcept {
  running_module* to = nullptr;
  errc refused{};
  bool is_over = false;
  to_do todo;
  {
    const spin_guard guard(lock_);
    is_over = c.place == call_place::gone;
    c.turn = ++turns_;
    if (!is_over && !c.names_version) follow_version(c);
    module_slot& s = c.slot();
    if (!is_over) refused = why_not_taken(c);
    if (is_over || refused != errc{}) {
      // Its caller was told before it came here, or is told below.
    } else if (takes_calls(s)) {
      give(*s.current, c);
      if (!enter_lane(*s.current, c, todo)) {
        to = s.current;
        c.begun = true;
      }
    } else {
      wait(s, c);
      if (s.current == nullptr) see_to_start(s, todo);
    }
    if (refused != errc{}) c.place = call_place::gone;
  }
  if (to != nullptr) {
    dispatch(c, *to);
    return refused;
  }
  carry_out(todo);
  if (refused != errc{}) c.fail(refused, {});
  if (refused != errc{} || is_over) release(&c);
  return refused;
}

/// Who only tells is not slowed down by what comes back: an instance that runs has a bound for
/// such.
inline errc function_core::why_not_taken(const open_call& c) const noexcept {
  const module_slot& s = c.slot();
  if (closed_) return errc::broker_gone;
  if (!takes_calls(s) && s.waiting_count >= options_.max_waiting) return errc::mailbox_full;
  if (c.is_tell && takes_calls(s) && s.current->in_flight >= options_.max_waiting) {
    return errc::mailbox_full;
  }
  return errc{};
}

/// Between its making and its issue another version may have come to be meant.
inline void function_core::follow_version(open_call& c) noexcept {
  module_slot& s = c.slot();
  if (s.version == s.record.remembered) return;
  try {
    c.redirect(slot_locked(s.record, s.record.remembered, s.key));
  } catch (...) {
    // No memory: the other version does as well.
  }
}

/// The call waits for an instance.
inline void function_core::wait(module_slot& s, open_call& c) noexcept {
  c.place = call_place::waiting;
  s.waiting.push_back(c);
  ++s.waiting_count;
  ++waiting_calls_;
}

/// It was given back: it stands before those that were issued later. Many may come, mostly in the
/// order in which they were issued: the place of the last is where the next is looked for.
inline void function_core::wait_again(module_slot& s, open_call& c) noexcept {
  c.place = call_place::waiting;
  const bool is_behind = s.last_back != nullptr && s.last_back->turn < c.turn;
  auto at = is_behind ? s.waiting.at(*s.last_back) : s.waiting.begin();
  while (at != s.waiting.end() && at->turn < c.turn) ++at;
  s.waiting.insert(at, c);
  s.last_back = &c;
  ++s.waiting_count;
  ++waiting_calls_;
}

/// The call does not wait any more, and is not given to anybody.
inline void function_core::wait_no_more(open_call& c, to_do& todo) noexcept {
  c.place = call_place::gone;
  c.slot().waiting.remove(c);
  if (c.slot().last_back == &c) c.slot().last_back = nullptr;
  --c.slot().waiting_count;
  --waiting_calls_;
  ++counts_.calls;
  note_quiet(todo);
}

/// A stop request, or the end of its time, may come at any moment: what comes before the instance
/// has the call is seen behind that, what comes later the instance is told.
inline void function_core::dispatch(open_call& c, running_module& r) noexcept {
  if (c.ended() > call_end::waiting || c.stop_wanted.load(order::acquire)) {
    return refuse(c, why_not_begun(c), {});
  }
  const module_manifest& m = r.instance->manifest();
  const auto index = m.find(c.function_name());
  if (!index) {
    return refuse(c, errc::no_such_method, m.name + " has no function '" + c.function_name() + "'");
  }
  const module_function& f = m.functions[*index];
  if (c.format >= 32 || (m.formats >> c.format & 1) == 0) {
    return refuse(c, errc::bad_message, m.name + " does not understand the payload's format");
  }
  if (c.wanted_result && *c.wanted_result != f.result) {
    return refuse(c, errc::bad_message, "its result is another: " + f.signature);
  }
  c.make_ready(*index);
  if (c.optional_payload && f.parameters == shape_of<std::tuple<>>) c.payload = {nullptr, 0};
  const std::uint64_t id = c.id;
  const intrusive_ptr<running_module> kept(&r);  // the call's own may be gone behind this
  r.instance->call(c);
  // Pairs with the store before `stop`: one of the two comes behind the other in the instance.
  if (c.stop_wanted.load(order::acquire)) r.instance->stop(id);
}

inline errc function_core::why_not_begun(const open_call& c) noexcept {
  const spin_guard guard(lock_);
  return c.late ? errc::expired : errc::cancelled;
}

inline void function_core::refuse(open_call& c, errc why, std::string text) noexcept {
  call_ended(c, call_verdict::was_not_run);
  c.fail(why, std::move(text));
  release(&c);
}

/// An instance has one call less.
inline void function_core::take_from(running_module& r, to_do& todo) {
  --running_calls_;
  if (--r.in_flight != 0) return;
  if (r.closing) return;
  if (r.retiring) {
    begin_end(r);
    todo.close.emplace_back(&r);
    return;
  }
  r.idle_since = on_.now();
  idle_.push_back(r);
  if (options_.idle_after != endless) {
    idle_alarm_.set(saturating_add(r.idle_since, options_.idle_after));
  }
  if (!line_.empty()) make_room(todo);
}

/// Nobody waits for the call any more, but its instance has it. The lock is held.
inline void function_core::leave(open_call& c) noexcept {
  if (std::exchange(c.left, true)) return;
  c.left_at = on_.now();
  ++c.where->left;
}

/// The call and its instance are done with each other. The lock is held.
inline void function_core::part(open_call& c, to_do& todo) {
  todo.gone = std::move(c.where);
  running_module& r = *todo.gone;
  c.place = call_place::gone;
  forget_left(c, r);
  ++counts_.calls;
  take_from(r, todo);
  if (r.slot->current == &r && r.doubts == 0) hand_over(*r.slot, todo);
  note_quiet(todo);
}

/// The lock is held.
inline void function_core::forget_left(open_call& c, running_module& r) noexcept {
  if (std::exchange(c.left, false)) --r.left;
  if (std::exchange(c.doubtful, false)) --r.doubts;
}

/// What has waited until it was clear that the process lives on. The lock is held.
inline void function_core::hand_over(module_slot& s, to_do& todo) {
  if (s.waiting_count != 0) todo.begin = give_waiting(*s.current, todo);
}

/// What has waited is the instance's. Returns those that no lane takes there. The lock is held.
inline std::vector<open_call*> function_core::give_waiting(running_module& r,
                                                           to_do& todo) noexcept {
  std::vector<open_call*> given = take_waiting(*r.slot);
  for (open_call* const c : given) give(r, *c);
  std::erase_if(given, [&](open_call* c) { return enter_lane(r, *c, todo); });
  return given;
}

/// Its instance is done with the call, which whoever calls this settles. What a module says of a
/// crash is that of another one, which it has called, as long as it lives itself: of its own death
/// the host knows before.
inline void function_core::call_ended(open_call& c, call_verdict how) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    const bool is_ending = c.where->died || c.where->closing;
    const bool was_run =
        how == call_verdict::was_run || (how == call_verdict::speaks_of_a_crash && !is_ending);
    if (was_run) c.where->slot->failures = 0;
    part(c, todo);
  }
  carry_out(todo);
}

/// It never began; the one that takes the place of its instance gets it, before those that came
/// later. An instance that gives calls back without having been closed has died, whether it has
/// said so or not; a call that was with too many of those ends. Nothing is called from here:
/// whoever gives back may be inside of `call`.
inline void function_core::call_given_back(open_call& c) noexcept {
  module_slot& s = c.slot();
  to_do todo;
  running_module* to = nullptr;
  bool is_over = false;
  errc why = errc::worker_stopped;
  {
    const spin_guard guard(lock_);
    todo.gone = std::move(c.where);
    running_module& giver = *todo.gone;
    forget_left(c, giver);
    if (s.current == &giver) note_death(giver, todo);
    take_from(giver, todo);
    if (giver.died) ++c.deaths;
    if (c.deaths == most_deaths) why = errc::worker_crashed;
    if (c.stop_wanted.load(order::relaxed)) why = c.late ? errc::expired : errc::cancelled;
    if (hurried_ || why != errc::worker_stopped || c.ended() > call_end::waiting) {
      is_over = true;
      c.place = call_place::gone;
      ++counts_.calls;
      note_quiet(todo);
    } else if (s.current != nullptr && s.current->doubts == 0) {
      give(*s.current, c);
      if (!enter_lane(*s.current, c, todo)) to = s.current;
    } else {
      wait_again(s, c);
      if (s.current == nullptr) see_to_start(s, todo);
    }
  }
  if (to != nullptr) on_.post(c);
  carry_out(todo);
  if (!is_over) return;
  c.fail(why, why == errc::worker_crashed ? "its module died each time before it began" : "");
  release(&c);
}

/// Its time is up. Who was told `expired` is certain that it never begins: whoever is about to take
/// it to its instance looks first, under the lock that says here whether it was taken.
inline void function_core::call_expired(open_call& c) noexcept {
  intrusive_ptr<running_module> r;
  to_do todo;
  call_place place{};
  bool begun = false;
  {
    const spin_guard guard(lock_);
    place = c.place;
    c.late = true;
    if (place == call_place::waiting) wait_no_more(c, todo);
    if (place == call_place::nowhere) c.place = call_place::gone;
    if (place == call_place::running) r = c.where;
    begun = c.begun;
    if (r) c.stop_wanted.store(true, order::release);
  }
  carry_out(todo);
  if (place == call_place::gone) return;
  if (!r || !begun) {
    c.settle_as(call_end::expired);
    if (place == call_place::waiting) release(&c);
    return;
  }
  if (withdraw(c, *r, call_end::expired)) return;
  {
    const spin_guard guard(lock_);
    doubt(c, *r);  // before its caller goes on, who may call again
  }
  c.settle_as(call_end::timed_out);  // unless its caller has left before
  ask_to_stop(c, *r);
}

/// Its caller was asked to stop. One that has not begun is withdrawn. One that has is left alone:
/// its module is asked to stop, and what comes of it is nobody's any more.
inline void function_core::call_cancelled(open_call& c) noexcept {
  intrusive_ptr<running_module> r;
  to_do todo;
  call_place place{};
  bool begun = false;
  {
    const spin_guard guard(lock_);
    place = c.place;
    if (place == call_place::waiting) wait_no_more(c, todo);
    if (place == call_place::nowhere) c.place = call_place::gone;
    if (place == call_place::running) r = c.where;
    begun = c.begun;
    if (r) c.stop_wanted.store(true, order::release);
  }
  carry_out(todo);
  if (r) {
    if (!begun) return;  // whoever is about to take it to its instance looks first
    if (withdraw(c, *r, call_end::cancelled)) return;
    c.settle_as(call_end::interrupted);
    return ask_to_stop(c, *r);
  }
  if (place == call_place::gone) return;
  c.stop_timer();
  c.settle_as(call_end::cancelled);
  if (place == call_place::waiting) release(&c);
}

/// Takes a call back that its instance has not begun, and settles it. False: it may have begun.
inline bool function_core::withdraw(open_call& c, running_module& from, call_end how) noexcept {
  std::uint64_t id = 0;
  {
    const spin_guard guard(lock_);
    if (c.place != call_place::running || c.where.get() != &from) return false;
    id = c.id;
  }
  if (!from.instance->withdraw(id)) return false;
  to_do todo;
  {
    const spin_guard guard(lock_);
    part(c, todo);
  }
  carry_out(todo);
  c.stop_timer();
  c.settle_as(how);
  release(&c);
  return true;
}

/// It was settled without its instance, which is told. A process has some time to give it up. Where
/// it may be killed after that, calls that come in between wait until it is clear what becomes of
/// it: they are not to end with it.
inline void function_core::ask_to_stop(open_call& c, running_module& r) noexcept {
  std::uint64_t id = 0;
  {
    const spin_guard guard(lock_);
    if (c.place != call_place::running || c.where.get() != &r) return;
    id = c.id;
    leave(c);
    doubt(c, r);
  }
  r.instance->stop(id);
  const spin_guard guard(lock_);
  if (c.place != call_place::running || c.in_grace) return;
  if (c.where->instance->kept() != isolation::process) return;
  c.arm_grace(on_, saturating_add(on_.now(), options_.stop_grace));
}

/// Calls that come from now on wait until it is clear what becomes of this one. The lock is held.
inline void function_core::doubt(open_call& c, running_module& r) noexcept {
  if (c.place != call_place::running || c.where.get() != &r) return;
  const bool is_killed = r.instance->kept() == isolation::process;
  if (c.late && is_killed && !std::exchange(c.doubtful, true)) ++r.doubts;
}

/// Nobody waits for another call of its process, or this one has no time left. The lock is held.
inline bool function_core::may_be_killed_for(const open_call& c, time_point now) const noexcept {
  if (c.late || c.where->left >= c.where->in_flight) return true;
  return !c.has_limit() && saturating_add(c.left_at, options_.cancel_grace) <= now;
}

/// The lock is held.
inline void function_core::look_again(open_call& c, time_point now) noexcept {
  const time_point next = saturating_add(now, next_look);
  const time_point until = saturating_add(c.left_at, options_.cancel_grace);
  c.arm_grace(on_, c.has_limit() ? next : (std::min)(next, until));
}

/// It has not stopped: only its process can be ended. That waits as long as somebody waits for
/// another call of that process, and this one has time left. One that has not even begun by now
/// is no reason at all.
inline void function_core::call_out_of_grace(open_call& c) noexcept {
  intrusive_ptr<running_module> r;
  {
    const spin_guard guard(lock_);
    if (c.place != call_place::running) return;
    c.in_grace = false;
    r = c.where;
    const time_point now = on_.now();
    if (!may_be_killed_for(c, now)) return look_again(c, now);
  }
  if (withdraw(c, *r, call_end::cancelled)) return;
  constexpr std::string_view why = "it was killed: a call did not come to its end in time";
  to_do todo;
  {
    const spin_guard guard(lock_);
    // It may have come to its end just now, and others are there that have time left; or another
    // one has come meanwhile, which somebody waits for. From `note_failed` on none comes any more.
    if (c.place != call_place::running || c.where.get() != r.get()) return;
    const time_point now = on_.now();
    if (!may_be_killed_for(c, now)) return look_again(c, now);
    note_failed(*r, why, todo);
  }
  carry_out(todo);
  r->instance->kill(errc::worker_crashed, why);
}

inline std::vector<open_call*> function_core::take_waiting(module_slot& s) noexcept {
  std::vector<open_call*> taken;
  taken.reserve(s.waiting_count);
  while (open_call* const c = s.waiting.empty() ? nullptr : &s.waiting.front()) {
    s.waiting.remove(*c);
    c->place = call_place::gone;
    taken.push_back(c);
  }
  s.last_back = nullptr;
  waiting_calls_ -= s.waiting_count;
  s.waiting_count = 0;
  return taken;
}

// --- what a call needs of it --------------------------------------------------------------------

inline void open_call::stop_timer() noexcept {
  executor& on = core_.where();
  if (timed_) on.disarm(timer_);
  if (in_grace) on.disarm(grace_);  // nobody arms it any more: no instance has the call
}

inline void open_call::arm_timer(executor& on, time_point until) {
  if (until == never) return;
  deadline = to_nanoseconds(until);
  timed_ = true;
  on.arm(timer_, until);
}

/// What is done because of these may end the call inside of them.
inline void open_call::on_limit(timer& t) noexcept {
  const intrusive_ptr<open_call> call(&static_cast<call_timer&>(t).call);
  call->core_.call_expired(*call);
}
inline void open_call::on_grace(timer& t) noexcept {
  const intrusive_ptr<open_call> call(&static_cast<call_timer&>(t).call);
  call->core_.call_out_of_grace(*call);
}

inline void open_call::on_stop(stop_hook& h) noexcept {
  const intrusive_ptr<open_call> call(&static_cast<open_call&>(h));
  call->core_.call_cancelled(*call);
}

inline void open_call::give_back() noexcept { core_.call_given_back(*this); }

/// The first step issues it; one more, if it had to wait, takes it to the instance it was given to.
inline void open_call::run_issue(runnable& r) noexcept {
  auto& self = static_cast<open_call&>(r);
  const intrusive_ptr<open_call> kept(&self);
  const intrusive_ptr<function_core> core(&self.core_);
  if (running_module* const to = core->begin_there(self)) return core->dispatch(self, *to);
  core->issue(self);
  self.issued();
}

inline bool open_call::hold_reply(std::uint64_t length) noexcept {
  constexpr std::uint64_t counted_above = 1024;
  if (length <= counted_above || core_.runs_on_caller(*this)) return true;
  if (!slot_->record.held_replies.add(length, core_.max_held_replies())) return false;
  held_ = length;
  return true;
}

/// What was replied is kept as it is: it is taken apart where its caller goes on.
inline void open_call::settled_by_module(troupe_module_call* c, std::uint32_t outcome,
                                         std::uint32_t code, troupe_bytes reply) noexcept {
  auto& self = static_cast<open_call&>(*static_cast<module_call*>(c));
  std::span<const std::byte> came = as_span(reply);
  if (!self.hold_reply(reply.size)) {
    outcome = troupe_outcome_error;
    code = static_cast<std::uint32_t>(errc::result_lost);
    static constexpr std::string_view why = "too much of what the module replied is not read yet";
    came = std::as_bytes(std::span<const char>(why));
  }
  self.outcome_ = outcome;
  self.code_ = code;
  try {
    self.bytes.assign(came.begin(), came.end());
  } catch (...) {
    self.failure_ = std::current_exception();
  }
  const bool speaks_of_a_crash = outcome == troupe_outcome_error &&
                                 (code == static_cast<std::uint32_t>(errc::worker_crashed) ||
                                  code == static_cast<std::uint32_t>(errc::worker_stalled));
  self.core_.call_ended(
      self, speaks_of_a_crash ? call_verdict::speaks_of_a_crash : call_verdict::was_run);
  self.stop_timer();
  self.settle_as(call_end::done);
  release(&self);
}

inline bool open_call::issue_for(frame& f) {
  chain_link& chain = *f.chain;
  function_core& core = core_;
  caller_ = &f;
  if (chain.limited && chain.stop_requested()) {
    settle_as(call_end::cancelled);
    return false;
  }
  if (cell* const from = caller_above(&chain)) stamp = stamp_of(from->type().name, from->key());
  stop_state* const stop = chain.limited ? chain.stop() : nullptr;
  const duration most = core.limit_of(*this);
  if (chain.deadline != never) deadline = to_nanoseconds(chain.deadline);
  if (most != endless || chain.deadline != never) {
    const time_point now = core.where().now();
    if (chain.deadline <= now) {
      settle_as(call_end::expired);
      return false;
    }
    const time_point until = (std::min)(saturating_add(now, most), chain.deadline);
    // In a process, what does not end by itself is ended; here it can only be asked to.
    if (most != endless || !core.runs_on_caller(*this)) arm_timer(core.where(), until);
  }
  bool* const flag = std::exchange(f.completed_inline, nullptr);
  const intrusive_ptr<open_call> self(this);
  add_ref(this);  // the host's
  if (f.fork_calls) {
    core.where().fork(*this);
  } else if (timed_ && core.runs_on_caller(*this)) {
    core.where().post(*this);
  } else {
    core.issue(*this);
  }
  attach(stop);
  if (stay_suspended()) return true;  // from here on the frame is not ours
  if (f.budget == 0) {
    if (let_others_run(f)) return true;
  } else {
    --f.budget;
  }
  f.completed_inline = flag;
  return false;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who has room: instances that come, those that are idle, and those that make way.
///
/// Layer: function.

#include <algorithm>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

// --- room ---------------------------------------------------------------------------------------

/// Calls wait at `s`, which has no instance.
inline void function_core::see_to_start(module_slot& s, to_do& todo) {
  if (s.attempt || s.wants_room || s.pauses) return;
  if (on_.now() < s.not_before) {
    s.pauses = true;
    todo.pause.emplace_back(&s);
    return;
  }
  if (workers_ < max_workers_ && line_.empty()) return begin_start(s, false, false, todo);
  s.wants_room = true;
  line_.emplace_back(&s);
  make_room(todo);
}

inline void function_core::begin_start(module_slot& s, bool is_reload, bool remember, to_do& todo) {
  s.attempt = std::make_shared<start_attempt>();
  s.attempt->number = ++s.attempts;
  s.attempt->is_reload = is_reload;
  s.attempt->remember = remember;
  s.attempt->made = intrusive_ptr<running_module>(new running_module(slot_ptr(&s)));
  ++workers_;
  ++starting_;
  ++counts_.starts;
  todo.start.emplace_back(slot_ptr(&s), s.attempt);
}

/// What was being started was out of date before it was there.
inline void function_core::start_once_more(module_slot& s, to_do& todo) {
  if (!std::exchange(s.start_again, false) || hurried_) return;
  begin_start(s, true, s.start_again_remembers, todo);
}

/// Those in the line are served in their order, as far as there is room.
inline void function_core::serve_line(to_do& todo) {
  while (!line_.empty() && workers_ < max_workers_) {
    const slot_ptr s = line_.front();
    line_.pop_front();
    s->wants_room = false;
    if (s->waiting_count != 0 && !s->attempt && s->current == nullptr) {
      begin_start(*s, false, false, todo);
    }
  }
}

/// As many leave as wait for room: those first that have been idle for longest. Where none is, one
/// after the other is drained. One that still has calls may take its time: it is not counted.
inline void function_core::make_room(to_do& todo) {
  while (line_.size() > going_ && !idle_.empty()) {
    ++counts_.evictions;
    retire(idle_.front(), todo);
  }
  if (line_.size() > going_) patience_.set(saturating_add(on_.now(), options_.patience));
}

/// No new call goes to it; once it has none, it ends.
inline void function_core::retire(running_module& r, to_do& todo) {
  if (r.retiring) return;
  r.retiring = true;
  r.retired_at = on_.now();
  ++leaving_;
  if (r.linked()) idle_.remove(r);
  if (r.slot->current == &r) {
    r.slot->current = nullptr;
    if (r.slot->waiting_count != 0 && !hurried_) see_to_start(*r.slot, todo);
  }
  if (r.in_flight != 0 || r.closing) return;
  begin_end(r);
  todo.close.emplace_back(&r);
}

/// It is closed, or ends by itself. Not for ever.
inline void function_core::begin_end(running_module& r) noexcept {
  r.closing = true;
  r.end_by = saturating_add(on_.now(), longest_end);
  ++going_;
  end_alarm_.set(r.end_by);
}

/// Instances that should have ended by now: processes are killed; others stay until they end, and
/// nobody counts on their room any more.
inline void function_core::look_at_ending() noexcept {
  std::vector<intrusive_ptr<running_module>> left;
  to_do todo;
  {
    const spin_guard guard(lock_);
    end_alarm_.is_set = false;
    if (end_alarm_.stopped) return;
    const time_point now = on_.now();
    time_point next = never;
    for (const auto& r : instances_) {
      if (!r->closing || r->overdue) continue;
      if (r->end_by > now) {
        next = (std::min)(next, r->end_by);
        continue;
      }
      r->overdue = true;
      --going_;
      left.push_back(r);
    }
    if (next != never) end_alarm_.set(next);
    if (!line_.empty()) make_room(todo);
  }
  for (const auto& r : left) r->instance->kill(errc::interrupted, "it did not come to its end");
  carry_out(todo);
}

/// The longest without a new start among those that are busy makes room.
inline void function_core::lose_patience() noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    patience_.is_set = false;
    if (line_.empty() || patience_.stopped) return;
    const time_point now = on_.now();
    const auto leaving = std::count_if(instances_.begin(), instances_.end(), [now](const auto& r) {
      return r->retiring && !r->overdue && saturating_add(r->retired_at, longest_drain) > now;
    });
    if (idle_.empty() && line_.size() > static_cast<std::size_t>(leaving)) {
      const auto victim = std::find_if(instances_.begin(), instances_.end(), [](const auto& r) {
        return !r->retiring && r->in_flight != 0;
      });
      if (victim != instances_.end()) {
        ++counts_.evictions;
        retire(**victim, todo);
      }
    }
    make_room(todo);
    patience_.set(saturating_add(on_.now(), options_.patience));
  }
  carry_out(todo);
}

inline void function_core::look_at_idle() noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    idle_alarm_.is_set = false;
    if (idle_alarm_.stopped) return;
    const time_point now = on_.now();
    while (!idle_.empty() && saturating_add(idle_.front().idle_since, options_.idle_after) <= now) {
      ++counts_.evictions;
      retire(idle_.front(), todo);
    }
    if (!idle_.empty()) {
      idle_alarm_.set(saturating_add(idle_.front().idle_since, options_.idle_after));
    }
  }
  carry_out(todo);
}

inline void function_core::note_quiet(to_do& todo) {
  if (quiet_.empty() || (calls_here() != 0 && leaving_ != 0 && workers_ != 0)) return;
  todo.quiet.insert(todo.quiet.end(), quiet_.begin(), quiet_.end());
  quiet_.clear();
}

/// What was noted. Closing runs code of modules: on the executor, not here.
inline void function_core::carry_out(to_do& todo) noexcept {
  for (const auto& r : todo.close) {
    add_ref(r.get());
    on_.post(*r);
  }
  for (auto& [s, a] : todo.start) {
    try {
      tasks_.spawn(run_start(core_ptr(this), s, a));
    } catch (...) {
      start_ended(*s, a, std::current_exception());
    }
  }
  for (const slot_ptr& s : todo.pause) {
    try {
      tasks_.spawn(run_pause(core_ptr(this), s, s->not_before));
    } catch (...) {
      pause_ended(*s);
    }
  }
  for (call_lane* const l : todo.lanes) on_.post(*l);
  for (open_call* const c : todo.begin) on_.fork(*c);
  for (const auto& q : todo.quiet) q->release();
  if (!todo.watch) return;
  try {
    tasks_.spawn(watch_files(core_ptr(this)));
  } catch (...) {
    const spin_guard guard(lock_);
    watching_ = false;
  }
}

// --- instances ----------------------------------------------------------------------------------

inline void function_core::instance_failed(running_module& r, errc,
                                           std::string_view detail) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    note_failed(r, detail, todo);
  }
  carry_out(todo);
}

/// The lock is held.
inline void function_core::note_failed(running_module& r, std::string_view detail, to_do& todo) {
  if (!r.adopted) {
    r.has_failed = true;
    r.failure = detail;
    return;
  }
  if (r.closing) return;
  note_death(r, todo);
  // Where another has its place, what waits at that one waits for it.
  if (r.slot->waiting_count != 0 && r.slot->current == nullptr) see_to_start(*r.slot, todo);
}

/// It ends by itself. Whether its calls come back first, or word of it, is all the same.
inline void function_core::note_death(running_module& r, to_do& todo) {
  ++counts_.crashes;
  note_failure(*r.slot);
  r.died = true;
  begin_end(r);
  retire(r, todo);
}

inline void function_core::instance_ended(running_module& r) noexcept {
  to_do todo;
  intrusive_ptr<running_module> gone;
  {
    const spin_guard guard(lock_);
    r.has_ended = true;
    if (!r.adopted) return;
    retire(r, todo);
    // This one needs no closing any more; others may have been told to make room.
    std::erase_if(todo.close, [&r](const auto& one) { return one.get() == &r; });
    --leaving_;
    --workers_;
    if (!r.overdue) --going_;
    const auto found = std::find_if(instances_.begin(), instances_.end(),
                                    [&r](const auto& i) { return i.get() == &r; });
    gone = std::move(*found);
    instances_.erase(found);
    serve_line(todo);
    note_quiet(todo);
  }
  carry_out(todo);
}

inline void running_module::failed(module_instance&, errc why, std::string_view detail) noexcept {
  slot->core->instance_failed(*this, why, detail);
}
inline void running_module::ended(module_instance&) noexcept {
  const intrusive_ptr<function_core> core = slot->core;  // this may go with what it is called on
  core->instance_ended(*this);
}
inline void running_module::call(module_instance&, const outgoing_call& c) noexcept {
  slot->core->relay(*this, c);
}

}  // namespace troupe::detail

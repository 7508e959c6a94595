// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a host comes to its end, or to rest.
///
/// Layer: function.

#include <chrono>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// True: there are no calls; or, if asked for, no instances that leave and no attempts.
inline task<bool> function_core::wait_until_quiet(duration limit, bool for_instances) {
  const time_point until = saturating_add(on_.now(), limit);
  for (;;) {
    const auto changed = std::make_shared<async_semaphore>(0);
    {
      const spin_guard guard(lock_);
      const bool is_quiet =
          for_instances ? leaving_ == 0 && (!closed_ || workers_ == 0) : calls_here() == 0;
      if (is_quiet) co_return true;
      quiet_.push_back(changed);
    }
    auto first = when_any(sleep_until(until), changed->acquire());
    const auto ended = co_await std::move(first);
    if (ended.index() == 0) co_return false;
  }
}

/// Calls that wait are told; those that run are asked to stop.
inline void function_core::end_what_is_left() noexcept {
  std::vector<open_call*> left;
  std::vector<attempt_ptr> attempts;
  to_do todo;
  {
    const spin_guard guard(lock_);
    hurried_ = closed_;
    for (const auto& [name, s] : slots_) {
      const std::vector<open_call*> of_slot = take_waiting(*s);
      left.insert(left.end(), of_slot.begin(), of_slot.end());
      if (closed_ && s->attempt) attempts.push_back(s->attempt);
    }
    counts_.calls += left.size();
    const auto all = instances_;
    for (const auto& r : all) {
      retire(*r, todo);
      if (r->closing) continue;
      begin_end(*r);
      todo.close.push_back(r);
    }
    note_quiet(todo);
  }
  for (open_call* const c : left) {
    c->fail(errc::worker_stopped, {});
    release(c);
  }
  for (const attempt_ptr& a : attempts) a->give_up.release();
  carry_out(todo);
}

inline void function_core::kill_what_is_left() noexcept {
  std::vector<intrusive_ptr<running_module>> left;
  {
    const spin_guard guard(lock_);
    for (const auto& r : instances_) {
      if (r->closing) left.push_back(r);
    }
  }
  for (const auto& r : left) r->instance->kill(errc::interrupted, "its host has come to its end");
}

inline task<> function_core::drain(duration limit, bool for_good) {
  auto calls = wait_until_quiet(limit, false);
  static_cast<void>(co_await std::move(calls));
  end_what_is_left();
  auto given_time = wait_until_quiet(std::chrono::seconds(1), true);
  const bool all_gone = co_await std::move(given_time);
  if (!all_gone) kill_what_is_left();
  auto instances = wait_until_quiet(endless, true);
  static_cast<void>(co_await std::move(instances));
  if (!for_good) co_return;
  while (!idle_alarm_.stop()) co_await yield();
  while (!patience_.stop()) co_await yield();
  while (!end_alarm_.stop()) co_await yield();
  while (!watch_alarm_.stop()) co_await yield();
  while (open_tells_.load(order::acquire) != 0) co_await yield();  // pairs with tell_is_over
  tasks_.request_stop();
  auto tasks_ended = tasks_.all_ended();
  co_await std::move(tasks_ended);
  std::unordered_map<slot_name, slot_ptr, slot_name_hash> slots;
  {
    const spin_guard guard(lock_);
    slots.swap(slots_);
  }
}

}  // namespace troupe::detail

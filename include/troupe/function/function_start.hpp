// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How an instance is started, and what becomes of those who wait for it.
///
/// Layer: function.

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/failure.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/function/module_source.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

// --- starting -----------------------------------------------------------------------------------

/// The n-th failure in a row is followed by a pause: none, 50 ms, and twice as much each time.
inline void function_core::note_failure(module_slot& s) noexcept {
  ++s.failures;
  if (s.failures < 2) return;
  const unsigned doublings = (std::min)(s.failures - 2, 8U);
  const duration pause = (std::min)(duration(std::chrono::milliseconds(50)) * (1 << doublings),
                                    duration(std::chrono::seconds(10)));
  s.not_before = saturating_add(on_.now(), pause);
}

inline task<> function_core::run_pause(core_ptr core, slot_ptr s, time_point until) {
  static_cast<void>(co_await as_result(sleep_until(until)));
  core->pause_ended(*s);
}

inline void function_core::pause_ended(module_slot& s) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    s.pauses = false;
    s.not_before = (time_point::min)();
    if (s.waiting_count != 0 && s.current == nullptr && !hurried_) see_to_start(s, todo);
  }
  carry_out(todo);
}

/// What an exception says, behind a colon.
inline std::string function_core::text_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& known) {
    return std::string(": ") + known.what();
  } catch (...) {
    return {};
  }
}

inline task<module_image> function_core::image_from(std::shared_ptr<module_loader> loader,
                                                    slot_ptr s, attempt_ptr a) {
  auto loaded = as_result(loader->load(s->record.name, s->version));
  const result<module_source> source = co_await std::move(loaded);
  if (!source.has_value()) {
    try {
      source.value();
    } catch (...) {
      const intrusive_ptr<shared_cause> cause(new shared_cause(std::current_exception()));
      throw error_with_cause(cause,
                             error(errc::no_such_module, worker_id(describe(*s), s->key),
                                   "its loader has failed" + text_of(std::current_exception())));
    }
  }
  const module_source& from = source.value();
  const std::string path = from.path() != nullptr ? *from.path() : std::string();
  file_identity file;
  auto copy = [&from, &path, &file] {
    if (from.path() == nullptr) return module_image::from_bytes(from.bytes()->bytes());
    file = file_identity::of(path);
    return module_image::from_file(path);
  };
  auto copied = as_result(offload(std::move(copy)));
  result<module_image> image = co_await std::move(copied);
  {
    // The attempt may be given up at this moment, and be looked at.
    const spin_guard guard(s->core->lock_);
    a->path = path;
    a->file = file;
  }
  co_return std::move(image).value();
}

inline task<> function_core::try_start(core_ptr core, slot_ptr s, attempt_ptr a) {
  std::shared_ptr<module_loader> loader;
  module_permissions permissions;
  {
    const spin_guard guard(core->lock_);
    loader = core->loader_;
    permissions = s->options.permissions;
  }
  const worker_id id(describe(*s), s->key);
  if (!loader) {
    throw error(errc::no_such_module, id, "the host has no loader (define_loader)");
  }
  try {
    module_launcher& launcher = core->launcher_of(*s);
    auto image = image_from(std::move(loader), s, a);
    const module_image copied = co_await std::move(image);
    const module_launch launch{s->record.name, s->version, copied,
                               permissions,    core->on_,  *a->made};
    auto starting = launcher.start(launch);
    a->made->instance = co_await std::move(starting);
  } catch (const error& e) {
    if (!e.worker().type.empty()) throw;
    throw error(static_cast<errc>(e.code().value()), id, e.detail());
  } catch (const std::system_error& e) {
    throw error(errc::start_failed, id, e.what());
  }
}

inline task<> function_core::run_start(core_ptr core, slot_ptr s, attempt_ptr a) {
  std::exception_ptr why;
  try {
    core->tasks_.spawn(limit_start(core, s, a));
    auto attempt = when_any(try_start(core, s, a), a->give_up.acquire());
    static_cast<void>(co_await std::move(attempt));
    throw error(errc::start_failed, worker_id(describe(*s), s->key), "it was given up");
  } catch (...) {
    why = std::current_exception();
  }
  if (a->made->instance) why = nullptr;  // it came to life, if late
  core->start_ended(*s, a, std::move(why));
  a->over.release();
}

inline task<> function_core::limit_start(core_ptr core, slot_ptr s, attempt_ptr a) {
  auto first = when_any(sleep_for(core->options_.start_limit), a->over.acquire());
  const auto ended = co_await as_result(std::move(first));
  const bool is_late = ended.has_value() && ended.value().index() == 0;
  if (is_late) core->start_timed_out(*s, a);
}

inline std::exception_ptr function_core::start_failure(const module_slot& s,
                                                       std::string text) noexcept try {
  return std::make_exception_ptr(
      error(errc::start_failed, worker_id(describe(s), s.key), std::move(text)));
} catch (...) {
  return std::current_exception();
}

/// Whoever waits is told; the attempt itself may go on, if it cannot be stopped.
inline void function_core::start_timed_out(module_slot& s, const attempt_ptr& a) noexcept {
  start_failed(s, a, start_failure(s, "it did not start in time"));
  a->give_up.release();
}

inline void function_core::start_failed(module_slot& s, const attempt_ptr& a,
                                        std::exception_ptr why) noexcept {
  std::vector<open_call*> failed;
  std::vector<std::shared_ptr<load_ticket>> tickets;
  to_do todo;
  {
    const spin_guard guard(lock_);
    if (std::exchange(a->given_up, true)) return;
    if (s.attempt == a) s.attempt = nullptr;
    ++counts_.failed_starts;
    s.loaded = a->file;
    move_tickets(s, *a, tickets);
    if (s.current == nullptr) {
      note_failure(s);
      failed = take_waiting(s);
      counts_.calls += failed.size();
      note_quiet(todo);
    }
    start_once_more(s, todo);
  }
  const intrusive_ptr<shared_cause> cause = shared(std::move(why));
  fail_all(failed, cause);
  for (const auto& t : tickets) {
    t->failure = own_copy(cause);
    t->over.release();
  }
  carry_out(todo);
}

/// Those who have waited for this attempt, or for one before. Whoever asked while it was on its way
/// waits for the next, however many others ask meanwhile. Where no other is begun, it is the last.
inline void function_core::move_tickets(module_slot& s, const start_attempt& ended,
                                        std::vector<std::shared_ptr<load_ticket>>& to) {
  auto last = s.tickets.begin();
  while (last != s.tickets.end() && (hurried_ || (*last)->attempt <= ended.number)) ++last;
  to.insert(to.end(), s.tickets.begin(), last);
  s.tickets.erase(s.tickets.begin(), last);
}

/// For all who are told of it, none of whom gets the exception itself. Nothing: there is no memory.
inline intrusive_ptr<shared_cause> function_core::shared(std::exception_ptr why) noexcept {
  try {
    return intrusive_ptr<shared_cause>(new shared_cause(std::move(why)));
  } catch (...) {
    return {};
  }
}

/// `own`, and nested in it what is nested in the failure at hand, if anything is.
inline std::exception_ptr function_core::with_nested(const error& own, const std::exception& e,
                                                     intrusive_ptr<shared_cause> cause) noexcept {
  const auto* const nests = dynamic_cast<const std::nested_exception*>(&e);
  if (nests == nullptr || !nests->nested_ptr()) return std::make_exception_ptr(own);
  try {
    nests->rethrow_nested();
  } catch (...) {
    try {
      throw error_with_cause(std::move(cause), own);
    } catch (...) {
      return std::current_exception();
    }
  }
}

/// An exception that no other thread has.
inline std::exception_ptr function_core::own_copy(
    const intrusive_ptr<shared_cause>& cause) noexcept {
  try {
    if (!cause) throw std::bad_alloc();
    std::rethrow_exception(cause->get());
  } catch (const error& e) {
    return with_nested(e, e, cause);
  } catch (const std::exception& e) {
    return std::make_exception_ptr(error(errc::start_failed, {}, e.what()));
  } catch (...) {
    return std::make_exception_ptr(error(errc::start_failed));
  }
}

/// The same for a caller, with the names that it knows.
inline std::exception_ptr function_core::failure_for(
    const open_call& c, const intrusive_ptr<shared_cause>& cause) noexcept try {
  try {
    if (!cause) throw std::bad_alloc();
    std::rethrow_exception(cause->get());
  } catch (const error& e) {
    const error own(static_cast<errc>(e.code().value()), c.id_for_errors(), e.detail());
    return with_nested(own, e, cause);
  } catch (const std::exception& e) {
    return std::make_exception_ptr(error(errc::start_failed, c.id_for_errors(), e.what()));
  } catch (...) {
    return std::make_exception_ptr(error(errc::start_failed, c.id_for_errors()));
  }
} catch (...) {
  return std::current_exception();
}

inline void function_core::fail_all(std::vector<open_call*>& calls,
                                    const intrusive_ptr<shared_cause>& cause) noexcept {
  for (open_call* const c : calls) {
    c->fail(failure_for(*c, cause));
    release(c);
  }
}

/// The attempt is over, early or late.
inline void function_core::start_ended(module_slot& s, const attempt_ptr& a,
                                       std::exception_ptr why) noexcept {
  running_module& r = *a->made;
  if (!why) {
    if (start_succeeded(s, a)) return;
    why = start_failure(s, r.failure.empty() ? std::string("it has ended") : r.failure);
  }
  start_failed(s, a, std::move(why));
  to_do todo;
  {
    const spin_guard guard(lock_);
    --starting_;
    if (r.instance && !r.has_ended) {  // it is still to tell of its end
      r.adopted = true;
      begin_end(r);
      retire(r, todo);
      instances_.emplace_back(&r);
    } else {
      --workers_;
    }
    serve_line(todo);
    note_quiet(todo);
  }
  carry_out(todo);
}

/// False, and nothing has changed: the instance has died meanwhile. It is asked under the lock that
/// makes it one that takes calls, for its death is said but once.
inline bool function_core::start_succeeded(module_slot& s, const attempt_ptr& a) noexcept {
  running_module& r = *a->made;
  std::vector<open_call*> first;
  std::vector<std::shared_ptr<load_ticket>> tickets;
  bool is_thrown_away = false;
  to_do todo;
  // Asks the kernel: not under the lock.
  const bool is_measured =
      options_.kept == isolation::process && r.instance->kept() == isolation::process;
  const std::size_t cost = is_measured ? r.instance->memory() : 0;
  {
    const spin_guard guard(lock_);
    if (r.has_failed || r.has_ended) return false;
    --starting_;
    r.adopted = true;
    instances_.emplace_back(&r);
    watch_processes();
    if (cost != 0) share_room(cost);
    if (a->given_up || hurried_) {
      retire(r, todo);
      if (!a->given_up) {
        s.attempt = nullptr;
        move_tickets(s, *a, tickets);
        is_thrown_away = true;
      }
    } else {
      s.attempt = nullptr;
      s.path = a->path;
      s.loaded = s.seen = a->file;
      running_module* const replaced = std::exchange(s.current, &r);
      if (replaced != nullptr) {
        ++counts_.reloads;
        retire(*replaced, todo);
      }
      if (a->remember) {
        const std::string before = std::exchange(s.record.remembered, s.version);
        const auto old = slots_.find(slot_name{s.record.name, before, s.key});
        if (before != s.version && old != slots_.end() && old->second->current != nullptr) {
          ++counts_.reloads;
          retire(*old->second->current, todo);
        }
      }
      move_tickets(s, *a, tickets);
      first = give_waiting(r, todo);
      if (r.in_flight == 0) {
        r.idle_since = on_.now();
        idle_.push_back(r);
        if (options_.idle_after != endless) {
          idle_alarm_.set(saturating_add(r.idle_since, options_.idle_after));
        }
        if (!line_.empty()) make_room(todo);
      }
      start_once_more(s, todo);
      const bool wants_watch = !s.path.empty() && options_.watch_files != duration::zero();
      if (wants_watch && !std::exchange(watching_, true)) todo.watch = true;
    }
  }
  for (open_call* const c : first) on_.fork(*c);  // each by itself: one may block its thread
  for (const auto& t : tickets) {
    if (is_thrown_away) t->failure = start_failure(s, "its host has come to its end");
    t->over.release();
  }
  carry_out(todo);
  return true;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What is behind a `function_host`: which modules there are, who has room, and where each call
/// goes.
///
/// Layer: function. One lock, which is held for a few steps and never while anything of a module,
/// a loader or a user runs: what has to be done is noted under the lock, and done after it.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe/actor/failure.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/function/available_memory.hpp>
#include <troupe/function/caller_stamp.hpp>
#include <troupe/function/file_identity.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/guest_failure.hpp>
#include <troupe/function/in_process.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/function/module_source.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The program's loader, whatever it is made of.
class module_loader {
public:
  virtual ~module_loader() = default;
  virtual task<module_source> load(std::string module, std::string version) = 0;
};

/// Counted: the host holds it, and so do its calls and what is under way.
class function_core {
public:
  function_core(executor& e, function_host_options o);
  function_core(const function_core&) = delete;
  function_core& operator=(const function_core&) = delete;

  friend void add_ref(function_core* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(function_core* c) noexcept {
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  // --- for the host -----------------------------------------------------------------------------
  executor& where() noexcept { return on_; }
  const function_host_options& options() const noexcept { return options_; }
  void set_loader(std::shared_ptr<module_loader> l) noexcept {
    const spin_guard guard(lock_);
    loader_.swap(l);
  }
  void set_module(std::string_view module, module_options o);
  void close() noexcept {
    const spin_guard guard(lock_);
    closed_ = true;
  }
  /// The slot for what is asked for, made if there is none.
  intrusive_ptr<module_slot> slot_for(std::string_view module, std::string_view version,
                                      std::string_view key);
  task<> reload(std::string module, std::string version, bool names_version);
  /// Waits for all calls, within `limit`; then ends all instances. `for_good`: nothing is started
  /// any more.
  task<> drain(duration limit, bool for_good);
  function_stats stats();

  // --- for calls --------------------------------------------------------------------------------
  /// Takes a call, which refers to itself for the host; settles it in any case.
  void issue(open_call& c) noexcept;
  void dispatch(open_call& c, running_module& r) noexcept;
  /// The instance that has the call already, if any.
  running_module* given_to(const open_call& c) noexcept {
    const spin_guard guard(lock_);
    return c.place == call_place::running ? c.where.get() : nullptr;
  }
  /// The limit that holds for a call; `endless`: none.
  duration limit_of(const open_call& c) const noexcept;
  /// Whether what the module does may be done on the stack of the call's caller: not where that
  /// caller has a time limit to keep.
  bool runs_on_caller(const open_call& c) const noexcept {
    return kept_of(c.slot()) == isolation::in_process;
  }
  void call_ended(open_call& c, bool went_well) noexcept;
  void call_given_back(open_call& c) noexcept;
  void call_expired(open_call& c) noexcept;
  void call_cancelled(open_call& c) noexcept;

  // --- for instances ----------------------------------------------------------------------------
  void relay(running_module& from, const outgoing_call& c) noexcept;
  void instance_failed(running_module& r, errc why, std::string_view detail) noexcept;
  void instance_ended(running_module& r) noexcept;

private:
  /// What is to be done once the lock is not held any more.
  struct to_do {
    std::vector<intrusive_ptr<running_module>> close;
    std::vector<std::pair<intrusive_ptr<module_slot>, std::shared_ptr<start_attempt>>> start;
    std::vector<intrusive_ptr<module_slot>> pause;
    std::vector<std::shared_ptr<async_semaphore>> quiet;
    intrusive_ptr<running_module> gone;  // given up only then
    bool watch = false;
  };

  /// Runs something on the executor at a time.
  class alarm final : public timer, public runnable {
  public:
    using function = void (function_core::*)() noexcept;
    alarm(function_core& c, function f) noexcept
        : timer(&alarm::on_time), runnable(&alarm::run), core_(c), run_(f) {}

    /// The lock is held.
    void set(time_point at) noexcept {
      if (is_set || stopped) return;
      is_set = true;
      core_.on_.arm(*this, at);
    }
    /// From now on it is not set. True if it will not run any more; else it is about to.
    bool stop() noexcept {
      {
        const spin_guard guard(core_.lock_);
        stopped = true;
      }
      const bool was_armed = core_.on_.disarm(*this);
      const spin_guard guard(core_.lock_);
      if (was_armed) is_set = false;
      return !is_set;
    }

    bool is_set = false;   // it is armed, or about to run; guarded by the lock of the host
    bool stopped = false;  // likewise; for good

  private:
    static void on_time(timer& t) noexcept {
      auto& self = static_cast<alarm&>(t);
      self.core_.on_.post(self);
    }
    static void run(runnable& r) noexcept {
      auto& self = static_cast<alarm&>(r);
      const intrusive_ptr<function_core> core(&self.core_);  // whose end waits for it
      ((*core).*self.run_)();
    }
    function_core& core_;
    const function run_;
  };

  /// What is under way; none of it fails.
  class tasks final : public task_scope {
  public:
    explicit tasks(executor& e) noexcept : task_scope(e, &tasks::failed) {}
    auto all_ended() noexcept { return wait(*this); }

  private:
    static void failed(task_scope&, std::exception_ptr) noexcept {}
  };

  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept {
      return static_cast<std::size_t>(hash_bytes(s));
    }
  };
  struct slot_name {
    std::string_view module, version, key;
    friend bool operator==(const slot_name&, const slot_name&) = default;
  };
  struct slot_name_hash {
    std::size_t operator()(const slot_name& n) const noexcept {
      return static_cast<std::size_t>(
          hash_bytes(n.key, hash_bytes(n.version, hash_bytes(n.module))));
    }
  };

  using slot_ptr = intrusive_ptr<module_slot>;
  using attempt_ptr = std::shared_ptr<start_attempt>;
  using core_ptr = intrusive_ptr<function_core>;

  ~function_core() = default;

  /// A call of one module by another ends at last: the two may wait for each other in a circle,
  /// which nobody sees.
  static constexpr duration longest_relayed = std::chrono::seconds(30);

  // The lock is held in all of these.
  module_record& record_of(std::string_view module);
  slot_ptr slot_locked(module_record& record, std::string_view version, std::string_view key);
  isolation kept_of(const module_slot& s) const noexcept {
    return s.options.kept.value_or(options_.kept);
  }
  module_launcher* launcher_of(const module_slot& s) noexcept;
  void see_to_start(module_slot& s, to_do& todo);
  void begin_start(module_slot& s, bool is_reload, bool remember, to_do& todo);
  void start_once_more(module_slot& s, to_do& todo);
  void make_room(to_do& todo);
  void serve_line(to_do& todo);
  void retire(running_module& r, to_do& todo);
  void retire_idle(time_point until, bool all, to_do& todo);
  void give(running_module& r, open_call& c) noexcept;
  void follow_version(open_call& c) noexcept;
  void wait(module_slot& s, open_call& c, bool first) noexcept;
  void wait_no_more(open_call& c, to_do& todo) noexcept;
  void take_from(running_module& r, to_do& todo);
  void note_failure(module_slot& s) noexcept;
  void note_quiet(to_do& todo);
  void forget_unused() noexcept;
  std::vector<open_call*> take_waiting(module_slot& s) noexcept;
  static void move_tickets(module_slot& s, std::vector<std::shared_ptr<load_ticket>>& to) {
    to.insert(to.end(), s.tickets.begin(), s.tickets.end());
    s.tickets.clear();
  }
  std::size_t calls_here() const noexcept { return waiting_calls_ + running_calls_; }

  // It is not held in these.
  void carry_out(to_do& todo) noexcept;
  void refuse(open_call& c, errc why, std::string text) noexcept;
  void fail_all(std::vector<open_call*>& calls, const std::exception_ptr& why) noexcept;
  void start_failed(module_slot& s, const attempt_ptr& a, std::exception_ptr why) noexcept;
  void start_succeeded(module_slot& s, const attempt_ptr& a) noexcept;
  void start_ended(module_slot& s, const attempt_ptr& a, std::exception_ptr why) noexcept;
  void start_timed_out(module_slot& s, const attempt_ptr& a) noexcept;
  void pause_ended(module_slot& s) noexcept;
  void look_at_idle() noexcept;
  void lose_patience() noexcept;
  void end_what_is_left() noexcept;
  void kill_what_is_left() noexcept;
  task<bool> wait_until_quiet(duration limit, bool for_instances);

  static task<> run_start(core_ptr core, slot_ptr s, attempt_ptr a);
  static task<> try_start(core_ptr core, slot_ptr s, attempt_ptr a);
  static task<> limit_start(core_ptr core, slot_ptr s, attempt_ptr a);
  static task<module_image> image_from(std::shared_ptr<module_loader> loader, slot_ptr s,
                                       attempt_ptr a);
  static task<> run_pause(core_ptr core, slot_ptr s, time_point until);
  static task<> watch_files(core_ptr core);
  bool look_at_files(std::vector<std::pair<slot_ptr, file_identity>>& files);
  void files_seen(const std::vector<std::pair<slot_ptr, file_identity>>& files) noexcept;
  static std::exception_ptr start_failure(const module_slot& s, std::string text) noexcept;
  static std::string describe(const module_slot& s) {
    return s.version.empty() ? s.record.name : s.record.name + "@" + s.version;
  }
  static std::string text_of(const std::exception_ptr& e);
  static std::exception_ptr failure_for(const open_call& c, const std::exception_ptr& why) noexcept;

  executor& on_;
  const function_host_options options_;
  in_process_launcher in_process_;
  std::size_t max_workers_;
  spin_lock lock_;  // guards all below
  std::shared_ptr<module_loader> loader_;
  std::unordered_map<std::string, std::unique_ptr<module_record>, text_hash, std::equal_to<>>
      records_;
  std::unordered_map<slot_name, slot_ptr, slot_name_hash> slots_;  // names are the slots' own
  std::vector<intrusive_ptr<running_module>> instances_;           // that were adopted
  intrusive_list<running_module> idle_;  // the one that is longest without a call first
  std::deque<slot_ptr> line_;            // for room; the first is next
  std::vector<std::shared_ptr<async_semaphore>> quiet_;  // who waits for calls or instances to end
  std::size_t workers_ = 0;                              // instances and attempts
  std::size_t starting_ = 0;                             // attempts
  std::size_t leaving_ = 0;                              // instances that take no calls any more
  std::size_t waiting_calls_ = 0;
  std::size_t running_calls_ = 0;
  std::size_t sweep_at_ = 256;  // so many slots are looked through
  bool closed_ = false;         // nothing is taken any more
  bool hurried_ = false;        // what has not started is not started any more
  bool watching_ = false;
  alarm idle_alarm_{*this, &function_core::look_at_idle};
  alarm patience_{*this, &function_core::lose_patience};
  function_stats counts_;  // those that only grow
  tasks tasks_;
  atomic<std::uint32_t> references_{0};
};

// --- names --------------------------------------------------------------------------------------

inline function_core::function_core(executor& e, function_host_options o)
    : on_(e), options_(o), max_workers_(o.max_workers), tasks_(e) {
  if (max_workers_ != 0) return;
  const module_launcher& usual = o.kept == isolation::process && o.processes != nullptr
                                     ? *o.processes
                                     : static_cast<const module_launcher&>(in_process_);
  const auto room = static_cast<double>(available_memory()) * 0.8;
  const auto each = static_cast<double>((std::max)(usual.cost(), std::size_t{1}));
  max_workers_ = static_cast<std::size_t>(std::clamp(room / each, 1.0, 1e6));
}

inline module_record& function_core::record_of(std::string_view module) {
  auto found = records_.find(module);
  if (found == records_.end()) {
    found = records_.emplace(std::string(module), std::make_unique<module_record>(module)).first;
  }
  return *found->second;
}

inline void function_core::set_module(std::string_view module, module_options o) {
  const spin_guard guard(lock_);
  record_of(module).options = std::move(o);
}

inline intrusive_ptr<module_slot> function_core::slot_for(std::string_view module,
                                                          std::string_view version,
                                                          std::string_view key) {
  const spin_guard guard(lock_);
  module_record& record = record_of(module);
  return slot_locked(record, version.empty() ? record.remembered : version,
                     record.options.per_key ? key : std::string_view());
}

inline intrusive_ptr<module_slot> function_core::slot_locked(module_record& record,
                                                             std::string_view version,
                                                             std::string_view key) {
  const auto found = slots_.find(slot_name{record.name, version, key});
  if (found != slots_.end()) return found->second;
  forget_unused();
  const slot_ptr made(new module_slot(*this, record, version, key));
  slots_.emplace(slot_name{record.name, made->version, made->key}, made);
  return made;
}

/// Slots that nobody asks for any more would stay for ever where each key has one: now and then
/// they are looked through. What the host alone refers to nobody can be about to use.
inline void function_core::forget_unused() noexcept {
  if (slots_.size() < sweep_at_) return;
  std::erase_if(slots_, [](const auto& entry) {
    const module_slot& s = *entry.second;
    return s.only_host_refers() && s.not_before == (time_point::min)();
  });
  sweep_at_ = (std::max)(2 * slots_.size(), std::size_t{256});
}

inline module_launcher* function_core::launcher_of(const module_slot& s) noexcept {
  return kept_of(s) == isolation::in_process ? static_cast<module_launcher*>(&in_process_)
                                             : options_.processes;
}

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
}

inline void function_core::issue(open_call& c) noexcept {
  running_module* to = nullptr;
  errc refused{};
  bool is_over = false;
  to_do todo;
  {
    const spin_guard guard(lock_);
    is_over = c.place == call_place::gone;
    if (!is_over && !c.names_version) follow_version(c);
    module_slot& s = c.slot();
    if (is_over) {
      // Its caller was told before it came here.
    } else if (closed_) {
      refused = errc::broker_gone;
    } else if (s.current != nullptr) {
      to = s.current;
      give(*to, c);
    } else if (s.waiting_count >= options_.max_waiting) {
      refused = errc::mailbox_full;
    } else {
      wait(s, c, false);
      see_to_start(s, todo);
    }
    if (refused != errc{}) c.place = call_place::gone;
  }
  if (to != nullptr) return dispatch(c, *to);
  carry_out(todo);
  if (refused != errc{}) c.fail(refused, {});
  if (refused != errc{} || is_over) release(&c);
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

/// The call waits for an instance; `first`: in front of all others.
inline void function_core::wait(module_slot& s, open_call& c, bool first) noexcept {
  c.place = call_place::waiting;
  if (first) {
    s.waiting.push_front(c);
  } else {
    s.waiting.push_back(c);
  }
  ++s.waiting_count;
  ++waiting_calls_;
}

/// The call does not wait any more, and is not given to anybody.
inline void function_core::wait_no_more(open_call& c, to_do& todo) noexcept {
  c.place = call_place::gone;
  c.slot().waiting.remove(c);
  --c.slot().waiting_count;
  --waiting_calls_;
  ++counts_.calls;
  note_quiet(todo);
}

/// The call was given to the instance.
inline void function_core::dispatch(open_call& c, running_module& r) noexcept {
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
  r.instance->call(c);
}

inline void function_core::refuse(open_call& c, errc why, std::string text) noexcept {
  call_ended(c, true);
  c.fail(why, std::move(text));
  release(&c);
}

/// An instance has one call less.
inline void function_core::take_from(running_module& r, to_do& todo) {
  --running_calls_;
  if (--r.in_flight != 0) return;
  if (r.closing) return;
  if (r.retiring) {
    r.closing = true;
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

/// Its instance is done with the call, which whoever calls this settles.
inline void function_core::call_ended(open_call& c, bool went_well) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    todo.gone = std::move(c.where);
    c.place = call_place::gone;
    ++counts_.calls;
    if (went_well) todo.gone->slot->failures = 0;
    take_from(*todo.gone, todo);
    note_quiet(todo);
  }
  carry_out(todo);
}

/// It never began; the one that takes the place of its instance gets it, before those that came
/// later.
inline void function_core::call_given_back(open_call& c) noexcept {
  module_slot& s = c.slot();
  to_do todo;
  running_module* to = nullptr;
  bool is_over = false;
  {
    const spin_guard guard(lock_);
    todo.gone = std::move(c.where);
    take_from(*todo.gone, todo);
    if (hurried_ || c.ended() > call_end::waiting) {
      is_over = true;
      c.place = call_place::gone;
      ++counts_.calls;
      note_quiet(todo);
    } else if (s.current != nullptr) {
      to = s.current;
      give(*to, c);
    } else {
      wait(s, c, true);
      see_to_start(s, todo);
    }
  }
  carry_out(todo);
  if (to != nullptr) return dispatch(c, *to);
  if (!is_over) return;
  c.fail(errc::worker_stopped, {});
  release(&c);
}

/// Its time is up; or the grace after that, if its caller has been told already.
inline void function_core::call_expired(open_call& c) noexcept {
  intrusive_ptr<running_module> r;
  to_do todo;
  call_place place{};
  {
    const spin_guard guard(lock_);
    place = c.place;
    if (place == call_place::waiting) wait_no_more(c, todo);
    if (place == call_place::nowhere) c.place = call_place::gone;
    if (place == call_place::running) r = c.where;
  }
  carry_out(todo);
  if (place == call_place::gone) return;
  if (place == call_place::nowhere) {
    c.settle_as(call_end::expired);
    return;
  }
  if (place == call_place::waiting) {
    c.settle_as(call_end::expired);
    return release(&c);
  }
  const bool is_process = r->instance->kept() == isolation::process;
  if (c.settle_as(call_end::timed_out)) {
    r->instance->stop(c.id);
    if (is_process) on_.arm(c.limit_timer_of(), saturating_add(on_.now(), options_.stop_grace));
    return;
  }
  if (!is_process || c.ended() != call_end::timed_out) return;
  constexpr std::string_view why = "it was killed: a call did not come to its end in time";
  instance_failed(*r, errc::worker_crashed, why);
  r->instance->kill(errc::worker_crashed, why);
}

/// Its caller was asked to stop: one that waits is withdrawn, one that runs is asked in turn.
inline void function_core::call_cancelled(open_call& c) noexcept {
  intrusive_ptr<running_module> r;
  to_do todo;
  call_place place{};
  {
    const spin_guard guard(lock_);
    place = c.place;
    if (place == call_place::waiting) wait_no_more(c, todo);
    if (place == call_place::nowhere) c.place = call_place::gone;
    if (place == call_place::running) r = c.where;
  }
  carry_out(todo);
  if (r) return r->instance->stop(c.id);
  if (place == call_place::gone) return;
  c.stop_timer();
  c.settle_as(call_end::cancelled);
  if (place == call_place::waiting) release(&c);
}

inline std::vector<open_call*> function_core::take_waiting(module_slot& s) noexcept {
  std::vector<open_call*> taken;
  taken.reserve(s.waiting_count);
  while (open_call* const c = s.waiting.empty() ? nullptr : &s.waiting.front()) {
    s.waiting.remove(*c);
    c->place = call_place::gone;
    taken.push_back(c);
  }
  waiting_calls_ -= s.waiting_count;
  s.waiting_count = 0;
  return taken;
}

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
/// after the other is drained.
inline void function_core::make_room(to_do& todo) {
  while (line_.size() > leaving_ && !idle_.empty()) {
    ++counts_.evictions;
    retire(idle_.front(), todo);
  }
  if (line_.size() > leaving_) patience_.set(saturating_add(on_.now(), options_.patience));
}

/// No new call goes to it; once it has none, it ends.
inline void function_core::retire(running_module& r, to_do& todo) {
  if (r.retiring) return;
  r.retiring = true;
  ++leaving_;
  if (r.linked()) idle_.remove(r);
  if (r.slot->current == &r) r.slot->current = nullptr;
  if (r.in_flight != 0 || r.closing) return;
  r.closing = true;
  todo.close.emplace_back(&r);
}

/// The longest without a new start among those that are busy makes room.
inline void function_core::lose_patience() noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    patience_.is_set = false;
    if (line_.empty() || patience_.stopped) return;
    if (idle_.empty()) {
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
  if (quiet_.empty() || (calls_here() != 0 && workers_ != 0)) return;
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
  for (const auto& q : todo.quiet) q->release();
  if (!todo.watch) return;
  try {
    tasks_.spawn(watch_files(core_ptr(this)));
  } catch (...) {
    const spin_guard guard(lock_);
    watching_ = false;
  }
}

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
  auto copy = [&from, &a] {
    if (from.path() == nullptr) return module_image::from_bytes(from.bytes()->bytes());
    a->path = *from.path();
    a->file = file_identity::of(a->path);
    return module_image::from_file(a->path);
  };
  auto copied = offload(std::move(copy));
  co_return co_await std::move(copied);
}

inline task<> function_core::try_start(core_ptr core, slot_ptr s, attempt_ptr a) {
  std::shared_ptr<module_loader> loader;
  module_launcher* launcher = nullptr;
  module_permissions permissions;
  {
    const spin_guard guard(core->lock_);
    loader = core->loader_;
    launcher = core->launcher_of(*s);
    permissions = s->options.permissions;
  }
  const worker_id id(describe(*s), s->key);
  if (!loader) {
    throw error(errc::no_such_module, id, "the host has no loader (define_loader)");
  }
  if (launcher == nullptr) {
    throw error(errc::start_failed, id, "nothing here can run modules in processes of their own");
  }
  try {
    auto image = image_from(std::move(loader), s, a);
    const module_image copied = co_await std::move(image);
    const module_launch launch{s->record.name, s->version, copied,
                               permissions,    core->on_,  *a->made};
    auto starting = launcher->start(launch);
    a->made->instance = co_await std::move(starting);
  } catch (const error& e) {
    if (!e.worker().type.empty()) throw;
    throw error(static_cast<errc>(e.code().value()), id, e.detail());
  }
}

inline task<> function_core::run_start(core_ptr core, slot_ptr s, attempt_ptr a) {
  core->tasks_.spawn(limit_start(core, s, a));
  auto attempt = when_any(try_start(core, s, a), a->give_up.acquire());
  const auto ended = co_await as_result(std::move(attempt));
  std::exception_ptr why;
  if (!a->made->instance) {
    try {
      ended.value();
      throw error(errc::start_failed, worker_id(describe(*s), s->key), "it was given up");
    } catch (...) {
      why = std::current_exception();
    }
  }
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
    if (!s.start_again) move_tickets(s, tickets);
    if (s.current == nullptr) {
      note_failure(s);
      failed = take_waiting(s);
      counts_.calls += failed.size();
      note_quiet(todo);
    }
    start_once_more(s, todo);
  }
  fail_all(failed, why);
  for (const auto& t : tickets) {
    t->failure = why;
    t->over.release();
  }
  carry_out(todo);
}

/// Each caller gets an exception of its own.
inline std::exception_ptr function_core::failure_for(const open_call& c,
                                                     const std::exception_ptr& why) noexcept try {
  try {
    std::rethrow_exception(why);
  } catch (const error& e) {
    const intrusive_ptr<shared_cause> cause(new shared_cause(why));
    const bool nests = dynamic_cast<const std::nested_exception*>(&e) != nullptr;
    const error own(static_cast<errc>(e.code().value()), c.id_for_errors(), e.detail());
    if (!nests) return std::make_exception_ptr(own);
    return why;
  } catch (const std::exception& e) {
    return std::make_exception_ptr(error(errc::start_failed, c.id_for_errors(), e.what()));
  } catch (...) {
    return std::make_exception_ptr(error(errc::start_failed, c.id_for_errors()));
  }
} catch (...) {
  return std::current_exception();
}

inline void function_core::fail_all(std::vector<open_call*>& calls,
                                    const std::exception_ptr& why) noexcept {
  for (open_call* const c : calls) {
    c->fail(failure_for(*c, why));
    release(c);
  }
}

/// The attempt is over, early or late.
inline void function_core::start_ended(module_slot& s, const attempt_ptr& a,
                                       std::exception_ptr why) noexcept {
  running_module& r = *a->made;
  bool dies = false;
  {
    const spin_guard guard(lock_);
    if (r.has_failed) {
      dies = !r.has_ended;
      why = start_failure(s, r.failure);
    }
  }
  if (!why) return start_succeeded(s, a);
  start_failed(s, a, std::move(why));
  to_do todo;
  {
    const spin_guard guard(lock_);
    --starting_;
    if (dies && !r.has_ended) {  // it is still to tell of its end
      r.adopted = r.closing = r.retiring = true;
      ++leaving_;
      instances_.emplace_back(&r);
    } else {
      --workers_;
    }
    serve_line(todo);
    note_quiet(todo);
  }
  carry_out(todo);
}

inline void function_core::start_succeeded(module_slot& s, const attempt_ptr& a) noexcept {
  running_module& r = *a->made;
  std::vector<open_call*> first;
  std::vector<std::shared_ptr<load_ticket>> tickets;
  to_do todo;
  {
    const spin_guard guard(lock_);
    --starting_;
    r.adopted = true;
    instances_.emplace_back(&r);
    if (a->given_up || hurried_) {
      retire(r, todo);
      if (!a->given_up) {
        s.attempt = nullptr;
        move_tickets(s, tickets);
      }
    } else {
      s.attempt = nullptr;
      s.path = a->path;
      s.loaded = s.seen = a->file;
      if (s.current != nullptr) {
        ++counts_.reloads;
        retire(*s.current, todo);
      }
      s.current = &r;
      if (a->remember) {
        const std::string before = std::exchange(s.record.remembered, s.version);
        const auto old = slots_.find(slot_name{s.record.name, before, s.key});
        if (before != s.version && old != slots_.end() && old->second->current != nullptr) {
          ++counts_.reloads;
          retire(*old->second->current, todo);
        }
      }
      if (!s.start_again) move_tickets(s, tickets);
      first = take_waiting(s);
      for (open_call* const c : first) give(r, *c);
      if (first.empty()) {
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
  for (const auto& t : tickets) t->over.release();
  carry_out(todo);
}

// --- instances ----------------------------------------------------------------------------------

inline void function_core::instance_failed(running_module& r, errc,
                                           std::string_view detail) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    if (!r.adopted) {
      r.has_failed = true;
      r.failure = detail;
      return;
    }
    if (r.closing) return;
    ++counts_.crashes;
    note_failure(*r.slot);
    r.closing = true;  // it ends by itself
    retire(r, todo);
    if (r.slot->waiting_count != 0) see_to_start(*r.slot, todo);
  }
  carry_out(todo);
}

inline void function_core::instance_ended(running_module& r) noexcept {
  to_do todo;
  intrusive_ptr<running_module> gone;
  {
    const spin_guard guard(lock_);
    r.has_ended = true;
    if (!r.adopted) return;
    retire(r, todo);
    todo.close.clear();
    --leaving_;
    --workers_;
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

// --- one module calls another -------------------------------------------------------------------

/// A call for a module: nobody is suspended, a function is called.
class relayed_call final : public open_call {
public:
  relayed_call(intrusive_ptr<module_slot> to, const outgoing_call& c)
      : open_call(std::move(to), c.function, c.key), settled_(c.settled), context_(c.context) {
    const std::span<const std::byte> bytes_of = as_span(c.payload);
    bytes.assign(bytes_of.begin(), bytes_of.end());
    format = c.format;
  }

  /// Issues it from a step of the executor.
  void begin(executor& on) noexcept {
    on_ = &on;
    add_ref(this);  // the host's
    add_ref(this);  // until its answer was told
    on.post(*this);
  }
  void refuse(executor& on, errc why, std::string text) noexcept {
    on_ = &on;
    add_ref(this);
    stay_suspended();
    fail(why, std::move(text));
  }

private:
  /// Its own step: a runnable beside the one that issues it.
  class answer final : public runnable {
  public:
    explicit answer(relayed_call& c) noexcept : runnable(&answer::run), call_(c) {}

  private:
    static void run(runnable& r) noexcept {
      relayed_call& c = static_cast<answer&>(r).call_;
      c.tell();
      release(static_cast<open_call*>(&c));
    }
    relayed_call& call_;
  };

  void issued() noexcept override {
    if (!stay_suspended()) wake_up();
  }
  void wake_up() noexcept override { on_->post(answer_); }
  void tell() noexcept {
    try {
      take_reply();
    } catch (...) {
      const crossing_failure f = describe_failure_or_code(std::current_exception());
      return settled_(context_, f.outcome, f.code, as_bytes(f.text));
    }
    settled_(context_, troupe_outcome_value, 0, as_bytes(std::span<const std::byte>(bytes)));
  }

  const troupe_settled settled_;
  void* const context_;
  executor* on_ = nullptr;
  answer answer_{*this};
};

/// Who calls is what the host knows, not what the module says.
inline void function_core::relay(running_module& from, const outgoing_call& c) noexcept {
  const module_slot& caller = *from.slot;
  const auto& allowed = caller.options.permissions.may_call;
  const bool may = std::any_of(allowed.begin(), allowed.end(), [&](const std::string& name) {
    return name == "*" || name == c.module;
  });
  auto* const made = new relayed_call(slot_for(c.module, c.version, c.key), c);
  made->names_version = !c.version.empty();
  made->stamp = stamp_of(caller.record.name, caller.key);
  if (!may) {
    return made->refuse(on_, errc::refused,
                        caller.record.name + " may not call other modules, or not this one");
  }
  if (c.payload.size > options_.max_payload) return made->refuse(on_, errc::too_large, {});
  const duration most = limit_of(*made) == endless ? longest_relayed : limit_of(*made);
  const time_point now = on_.now();
  const time_point until = (std::min)(saturating_add(now, most), c.deadline);
  made->arm_timer(on_, until);
  made->begin(on_);
}

// --- reloading ----------------------------------------------------------------------------------

/// A new instance beside each that lives, of the version that is meant from then on; where none
/// lives, the next call starts one.
inline task<> function_core::reload(std::string module, std::string version, bool names_version) {
  std::vector<std::shared_ptr<load_ticket>> tickets;
  to_do todo;
  {
    const spin_guard guard(lock_);
    module_record& record = record_of(module);
    if (!names_version) version = record.remembered;
    std::vector<std::string> keys;
    for (const auto& [name, s] : slots_) {
      const bool lives = s->current != nullptr || s->attempt;
      const bool is_meant = s->version == version || s->version == record.remembered;
      if (&s->record == &record && lives && is_meant) keys.push_back(s->key);
    }
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    if (keys.empty()) record.remembered = version;
    for (const std::string& key : keys) {
      const slot_ptr s = slot_locked(record, version, key);
      s->tickets.push_back(std::make_shared<load_ticket>());
      tickets.push_back(s->tickets.back());
      if (s->attempt) {
        s->start_again = true;
        s->start_again_remembers = names_version;
      } else {
        begin_start(*s, true, names_version, todo);
      }
    }
  }
  carry_out(todo);
  for (const auto& t : tickets) {
    auto over = t->over.acquire();
    co_await std::move(over);
  }
  for (const auto& t : tickets) {
    if (t->failure) std::rethrow_exception(t->failure);
  }
}

inline task<> function_core::watch_files(core_ptr core) {
  std::vector<std::pair<slot_ptr, file_identity>> files;
  for (;;) {
    const result<void> slept = co_await as_result(sleep_for(core->options_.watch_files));
    if (!slept.has_value() || !core->look_at_files(files)) co_return;
    auto look = [&files] {
      for (auto& [s, file] : files) file = file_identity::of(s->path);
    };
    auto looked = offload(std::move(look));
    const result<void> seen = co_await as_result(std::move(looked));
    if (seen.has_value()) core->files_seen(files);
    files.clear();
  }
}

/// False: there is nothing to look at, and whoever starts a module begins to look again.
inline bool function_core::look_at_files(std::vector<std::pair<slot_ptr, file_identity>>& files) {
  const spin_guard guard(lock_);
  for (const auto& r : instances_) {
    const bool is_current = r->slot->current == r.get();
    if (is_current && !r->slot->path.empty()) files.emplace_back(r->slot, file_identity());
  }
  watching_ = !files.empty() && !closed_;
  return watching_;
}

/// A file that is being written is not loaded: it has to be the same in two looks.
inline void function_core::files_seen(
    const std::vector<std::pair<slot_ptr, file_identity>>& files) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    for (const auto& [s, file] : files) {
      const bool was_seen = std::exchange(s->seen, file) == file;
      if (!file || file == s->loaded || !was_seen || s->attempt || s->current == nullptr) continue;
      begin_start(*s, true, false, todo);
    }
  }
  carry_out(todo);
}

// --- the end ------------------------------------------------------------------------------------

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
      if (std::exchange(r->closing, true)) continue;
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
  tasks_.request_stop();
  auto tasks_ended = tasks_.all_ended();
  co_await std::move(tasks_ended);
  std::unordered_map<slot_name, slot_ptr, slot_name_hash> slots;
  {
    const spin_guard guard(lock_);
    slots.swap(slots_);
  }
}

inline function_stats function_core::stats() {
  const std::size_t lingering = lingering_libraries::instance().count();
  const spin_guard guard(lock_);
  function_stats s = counts_;
  s.max_workers = max_workers_;
  s.workers = workers_;
  s.starting = starting_;
  s.ending = leaving_;
  for (const auto& r : instances_) s.idle += !r->retiring && r->in_flight == 0 ? 1 : 0;
  s.running = running_calls_;
  s.waiting = waiting_calls_;
  s.lingering = lingering;
  return s;
}

// --- what a call needs of it --------------------------------------------------------------------

inline void open_call::stop_timer() noexcept {
  if (!timed_) return;
  executor& on = core_.where();
  on.disarm(timer_);
  on.disarm(timer_);  // it may have fired meanwhile, and have armed itself once more
}

inline void open_call::arm_timer(executor& on, time_point until) {
  if (until == never) return;
  deadline = to_nanoseconds(until);
  timed_ = true;
  on.arm(timer_, until);
}

inline void open_call::limit_timer::on_time(timer& t) noexcept {
  open_call& call = static_cast<limit_timer&>(t).call_;
  call.core_.call_expired(call);
}

inline void open_call::on_stop(stop_hook& h) noexcept {
  auto& self = static_cast<open_call&>(h);
  self.core_.call_cancelled(self);
}

inline void open_call::give_back() noexcept { core_.call_given_back(*this); }

/// The first step issues it; one more, if it had to wait, takes it to the instance it was given to.
inline void open_call::run_issue(runnable& r) noexcept {
  auto& self = static_cast<open_call&>(r);
  const intrusive_ptr<open_call> kept(&self);
  const intrusive_ptr<function_core> core(&self.core_);
  if (running_module* const to = core->given_to(self)) return core->dispatch(self, *to);
  core->issue(self);
  self.issued();
}

/// What was replied is kept as it is: it is taken apart where its caller goes on.
inline void open_call::settled_by_module(troupe_module_call* c, std::uint32_t outcome,
                                         std::uint32_t code, troupe_bytes reply) noexcept {
  auto& self = static_cast<open_call&>(*static_cast<module_call*>(c));
  const std::span<const std::byte> came = as_span(reply);
  self.outcome_ = outcome;
  self.code_ = code;
  try {
    self.bytes.assign(came.begin(), came.end());
  } catch (...) {
    self.failure_ = std::current_exception();
  }
  const bool died =
      outcome == troupe_outcome_error && code == static_cast<std::uint32_t>(errc::worker_crashed);
  self.core_.call_ended(self, !died);
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
  const duration most = core.limit_of(*this);
  if (chain.deadline != never) deadline = to_nanoseconds(chain.deadline);
  if (most != endless || chain.deadline != never) {
    const time_point now = core.where().now();
    if (chain.deadline <= now) {
      settle_as(call_end::expired);
      return false;
    }
    if (most != endless)
      arm_timer(core.where(), (std::min)(saturating_add(now, most), chain.deadline));
  }
  if (cell* const from = caller_above(&chain)) stamp = stamp_of(from->type().name, from->key());
  stop_state* const stop = chain.limited ? chain.stop() : nullptr;
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

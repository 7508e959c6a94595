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
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/function/available_descriptors.hpp>
#include <troupe/function/available_memory.hpp>
#include <troupe/function/file_identity.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/in_process.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/function/module_source.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/function/process_launcher.hpp>
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

/// What the end of a call says of its module.
enum class call_verdict : std::uint8_t {
  was_run,            // it lives
  speaks_of_a_crash,  // its own, or one of a module that it has called
  was_not_run
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
  /// The same, unless something was said of the module before.
  void set_new_module(std::string_view module, const module_options& o);
  void close() noexcept {
    const spin_guard guard(lock_);
    closed_ = true;
  }
  /// The slot for what is asked for, made if there is none.
  intrusive_ptr<module_slot> slot_for(std::string_view module, std::string_view version,
                                      std::string_view key);
  task<> reload(std::string module, std::string version, bool names_version);
  /// What keeps modules in processes, where the options name nobody else. Throws
  /// `std::system_error` where no thread or descriptor is left.
  process_launcher& sandbox();
  /// Ends it, after `drain` for good. By whoever owns this, on a thread that may block: the last
  /// reference may be one of the very thread that is waited for here.
  void end_sandbox() noexcept {
    std::unique_ptr<process_launcher> gone;  // ends behind the guard
    const spin_guard guard(lock_);
    gone.swap(sandbox_);
  }
  /// Waits for all calls, within `limit`; then ends all instances. `for_good`: nothing is started
  /// any more.
  task<> drain(duration limit, bool for_good);
  function_stats stats();

  // --- for calls --------------------------------------------------------------------------------
  /// Takes a call, which refers to itself for the host; settles it in any case. Returns why it was
  /// refused at once, without being looked at; nothing: it was not. A tell runs nothing here.
  errc issue(open_call& c) noexcept;
  /// The step of a lane: takes its calls to their instance.
  void run_lane(call_lane& l) noexcept;
  /// A tell is the program's concern from before it is issued until its dead letter, if any, is
  /// read: `drain` for good waits for that.
  void tell_begins() noexcept { open_tells_.fetch_add(1, order::relaxed); }
  void tell_is_over() noexcept { open_tells_.fetch_sub(1, order::release); }
  /// Takes a call to the instance that it was given to. Whoever calls this refers to it besides.
  void dispatch(open_call& c, running_module& r) noexcept;
  /// The instance that has the call already, if any; it begins there now.
  running_module* begin_there(open_call& c) noexcept {
    const spin_guard guard(lock_);
    if (c.place != call_place::running) return nullptr;
    c.begun = true;
    return c.where.get();
  }
  /// The limit that holds for a call; `endless`: none.
  duration limit_of(const open_call& c) const noexcept;
  /// Whether what the module does may be done on the stack of the call's caller: not where that
  /// caller has a time limit to keep.
  bool runs_on_caller(const open_call& c) const noexcept {
    return kept_of(c.slot()) == isolation::in_process;
  }
  std::uint64_t max_held_replies() const noexcept { return max_held_replies_; }
  void call_ended(open_call& c, call_verdict how) noexcept;
  void call_given_back(open_call& c) noexcept;
  void call_expired(open_call& c) noexcept;
  void call_out_of_grace(open_call& c) noexcept;
  void call_cancelled(open_call& c) noexcept;

  // --- for instances ----------------------------------------------------------------------------
  void relay(running_module& from, const outgoing_call& c) noexcept;
  void relay_ended(running_module& from, std::size_t bytes) noexcept {
    const spin_guard guard(lock_);
    from.asked_bytes -= bytes;
  }
  void instance_failed(running_module& r, errc why, std::string_view detail) noexcept;
  void instance_ended(running_module& r) noexcept;

private:
  /// What is to be done once the lock is not held any more.
  struct to_do {
    std::vector<intrusive_ptr<running_module>> close;
    std::vector<std::pair<intrusive_ptr<module_slot>, std::shared_ptr<start_attempt>>> start;
    std::vector<intrusive_ptr<module_slot>> pause;
    std::vector<std::shared_ptr<async_semaphore>> quiet;
    std::vector<open_call*> begin;       // that were given to an instance
    std::vector<call_lane*> lanes;       // that have calls, and whose step is to run
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

  /// Looked at without the lock: the path is the look's own.
  struct file_look {
    slot_ptr slot;
    std::string path;
    file_identity seen;
  };

  ~function_core() = default;

  /// A call of one module by another ends at last: the two may wait for each other in a circle,
  /// which nobody sees.
  static constexpr duration longest_relayed = std::chrono::seconds(30);
  /// An instance that was closed ends by then; a process is killed, any other is not counted on.
  static constexpr duration longest_end = std::chrono::seconds(1);
  /// One that is drained is counted on for so long.
  static constexpr duration longest_drain = std::chrono::seconds(1);
  /// A call that nobody waits for is looked at so often, while it keeps its process busy.
  static constexpr duration next_look = std::chrono::milliseconds(50);
  static constexpr double most_workers = 1e6;
  static constexpr duration watch_every = std::chrono::seconds(1);
  /// So many instances may die before a call begins; then it is its fault.
  static constexpr std::uint32_t most_deaths = 3;

  // The lock is held in all of these.
  module_record& record_of(std::string_view module);
  slot_ptr slot_locked(module_record& record, std::string_view version, std::string_view key);
  bool ask(running_module& from, std::size_t bytes) noexcept;
  isolation kept_of(const module_slot& s) const noexcept {
    return s.options.kept.value_or(options_.kept);
  }
  module_launcher& launcher_of(const module_slot& s);
  void share_room(std::size_t cost) noexcept;
  void see_to_start(module_slot& s, to_do& todo);
  void begin_start(module_slot& s, bool is_reload, bool remember, to_do& todo);
  void start_once_more(module_slot& s, to_do& todo);
  void make_room(to_do& todo);
  void serve_line(to_do& todo);
  void retire(running_module& r, to_do& todo);
  void begin_end(running_module& r) noexcept;
  void watch_processes() noexcept;
  const char* what_is_wrong(running_module& r, const process_look& seen, time_point now) noexcept;
  void note_failed(running_module& r, std::string_view detail, to_do& todo);
  void note_death(running_module& r, to_do& todo);
  void give(running_module& r, open_call& c) noexcept;
  bool enter_lane(running_module& r, open_call& c, to_do& todo) noexcept;
  std::vector<open_call*> give_waiting(running_module& r, to_do& todo) noexcept;
  static bool takes_calls(const module_slot& s) noexcept {
    return s.current != nullptr && s.current->doubts == 0;
  }
  errc why_not_taken(const open_call& c) const noexcept;
  void follow_version(open_call& c) noexcept;
  void wait(module_slot& s, open_call& c) noexcept;
  void wait_again(module_slot& s, open_call& c) noexcept;
  void wait_no_more(open_call& c, to_do& todo) noexcept;
  void take_from(running_module& r, to_do& todo);
  void leave(open_call& c) noexcept;
  bool may_be_killed_for(const open_call& c, time_point now) const noexcept;
  void look_again(open_call& c, time_point now) noexcept;
  void part(open_call& c, to_do& todo);
  void forget_left(open_call& c, running_module& r) noexcept;
  void hand_over(module_slot& s, to_do& todo);
  void note_failure(module_slot& s) noexcept;
  void note_quiet(to_do& todo);
  void forget_unused(const module_record& used) noexcept;
  std::vector<open_call*> take_waiting(module_slot& s) noexcept;
  void move_tickets(module_slot& s, const start_attempt& ended,
                    std::vector<std::shared_ptr<load_ticket>>& to);
  std::size_t calls_here() const noexcept { return waiting_calls_ + running_calls_; }

  // It is not held in these.
  void carry_out(to_do& todo) noexcept;
  void refuse(open_call& c, errc why, std::string text) noexcept;
  errc why_not_begun(const open_call& c) noexcept;
  void fail_all(std::vector<open_call*>& calls, const intrusive_ptr<shared_cause>& cause) noexcept;
  static intrusive_ptr<shared_cause> shared(std::exception_ptr why) noexcept;
  void start_failed(module_slot& s, const attempt_ptr& a, std::exception_ptr why) noexcept;
  bool start_succeeded(module_slot& s, const attempt_ptr& a) noexcept;
  void start_ended(module_slot& s, const attempt_ptr& a, std::exception_ptr why) noexcept;
  void start_timed_out(module_slot& s, const attempt_ptr& a) noexcept;
  void pause_ended(module_slot& s) noexcept;
  bool withdraw(open_call& c, running_module& from, call_end how) noexcept;
  void ask_to_stop(open_call& c, running_module& r) noexcept;
  static void doubt(open_call& c, running_module& r) noexcept;
  void look_at_idle() noexcept;
  void look_at_ending() noexcept;
  void look_at_processes() noexcept;
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
  bool look_at_files(std::vector<file_look>& files);
  void files_seen(const std::vector<file_look>& files) noexcept;
  static std::exception_ptr start_failure(const module_slot& s, std::string text) noexcept;
  static std::string describe(const module_slot& s) {
    return s.version.empty() ? s.record.name : s.record.name + "@" + s.version;
  }
  static std::string text_of(const std::exception_ptr& e);
  static std::uint64_t held_replies_of(const function_host_options& o) {
    constexpr std::uint64_t least = std::uint64_t{64} << 20;
    if (o.max_held_replies != 0) return o.max_held_replies;
    return (std::max)(available_memory() / 4, least);
  }
  static std::exception_ptr with_nested(const error& own, const std::exception& e,
                                        intrusive_ptr<shared_cause> cause) noexcept;
  static std::exception_ptr own_copy(const intrusive_ptr<shared_cause>& cause) noexcept;
  static std::exception_ptr failure_for(const open_call& c,
                                        const intrusive_ptr<shared_cause>& cause) noexcept;

  executor& on_;
  const function_host_options options_;
  const std::uint64_t max_held_replies_;
  in_process_launcher in_process_;
  std::unique_ptr<process_launcher> sandbox_;  // outlives all instances; guarded by lock_
  double room_ = 0;                            // bytes
  double most_processes_ = most_workers;       // that descriptors are enough for
  spin_lock lock_;                             // guards all below
  std::size_t max_workers_;
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
  std::size_t going_ = 0;                                // of them, those that are about to end
  std::uint64_t turns_ = 0;                              // calls that were issued
  std::size_t waiting_calls_ = 0;
  std::size_t running_calls_ = 0;
  std::size_t sweep_at_ = 256;  // so many slots are looked through
  bool closed_ = false;         // nothing is taken any more
  bool hurried_ = false;        // what has not started is not started any more
  bool watching_ = false;
  alarm idle_alarm_{*this, &function_core::look_at_idle};
  alarm patience_{*this, &function_core::lose_patience};
  alarm end_alarm_{*this, &function_core::look_at_ending};
  alarm watch_alarm_{*this, &function_core::look_at_processes};
  function_stats counts_;  // those that only grow
  tasks tasks_;
  atomic<std::size_t> open_tells_{0};
  atomic<std::uint32_t> references_{0};
};

inline function_core::function_core(executor& e, function_host_options o)
    : on_(e),
      options_(o),
      max_held_replies_(held_replies_of(o)),
      max_workers_(o.max_workers),
      tasks_(e) {
  if (max_workers_ != 0) return;
  std::size_t usual_cost = in_process_.cost();
  if (o.kept == isolation::process) {
    usual_cost = o.processes != nullptr ? o.processes->cost() : process_launcher::usual_cost;
  }
  room_ = static_cast<double>(available_memory()) * 0.8;
  if (o.kept == isolation::process) {
    const std::size_t most = available_descriptors() / process_launcher::descriptors_each;
    most_processes_ = static_cast<double>(most) * 0.8;
  }
  share_room(usual_cost);
}

/// So many workers of that cost have room, where the options do not say how many there may be.
inline void function_core::share_room(std::size_t cost) noexcept {
  if (options_.max_workers != 0) return;
  const auto each = static_cast<double>((std::max)(cost, std::size_t{1}));
  const double some = (std::min)(room_ / each, most_processes_);
  max_workers_ = static_cast<std::size_t>(std::clamp(some, 1.0, most_workers));
}

/// Made by whoever wants it first: not every host keeps modules in processes.
inline process_launcher& function_core::sandbox() {
  {
    const spin_guard guard(lock_);
    if (sandbox_) return *sandbox_;
  }
  auto made = std::make_unique<process_launcher>(options_.sandbox);
  const spin_guard guard(lock_);
  if (!sandbox_) sandbox_.swap(made);
  return *sandbox_;
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
  module_record& record = record_of(module);
  record.options = std::move(o);
  record.has_options = true;
}

inline void function_core::set_new_module(std::string_view module, const module_options& o) {
  const spin_guard guard(lock_);
  module_record& record = record_of(module);
  if (record.has_options) return;
  record.options = o;
  record.has_options = true;
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
  forget_unused(record);
  const slot_ptr made(new module_slot(*this, record, version, key));
  slots_.emplace(slot_name{record.name, made->version, made->key}, made);
  return made;
}

/// Slots that nobody asks for any more would stay for ever where each key has one: now and then
/// they are looked through. What the host alone refers to nobody can be about to use. Modules of
/// which nothing else is known go with their slots: names that a module makes up cost nothing.
inline void function_core::forget_unused(const module_record& used) noexcept {
  if (slots_.size() < sweep_at_) return;
  const time_point now = on_.now();
  std::erase_if(slots_, [now](const auto& entry) {
    const module_slot& s = *entry.second;
    return s.only_host_refers() && s.not_before <= now;
  });
  for (auto& [name, record] : records_) record->has_slots = false;
  for (auto& [name, s] : slots_) s->record.has_slots = true;
  std::erase_if(records_, [&used](const auto& entry) {
    const module_record& r = *entry.second;
    return &r != &used && !r.has_slots && !r.has_options && r.remembered.empty();
  });
  sweep_at_ = (std::max)(2 * slots_.size(), std::size_t{256});
}

inline module_launcher& function_core::launcher_of(const module_slot& s) {
  if (kept_of(s) == isolation::in_process) return in_process_;
  if (options_.processes != nullptr) return *options_.processes;
  return sandbox();
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

}  // namespace troupe::detail

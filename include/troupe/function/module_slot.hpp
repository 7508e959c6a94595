// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a host knows of its modules: by name; by version, with the calls that wait for it; and the
/// instances that run.
///
/// Layer: function. All members without a word of their own are guarded by the lock of the host.

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/function/byte_account.hpp>
#include <troupe/function/file_identity.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class function_core;
void add_ref(function_core* c) noexcept;
void release(function_core* c) noexcept;

/// One module, whatever its version. As long as its host.
struct module_record {
  explicit module_record(std::string_view n) : name(n) {}

  const std::string name;
  module_options options;
  bool has_options = false;   // somebody has said so
  bool has_slots = false;     // found by the last sweep
  std::string remembered;     // the version that is meant where none is named
  byte_account held_replies;  // what callers have not read yet; without the lock
};

/// Somebody waits for an instance to be there.
struct load_ticket {
  std::uint64_t attempt = 0;  // the end of this one is what is waited for, or of a later one
  async_semaphore over{0};
  std::exception_ptr failure;  // written before `over` is released; taken by who has waited
};

/// An attempt to start an instance. Counted by those who run it.
struct start_attempt {
  intrusive_ptr<running_module> made;  // the record that the instance gets
  std::uint64_t number = 0;            // of its slot: the first is 1
  bool is_reload = false;
  bool remember = false;       // its version is meant from then on
  bool given_up = false;       // its time is up, and its calls have been told
  async_semaphore give_up{0};  // released when nobody wants it any more
  async_semaphore over{0};     // released when it has ended
  file_identity file;          // that was copied, if any
  std::string path;
};

/// One version of a module; and one key, if keys have instances of their own.
class module_slot {
public:
  module_slot(function_core& c, module_record& m, std::string_view v, std::string_view k)
      : core(&c), record(m), options(m.options), version(v), key(k) {}
  module_slot(const module_slot&) = delete;
  module_slot& operator=(const module_slot&) = delete;

  friend void add_ref(module_slot* s) noexcept { s->references_.fetch_add(1, order::relaxed); }
  friend void release(module_slot* s) noexcept {
    if (s->references_.fetch_sub(1, order::acq_rel) == 1) delete s;
  }
  /// Nobody but the host refers to it. New references come from the host alone.
  bool only_host_refers() const noexcept { return references_.load(order::acquire) == 1; }

  const intrusive_ptr<function_core> core;
  module_record& record;
  const module_options options;  // as they were when it was first asked for
  const std::string version;
  const std::string key;  // empty, unless keys have instances of their own

  running_module* current = nullptr;  // takes the calls; nullptr: they wait
  intrusive_list<open_call> waiting;
  std::size_t waiting_count = 0;
  std::shared_ptr<start_attempt> attempt;  // on its way
  std::uint64_t attempts = 0;              // that were begun
  bool wants_room = false;                 // it stands in the line for room
  bool pauses = false;                     // until the back-off is over
  bool start_again = false;                // what is being started is out of date already
  bool start_again_remembers = false;
  open_call* last_back = nullptr;  // that was given back, while it waits: the next may stand behind
  unsigned failures = 0;           // starts and instances that failed since a call went well
  time_point not_before = (time_point::min)();
  std::vector<std::shared_ptr<load_ticket>> tickets;  // in the order of their attempts
  // The file that the instance is a copy of.
  std::string path;      // empty: it came as bytes
  file_identity loaded;  // as it was when that was made, or tried
  file_identity seen;    // as it was at the last look

private:
  ~module_slot() = default;
  atomic<std::uint32_t> references_{0};
};

/// What was found when a process was looked at.
struct process_look {
  time_point at{};              // not yet
  std::uint64_t last_call = 0;  // as it was before the process was looked at
  std::uint64_t in_flight = 0;  // the same
  std::uint64_t progress = 0;
  duration processor_time{};
  bool begins_none = false;
};

/// Calls that an instance is given one after the other, by one thread at a time: tells, and what is
/// issued behind them for the same worker.
class call_lane final : public runnable {
public:
  call_lane() noexcept : runnable(&call_lane::run) {}

  running_module* of = nullptr;  // which this is a part of; set with it
  intrusive_list<open_call> calls;
  bool busy = false;  // its step runs, or is about to; it refers to the instance

private:
  static void run(runnable& r) noexcept;
};

/// An instance, or what is to become one.
class running_module final : public instance_owner, public list_hook, public runnable {
public:
  explicit running_module(intrusive_ptr<module_slot> of)
      : runnable(&running_module::run_close), slot(std::move(of)) {
    for (call_lane& l : lanes) l.of = this;
  }
  running_module(const running_module&) = delete;
  running_module& operator=(const running_module&) = delete;
  ~running_module() = default;

  friend void add_ref(running_module* r) noexcept { r->references_.fetch_add(1, order::relaxed); }
  friend void release(running_module* r) noexcept {
    if (r->references_.fetch_sub(1, order::acq_rel) == 1) delete r;
  }

  // --- instance_owner ---------------------------------------------------------------------------
  void call(module_instance& from, const outgoing_call& c) noexcept override;
  void failed(module_instance& m, errc why, std::string_view detail) noexcept override;
  void ended(module_instance& m) noexcept override;

  const intrusive_ptr<module_slot> slot;
  std::unique_ptr<module_instance> instance;  // set before it is published, for good
  std::uint64_t last_call = 0;                // the number that was given last
  std::uint64_t in_flight = 0;                // calls that it has
  std::uint64_t left = 0;                     // of them, those that nobody waits for
  std::uint64_t doubts = 0;     // of those, the ones whose time is up: new calls wait meanwhile
  std::size_t asked_bytes = 0;  // of calls that it has made, and that are open
  /// By the hashes of the keys: a worker has one of them, and a method that blocks its thread keeps
  /// only few others waiting.
  std::array<call_lane, 16> lanes;
  std::size_t busy_lanes = 0;
  time_point idle_since{};
  time_point retired_at{};
  process_look seen;  // the last time
  time_point stuck_since{};
  time_point end_by{};      // then it is looked at once more, if it is closing
  bool adopted = false;     // it takes calls, or has taken some
  bool retiring = false;    // it takes no calls any more
  bool closing = false;     // its end was begun, or has come by itself
  bool overdue = false;     // it was to end, and has not
  bool died = false;        // while it took calls
  bool has_failed = false;  // it has died before it was adopted, by `failure`
  bool has_ended = false;
  std::string failure;

private:
  static void run_close(runnable& r) noexcept {
    auto& self = static_cast<running_module&>(r);
    self.instance->close();
    release(&self);
  }

  atomic<std::uint32_t> references_{0};
};

inline open_call::open_call(intrusive_ptr<module_slot> to, std::string_view function,
                            std::string_view worker_key)
    : runnable(&open_call::run_issue),
      stop_hook(&open_call::on_stop),
      core_(*to->core),
      slot_(std::move(to)),
      function_(function),
      key_(worker_key) {
  deadline = (std::numeric_limits<std::int64_t>::max)();
}

inline open_call::~open_call() {
  if (held_ != 0) slot_->record.held_replies.subtract(held_);
}

inline worker_id open_call::id_for_errors() const {
  std::string type = slot_->record.name;
  if (!slot_->version.empty()) type += "@" + slot_->version;
  return worker_id(std::move(type), key_);
}

}  // namespace troupe::detail

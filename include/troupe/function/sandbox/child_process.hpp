// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One sandboxed child, as its host sees it: from the wish for one to the last word about it.
///
/// Layer: function. Linux. Everything about its end is said by whoever *drains*: one thread at a
/// time, which is the launcher's reactor or a caller that looks for its reply. So a call is settled
/// once, and nobody is told anything behind `instance_owner::ended`.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/module_manifest.hpp>
#include <troupe/function/module_permissions.hpp>
#include <troupe/function/sandbox/call_ring.hpp>
#include <troupe/function/sandbox/exit_reason.hpp>
#include <troupe/function/sandbox/level.hpp>
#include <troupe/function/sandbox/look_guard.hpp>
#include <troupe/function/sandbox/look_length.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail::sandbox {

/// What its process begins with.
struct child_wish {
  module_image image{};
  std::uint64_t memory = 0;
  std::uint32_t files = 0;
  std::uint32_t niceness = 0;
  bool network = false;
  std::string may_read_source{};
  std::string may_read_target{};
  sandbox_level required{};
  std::uint64_t largest_reply = largest_message;
  time_point start_deadline = never;
};

/// Counted: its instance, its reactor, and whoever is inside one of its functions hold it.
///
/// Thread safety: what does not say otherwise, from any thread.
class child_process final : private ring_listener {
public:
  /// Time after which it leaves the reply to the reactor. It may take two ticks of the guard.
  static constexpr duration sleep_time = look_guard::tick;

  /// Throws `std::system_error` where there is no memory or no descriptor left.
  child_process(child_wish wish, std::vector<std::string> may_call);

  friend void add_ref(child_process* c) noexcept { c->owners_.fetch_add(1, order::relaxed); }
  friend void release(child_process* c) noexcept {
    if (c->owners_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  /// Functions of a module: its callers look for one after the other.
  static constexpr std::size_t most_functions = 4096;
  /// Calls of others that are refused before the child is killed, apart from 16 for everything that
  /// it does besides.
  static constexpr std::uint64_t most_refused = 1024;

  // -- For the instance --

  /// A permit comes when the child has started, or will not.
  async_semaphore& ready() noexcept { return ready_; }
  /// After that: from now on `owner` is told of everything, as of `self`. False: it has not
  /// started; `start_error` says why.
  bool adopt(instance_owner& owner, module_instance& self) noexcept;
  std::string start_error() const;
  const module_manifest& manifest() const noexcept { return manifest_; }

  void call(module_call& c) noexcept;
  void stop(std::uint64_t id) noexcept {
    ring_.stop(id);
    look_for_faults();
  }
  bool withdraw(std::uint64_t id) noexcept { return ring_.withdraw(id); }
  void close() noexcept;
  void kill(errc why, std::string_view detail) noexcept;
  sandbox_level level() const noexcept { return sandbox_level(ring_.level()); }
  /// In the number space of this process; 0: not known.
  int process_id() const noexcept { return process_id_.load(order::relaxed); }
  std::size_t memory() const noexcept;
  duration processor_time() const noexcept;
  std::uint64_t progress() const noexcept { return ring_.progress(); }
  bool begins_none() const noexcept { return ring_.begins_none(); }

  // -- For the reactor --

  std::uint64_t name = 0;
  const child_wish& wish() const noexcept { return wish_; }
  int host_file_descriptor() const noexcept { return host_.file(); }
  int child_file_descriptor() const noexcept { return child_.file(); }
  int event() const noexcept { return event_.get(); }
  bool starting() const noexcept { return starting_.load(order::acquire); }
  void spawned(descriptor process) noexcept;
  void not_spawned(int error) noexcept;
  /// There is a process, but no handle for it: its helper has been told to end it.
  void not_held() noexcept;
  void exited(int code, int status) noexcept;
  /// The helper is gone, and the child with it.
  void lost(std::string_view why) noexcept;
  /// The event is not read, and never written to by the host: its flags are in the child's hands
  /// too, who could make either block.
  void on_event() noexcept;
  /// Somebody has called `look_guard::request`, perhaps for this child.
  void on_request() noexcept {
    if (requested_.exchange(false, order::seq_cst)) drain();
  }
  void on_time() noexcept;
  /// Every `look_guard::tick`, where `guarded_by` has been called. True if somebody sleeps.
  bool on_tick() noexcept { return ring_.wake_sleepers(); }
  void guarded_by(std::shared_ptr<look_guard> guard) noexcept {
    guard_owner_ = std::move(guard);
    guard_.store(guard_owner_.get(), order::release);
  }
  bool wants_tidying() const noexcept { return wants_tidying_.load(order::relaxed); }
  void tidy() noexcept;
  child_process* next = nullptr;  // the link of the reactor's list

private:
  enum class phase : std::uint8_t { starting, started, adopted, ended };
  struct asked_answer {
    child_process* child;
    std::uint32_t cell;
  };

  ~child_process() = default;

  void drain() noexcept;
  void request_drain() noexcept;
  bool drain_once() noexcept;
  void look(call_ring::ticket t) noexcept;
  void look_for_faults() noexcept;
  bool may_look() noexcept;
  std::int64_t sleep_deadline(time_point until) const noexcept;
  void end_by_itself(std::string_view detail) noexcept;
  void signal_kill() noexcept;
  void note_end(std::string_view why) noexcept;
  void finish() noexcept;
  void become_ready() noexcept;

  inline void started(troupe_bytes manifest) noexcept override;
  inline void refused(std::string_view why) noexcept override;
  inline bool permits(std::uint32_t cell, std::string_view module) noexcept override;
  inline void asked(const question& q) noexcept override;
  static void on_answer(void* context, std::uint32_t outcome, std::uint32_t code,
                        troupe_bytes bytes) noexcept;

  atomic<std::uint32_t> owners_{0};
  const child_wish wish_;
  const std::vector<std::string> may_call_;
  const shared_memory host_;
  const shared_memory child_;
  const descriptor event_;
  call_ring ring_;
  std::vector<asked_answer> answers_;
  std::uint64_t refused_ = 0;  // calls of the child, by whoever drains

  std::shared_ptr<look_guard> guard_owner_;  // written once, by the reactor
  atomic<look_guard*> guard_{nullptr};       // the same; until then nobody sleeps

  async_semaphore ready_{0};
  module_manifest manifest_;  // written once, before `ready_`
  atomic<bool> starting_{true};
  atomic<int> process_id_{0};

  // 0: nobody drains; else one thread does, and looks once more if it has grown.
  atomic<std::uint32_t> drains_{0};
  // The thread that drains.
  atomic<const thread_state*> drainer_{nullptr};
  atomic<bool> dead_{false};  // its memory changes no more: the drainer ends it all
  atomic<bool> wants_tidying_{false};
  atomic<bool> shrinks_{false};  // the next who drains gives the buffer back
  // Calls since one looked in vain; 0: none has. The next ones do not look.
  atomic<std::uint32_t> misses_{0};
  look_length look_length_;        // of callers whose child is awake
  atomic<bool> requested_{false};  // of the reactor, by `look_guard::request`
  std::uint64_t events_ = 0;       // of the reactor: how often the child has woken it

  mutable spin_lock lock_;  // guards all below
  phase phase_ = phase::starting;
  instance_owner* owner_ = nullptr;
  module_instance* self_ = nullptr;
  descriptor process_;
  bool closing_ = false;
  bool kill_asked_ = false;   // by the owner, or by its starter
  bool kill_needed_ = false;  // as soon as there is a process
  errc why_ = errc::worker_crashed;
  std::string detail_;
  bool exit_known_ = false;
  int exit_code_ = 0;
  int exit_status_ = 0;
};

inline child_process::child_process(child_wish wish, std::vector<std::string> may_call)
    : wish_(std::move(wish)),
      may_call_(std::move(may_call)),
      host_("troupe-host", file_size<host_file>, peer_may::read),
      child_("troupe-child", file_size<child_file>, peer_may::write),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      ring_(host_, child_, wish_.largest_reply),
      answers_(outgoing_count) {
  if (!event_) throw std::system_error(errno, std::generic_category(), "eventfd");
  for (std::uint32_t i = 0; i != outgoing_count; ++i) answers_[i] = {this, i};
}

// -- Calls ---------------------------------------------------------------------------------------

inline void child_process::call(module_call& c) noexcept {
  const bool looks = may_look();
  const auto ticket = ring_.begin(c, looks);
  look_for_faults();
  if (ticket && looks) look(*ticket);
}

/// True if this thread has nothing better to do, and looking has been worth it lately. A thread
/// that drains is on its way back to that.
inline bool child_process::may_look() noexcept {
  const thread_state& here = this_thread_state();
  if (here.loop == nullptr || here.loop->others_wait()) return false;
  if (drainer_.load(order::relaxed) == &here) return false;
  constexpr std::uint32_t try_again_after = 16;
  const std::uint32_t calls = misses_.load(order::relaxed);
  if (calls == 0) return true;
  misses_.store(calls == try_again_after ? 0 : calls + 1, order::relaxed);
  return false;
}

/// A child that was asleep has to come to a core first, perhaps to this one: the thread sleeps
/// meanwhile. One that is awake is looked for, but for a moment only: its core, too, may be this.
inline void child_process::look(call_ring::ticket t) noexcept {
  const time_point begun = steady_now();
  const time_point until = begun + sleep_time;
  const duration awake = t.woke ? duration::zero() : look_length_.next();
  bool found = false;
  bool slept = false;
  for (time_point now = begun;; now = steady_now()) {
    found = !ring_.is_open(t);
    if (found || now >= until || dead_.load(order::acquire)) break;
    if (ring_.has_more()) {
      drain();
    } else if (now - begun >= awake) {
      slept = true;
      if (look_guard* const guard = guard_.load(order::acquire)) {
        // First counted as a sleeper, then the guard: a reactor that goes to rest in between looks
        // for sleepers behind that, and finds this one; see `reactor::tick`.
        const std::uint32_t seen = ring_.lie_down();
        guard->expect();
        // The reactor forgets a child once it is dead: who does not see that here was counted
        // before, and is woken; see `reactor::forget`.
        if (dead_.load(order::acquire)) {
          ring_.get_up();
        } else {
          ring_.sleep_for_more(seen, sleep_deadline(until));
        }
      }
    } else {
      for (int i = 0; i != 32 && !ring_.has_more(); ++i) cpu_relax();
    }
  }
  misses_.store(found ? 0 : 1, order::relaxed);
  if (!t.woke && slept) look_length_.was_in_vain(awake);
  if (!t.woke && !slept) look_length_.was_met(awake);
  ring_.look_away();
  if (ring_.has_more()) drain();
  // Where callers look for all replies there are no events.
  if (ring_.untidy() && !wants_tidying_.exchange(true, order::relaxed)) request_drain();
}

/// None, if the filter of system calls keeps the child from moving whoever sleeps at a shared word:
/// it does not load its module without the filter that is required of it. What it says of its own
/// level is no base for that, because the module can write there.
inline std::int64_t child_process::sleep_deadline(time_point until) const noexcept {
  if (wish_.required.has(sandbox_part::system_call_filter)) return INT64_MAX;
  return duration(until.time_since_epoch()).count();
}

inline void child_process::close() noexcept {
  {
    const spin_guard guard(lock_);
    closing_ = true;
  }
  ring_.close();
  look_for_faults();
}

/// What a caller's thread has found out about the child is said by whoever drains; a child that
/// keeps quiet gives nobody a reason to.
inline void child_process::look_for_faults() noexcept {
  if (ring_.broken()) request_drain();
}

// -- Draining ------------------------------------------------------------------------------------

inline void child_process::drain() noexcept {
  if (drains_.fetch_add(1, order::acq_rel) != 0) return;  // whoever drains looks once more
  drainer_.store(&this_thread_state(), order::relaxed);
  std::uint32_t seen = 0;
  do {
    seen = drains_.load(order::acquire);
    if (drain_once()) {
      request_drain();  // others first: the reactor comes back
    }
    // Forgotten before the role is given up: the next drainer writes its own.
    drainer_.store(nullptr, order::relaxed);
  } while (!drains_.compare_exchange_strong(seen, 0, order::acq_rel, order::acquire));
}

/// True if there is more to do, later.
inline bool child_process::drain_once() noexcept {
  drainer_.store(&this_thread_state(), order::relaxed);
  if (shrinks_.load(order::relaxed) && shrinks_.exchange(false, order::acquire)) ring_.shrink();
  const bool dead = dead_.load(order::acquire);  // before the look: then nothing comes behind it
  for (;;) {
    {
      const spin_guard guard(lock_);
      if (phase_ == phase::ended) return false;
      if (phase_ == phase::started) return false;  // `adopt` goes on
    }
    const take_result result = ring_.take(*this);
    if (result == take_result::garbage) {
      end_by_itself("it wrote garbage to the memory that it shares with its host");
      break;
    }
    if (result == take_result::all) break;
    if (!dead) return true;
  }
  if (dead) finish();
  return false;
}

/// Has the reactor drain, soon.
inline void child_process::request_drain() noexcept {
  requested_.store(true, order::seq_cst);
  if (look_guard* const guard = guard_.load(order::acquire)) guard->request();
}

inline void child_process::on_event() noexcept {
  drain();
  // Each event has an entry; several may come as one. Who only wakes is kept from it.
  ++events_;
  if (events_ > ring_.taken() + ring_.taken() / call_ring::batch + 2 * queue_length) {
    end_by_itself("it woke its host for nothing");
  }
  if (ring_.untidy()) wants_tidying_.store(true, order::relaxed);
}

inline void child_process::tidy() noexcept {
  wants_tidying_.store(false, order::relaxed);
  if (!ring_.idle()) return;
  ring_.tidy();
  shrinks_.store(true, order::release);
  drain();
}

// -- Starting ------------------------------------------------------------------------------------

inline void child_process::started(troupe_bytes bytes) noexcept {
  bool understood = false;
  try {
    decode_limits limits;
    limits.size = std::size_t{4} << 20;
    limits.memory = std::size_t{16} << 20;
    const std::span<const std::byte> message(reinterpret_cast<const std::byte*>(bytes.data),
                                             static_cast<std::size_t>(bytes.size));
    auto manifest = decode<module_manifest>(message, limits);
    understood = manifest.has_value() && manifest->functions.size() <= most_functions;
    if (understood) manifest_ = std::move(*manifest);
  } catch (...) {
    understood = false;
  }
  if (!understood) return end_by_itself("its description of itself cannot be read");
  {
    const spin_guard guard(lock_);
    if (phase_ != phase::starting) return;
    phase_ = phase::started;
  }
  become_ready();
}

inline void child_process::refused(std::string_view why) noexcept {
  const spin_guard guard(lock_);
  note_end(why);
  kill_needed_ = true;
  signal_kill();
}

inline void child_process::become_ready() noexcept {
  if (starting_.exchange(false, order::acq_rel)) ready_.release();
}

inline bool child_process::adopt(instance_owner& owner, module_instance& self) noexcept {
  {
    const spin_guard guard(lock_);
    if (phase_ != phase::started || kill_asked_) return false;
    owner_ = &owner;
    self_ = &self;
    phase_ = phase::adopted;
  }
  drain();  // what came behind the word of the start
  return true;
}

inline std::string child_process::start_error() const {
  const spin_guard guard(lock_);
  return detail_.empty() ? std::string("it has ended") : detail_;
}

inline void child_process::spawned(descriptor process) noexcept {
  char path[64];
  static_cast<void>(std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", process.get()));
  const descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  char text[512] = {};
  if (file && ::read(file.get(), text, sizeof text - 1) > 0) {
    const std::string_view all(text);
    const std::size_t at = all.find("\nPid:");
    if (at != std::string_view::npos) {
      process_id_.store(std::atoi(text + at + 5), order::relaxed);
    }
  }
  {
    const spin_guard guard(lock_);
    process_ = std::move(process);
    signal_kill();
    if (kill_needed_) return;
  }
  ring_.go();
}

inline void child_process::not_spawned(int error) noexcept {
  lost("its process cannot be started: " + std::generic_category().message(error));
}

inline void child_process::not_held() noexcept {
  lost("its process cannot be held: no descriptor is left for its handle");
}

// -- The end -------------------------------------------------------------------------------------

/// Under the lock. The handle stands for this process and no later one of its number.
inline void child_process::signal_kill() noexcept {
  if (!kill_needed_ || !process_) return;
  static_cast<void>(::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0U));
}

/// Under the lock. The first reason stays.
inline void child_process::note_end(std::string_view why) noexcept {
  if (!detail_.empty()) return;
  try {
    detail_ = why;
  } catch (...) {
    detail_.clear();  // without words, then
  }
}

inline void child_process::kill(errc why, std::string_view detail) noexcept {
  ring_.shut();
  const spin_guard guard(lock_);
  if (phase_ == phase::ended) return;
  if (!std::exchange(kill_asked_, true) && detail_.empty()) {
    why_ = why;
    note_end(detail.empty() ? "it was killed by its host" : detail);
  }
  kill_needed_ = true;
  signal_kill();
}

/// It does what it must not: it is killed, and its owner is told of it.
inline void child_process::end_by_itself(std::string_view detail) noexcept {
  ring_.shut();
  const spin_guard guard(lock_);
  if (phase_ == phase::ended) return;
  note_end(detail);
  kill_needed_ = true;
  signal_kill();
}

inline void child_process::on_time() noexcept {
  const spin_guard guard(lock_);
  if (phase_ != phase::starting) return;
  note_end("it did not start within its time limit");
  kill_needed_ = true;
  signal_kill();
}

inline void child_process::exited(int code, int status) noexcept {
  {
    const spin_guard guard(lock_);
    exit_known_ = true;
    exit_code_ = code;
    exit_status_ = status;
  }
  dead_.store(true, order::release);  // pairs with the load in `drain_once`
  drain();
}

inline void child_process::lost(std::string_view why) noexcept {
  {
    const spin_guard guard(lock_);
    note_end(why);
    kill_needed_ = true;
    signal_kill();
  }
  dead_.store(true, order::release);
  drain();
}

/// The last act, by whoever drains.
inline void child_process::finish() noexcept {
  ring_.shut();
  std::string detail;
  errc why = errc::worker_crashed;
  bool orderly = false;
  bool unexpected = false;
  instance_owner* owner = nullptr;
  {
    const spin_guard guard(lock_);
    orderly =
        closing_ && detail_.empty() && exit_known_ && exit_code_ == CLD_EXITED && exit_status_ == 0;
  }
  try {
    detail = exit_reason(exit_code_, exit_status_, ring_.out_of_memory());
  } catch (...) {
    detail.clear();
  }
  {
    const spin_guard guard(lock_);
    if (!orderly && exit_known_) note_end(detail);
    detail.swap(detail_);
    why = why_;
    unexpected = !closing_ && !kill_asked_;
    owner = phase_ == phase::adopted ? owner_ : nullptr;
  }
  if (owner != nullptr && unexpected) owner->failed(*self_, why, detail);
  ring_.end(why, detail);
  {
    const spin_guard guard(lock_);
    detail.swap(detail_);
    phase_ = phase::ended;
    process_.reset();
  }
  become_ready();
  if (owner != nullptr) owner->ended(*self_);
}

inline std::size_t child_process::memory() const noexcept {
  char path[64];
  static_cast<void>(std::snprintf(path, sizeof path, "/proc/%d/statm", process_id()));
  const descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  char text[256] = {};
  if (!file || ::read(file.get(), text, sizeof text - 1) <= 0) return 0;
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  if (std::sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3) return 0;
  return static_cast<std::size_t>(resident - shared) * page_size;
}

/// Of whoever has its number now: it may have ended, which nobody asks for then.
inline duration child_process::processor_time() const noexcept {
  ::clockid_t clock{};
  ::timespec used{};
  const int id = process_id();
  if (id == 0 || ::clock_getcpuclockid(id, &clock) != 0) return duration::zero();
  if (::clock_gettime(clock, &used) != 0) return duration::zero();
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

// -- Calls of the module -------------------------------------------------------------------------

inline bool child_process::permits(std::uint32_t cell, std::string_view module) noexcept {
  for (const std::string& one : may_call_) {
    if (one == "*" || one == module) return true;
  }
  // It hears of it at once, and could go on without end, without ever being called.
  ++refused_;
  if (refused_ > most_refused + 16 * (ring_.taken() + 1 - refused_)) {
    end_by_itself("it does not stop calling modules that it may not call");
    return false;
  }
  static constexpr std::string_view why = "the module may not call that one";
  ring_.answer(cell, troupe_outcome_error, static_cast<std::uint32_t>(errc::refused),
               {reinterpret_cast<const unsigned char*>(why.data()), why.size()});
  return false;
}

inline void child_process::asked(const question& q) noexcept {
  asked_answer& answer = answers_[q.cell];
  outgoing_call c;
  c.module = q.module;
  c.version = q.version;
  c.function = q.function;
  c.key = q.key;
  c.format = q.format;
  c.payload = q.payload;
  c.deadline = q.deadline == INT64_MAX ? never : time_point(duration(q.deadline));
  c.settled = &child_process::on_answer;
  c.context = &answer;
  add_ref(this);  // until the answer
  owner_->call(*self_, c);
}

inline void child_process::on_answer(void* context, std::uint32_t outcome, std::uint32_t code,
                                     troupe_bytes bytes) noexcept {
  const asked_answer& answer = *static_cast<const asked_answer*>(context);
  child_process* const child = answer.child;
  child->ring_.answer(answer.cell, outcome, code, bytes);
  child->look_for_faults();
  release(child);
}

}  // namespace troupe::detail::sandbox

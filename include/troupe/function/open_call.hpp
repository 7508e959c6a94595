// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One call on its way to a module and back, whoever waits for it.
///
/// Layer: function. One pooled block per call: it owns what was asked and what comes back, so that
/// its caller may go on before the module does.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/function/guest_executor.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/module_reply.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class function_core;
class module_slot;
class running_module;
void add_ref(module_slot* s) noexcept;
void release(module_slot* s) noexcept;

/// How a call has settled; `waiting` and below: it has not.
enum class call_end : std::uint32_t {
  issuing,
  waiting,
  done,
  expired,      // never begun, and its time is up
  timed_out,    // it may have begun
  cancelled,    // never begun, and its caller wants it no more
  interrupted,  // it may have begun
};

/// Where a call is. Guarded by the lock of the host.
enum class call_place : std::uint8_t {
  nowhere,  // not issued yet
  waiting,  // in its slot's list
  running,  // an instance has it, or is about to
  gone      // the host is done with it
};

/// Counted: whoever waits for it holds it, and so does the host until it is settled.
class open_call : public module_call,
                  public runnable,
                  public list_hook,
                  public pooled,
                  private stop_hook {
public:
  open_call(intrusive_ptr<module_slot> to, std::string_view function, std::string_view worker_key);
  open_call(const open_call&) = delete;
  open_call& operator=(const open_call&) = delete;
  virtual ~open_call();

  friend void add_ref(open_call* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(open_call* c) noexcept {
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  // --- what is asked; before it is issued -------------------------------------------------------
  /// The payload; later the reply.
  std::vector<std::byte> bytes;
  std::string stamp;  // who calls
  /// The fingerprint of the result that the caller can read; nothing: it takes what comes.
  std::optional<std::uint64_t> wanted_result;
  duration limit = duration::zero();  // zero: as the module's options say
  bool names_version = true;          // false: it goes to the one that is meant when it is issued
  bool optional_payload = false;      // a function without parameters is called without it
  bool is_tell = false;               // nobody awaits it: it is taken to its instance in its turn

  const std::string& function_name() const noexcept { return function_; }
  const std::string& worker_key() const noexcept { return key_; }
  module_slot& slot() const noexcept { return *slot_; }
  /// It goes to another version, of the same module. Before it is given to anybody.
  void redirect(intrusive_ptr<module_slot> to) noexcept { slot_ = std::move(to); }
  /// The module and the key, for errors.
  worker_id id_for_errors() const;

  // --- the host's -------------------------------------------------------------------------------
  call_place place = call_place::nowhere;  // both guarded by its lock
  intrusive_ptr<running_module> where;     // who has it while it runs
  std::uint64_t turn = 0;    // the order in which calls were issued; guarded by its lock
  std::uint32_t deaths = 0;  // instances that have died with it, unbegun; likewise
  bool begun = false;        // it is taken to its instance, or was; likewise
  bool late = false;         // its time is up; likewise
  bool left = false;         // nobody waits for it, though its instance has it; likewise
  bool doubtful = false;     // its process was asked to stop it, and may be killed; likewise
  bool in_grace = false;     // its second timer is armed, or fires; likewise
  time_point left_at{};      // since when it is `left`; likewise
  /// Asked to stop, or told that its time is up: set before the instance is told, and looked at
  /// behind its `call`, which may have been too late to be found.
  atomic<bool> stop_wanted{false};

  /// Shows the module what is asked.
  void make_ready(std::uint32_t function_index) noexcept;

  /// Settles it by an error of the host's. Once, by whoever has it.
  void fail(errc why, std::string text) noexcept;
  void fail(std::exception_ptr e) noexcept {
    stop_timer();
    failure_ = std::move(e);
    settle_as(call_end::done);
  }
  /// True if this settles it. Not by the timer: who else settles it has stopped that before.
  bool settle_as(call_end how) noexcept;
  void stop_timer() noexcept;

  call_end ended() const noexcept { return end_.load(order::acquire); }

  // --- who waits --------------------------------------------------------------------------------
  /// Ties it to the coroutine that awaits it, and issues it. True: that is suspended, and made
  /// ready when the call settles.
  bool issue_for(frame& f);

  /// After it has settled: what the module has replied, in `bytes`; throws what came instead.
  void take_reply();

  /// Before it is awaited or issued.
  void arm_timer(executor& on, time_point until);
  /// It was waited for: no stop request reaches it any more.
  void forget_caller() noexcept { detach(); }
  bool has_limit() const noexcept { return timed_; }
  /// While an instance has it, under the lock of the host, where it is not armed.
  void arm_grace(executor& on, time_point until) noexcept {
    in_grace = true;
    on.arm(grace_, until);
  }

  void give_back() noexcept override;

protected:
  /// A step of the executor has issued it.
  virtual void issued() noexcept {}

  /// The call has settled and somebody waits: lets that go on.
  virtual void wake_up() noexcept { caller_->where->post(*caller_); }

  /// After it has settled: the module has replied, and no error.
  bool went_well() const noexcept {
    return ended() == call_end::done && !failure_ && outcome_ == troupe_outcome_value;
  }
  /// After it has settled, before its reply is taken: the host did that, without the module. What a
  /// module replies may be the error of another call that its function has made.
  bool settled_by_host() const noexcept {
    const call_end how = ended();
    if (how == call_end::done) return failure_ != nullptr;
    return how == call_end::expired || how == call_end::cancelled;
  }

  /// Ends the wait for it to be issued. False: it has settled already.
  bool stay_suspended() noexcept {
    auto state = call_end::issuing;
    return end_.compare_exchange_strong(state, call_end::waiting, order::release, order::relaxed);
  }

private:
  /// What a module in a process replies is memory of the host, of which it may have only so much.
  bool hold_reply(std::uint64_t length) noexcept;
  static void settled_by_module(troupe_module_call* c, std::uint32_t outcome, std::uint32_t code,
                                troupe_bytes reply) noexcept;
  static void run_issue(runnable& r) noexcept;
  class call_timer final : public timer {
  public:
    call_timer(open_call& of, void (*f)(timer&) noexcept) noexcept : timer(f), call(of) {}
    open_call& call;
  };
  static void on_limit(timer& t) noexcept;
  static void on_grace(timer& t) noexcept;

  static void on_stop(stop_hook& h) noexcept;

  function_core& core_;              // the slot keeps it
  intrusive_ptr<module_slot> slot_;  // may become another one until it is issued
  const std::string function_;
  const std::string key_;
  frame* caller_ = nullptr;     // valid until it has settled
  std::exception_ptr failure_;  // of the host's
  std::uint32_t outcome_ = 0;   // of the reply, and its code
  std::uint32_t code_ = 0;
  std::uint64_t held_ = 0;                         // bytes of the reply that count as the module's
  bool timed_ = false;                             // its timer was armed
  call_timer timer_{*this, &open_call::on_limit};  // its time limit
  call_timer grace_{*this, &open_call::on_grace};  // what a process has behind that, or a stop
  // issuing: the caller is inside await_suspend; waiting: it is suspended, and whoever settles the
  // call makes it ready. Release of settling pairs with the caller's acquire in `ended`.
  atomic<call_end> end_{call_end::issuing};
  atomic<std::uint32_t> references_{0};
};

inline bool open_call::settle_as(call_end how) noexcept {
  call_end before = end_.load(order::relaxed);
  do {
    if (before > call_end::waiting) return false;
  } while (!end_.compare_exchange_weak(before, how, order::acq_rel, order::relaxed));
  if (before == call_end::waiting) wake_up();
  return true;
}

inline void open_call::fail(errc why, std::string text) noexcept {
  try {
    fail(std::make_exception_ptr(error(why, id_for_errors(), std::move(text))));
  } catch (...) {
    fail(std::current_exception());
  }
}

inline void open_call::make_ready(std::uint32_t function_index) noexcept {
  troupe_module_call::function = function_index;
  key = as_bytes(std::string_view(key_));
  caller = as_bytes(std::string_view(stamp));
  payload = as_bytes(std::span<const std::byte>(bytes));
  settle = &open_call::settled_by_module;
}

inline void open_call::take_reply() {
  switch (ended()) {
    case call_end::expired:
      throw error(errc::expired, id_for_errors());
    case call_end::timed_out:
      throw error(errc::timed_out, id_for_errors(), function_);
    case call_end::cancelled:
      throw error(errc::cancelled, id_for_errors());
    case call_end::interrupted:
      throw error(errc::interrupted, id_for_errors(), function_);
    default:
      break;
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  if (outcome_ == troupe_outcome_value) return;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  throw_reply(outcome_, code_, text, id_for_errors());
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A borrowing call that could not run at once: how it enters its worker, waits, and settles.
///
/// Layer: actor. Lives in the caller's frame; allocates nothing but the text of an error.

#include <coroutine>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/call_info.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// Names the turns from `t` down to `caller`, and the method by which that calls back; nothing,
/// where there is no memory for it.
inline std::string called_back(const turn& t, chain_link* caller, std::string_view method) noexcept
    try {
  std::string path = to_string(t.worker().id()) + "." + std::string(method);
  for (const turn* x = turn_of(caller->call);; x = x->called_from()) {
    path = to_string(x->worker().id()) + "." + std::string(x->method()) + " -> " + path;
    if (x == &t) return path;
  }
} catch (...) {
  return {};
}

/// True if the chain of `caller` was asked to stop, or its deadline has passed.
TROUPE_NOINLINE inline bool looks_past_limits(const frame& caller) noexcept {
  const chain_link& l = *caller.chain;
  if (l.stop_requested()) return true;
  return l.deadline != never && l.deadline <= caller.where->base().now();
}

/// The same, for the path of every call.
TROUPE_ALWAYS_INLINE bool is_past_limits(const frame& caller) noexcept {
  const chain_link& l = *caller.chain;
  return (l.limited || l.call != nullptr) && looks_past_limits(caller);
}

/// Tells those who observe `c` how a call has settled: before its caller goes on. `error`, if any,
/// is what that gets.
TROUPE_NOINLINE inline void tell_of_settled(cell& c, frame& caller, const std::string_view& method,
                                            const call_record& record,
                                            const std::exception_ptr* error) noexcept {
  if (!c.owner().observes) return;
  const bool had_its_turn = record.outcome != call_outcome::running;
  const troupe::caller who = make_caller(caller_above(caller.chain));
  span_link link(caller.chain, record.span);
  const call_facts facts{{method, nullptr}, call_kind::call, nullptr, link};
  c.owner().settled(c, call_info(facts, who, c.owner().where(),
                                 had_its_turn ? record.outcome : call_outcome::not_run, record.took,
                                 error != nullptr ? *error : nullptr));
}

/// The part of a borrowing call that does not depend on the method.
class pending_call : public message {
public:
  /// Issues the call. True: the caller is suspended, and made ready when the call settles. False:
  /// it has settled, and the caller goes on.
  bool issue() noexcept;

  void refuse(const refusal& r) noexcept override {
    wait_graph_leave();
    fail(r.make());
    caller_.where->post(caller_);
  }

protected:
  pending_call(cell& target, frame& caller) noexcept
      : message(message_kind::call), target_(&target), caller_(caller), withdraw_(*this) {}
  ~pending_call() = default;

  virtual void fail(std::exception_ptr e) noexcept = 0;

  /// Runs the method in the turn of `c`. Ended: it has settled, and the caller was *not* made
  /// ready.
  virtual turn_state run(cell& c, turn* nested) noexcept = 0;

  turn_state start(cell& c, turn* nested) noexcept final {
    wait_graph_leave();
    if (past_its_limits()) {
      caller_.where->post(caller_);
      return turn_state::ended;
    }
    const turn_state state = run(c, nested);
    if (state == turn_state::ended) caller_.where->post(caller_);
    return state;
  }

  frame& caller() const noexcept { return caller_; }
  cell& target() const noexcept { return *target_.load(order::relaxed); }

public:
  inline bool move_to(cell& c) noexcept final;
  const frame* caller_frame() const noexcept override { return &caller_; }

private:
  /// Takes a call that waits out of its line when its caller is asked to stop.
  class withdrawal final : public stop_hook {
  public:
    explicit withdrawal(pending_call& c) noexcept : stop_hook(&withdrawal::on_stop), call_(c) {}
    ~withdrawal() { detach(); }

  private:
    static void on_stop(stop_hook& h) noexcept {
      pending_call& call = static_cast<withdrawal&>(h).call_;
      if (!cell::take_out(call, call.target_)) return;
      call.wait_graph_leave();
      call.fail(make_failure(errc::cancelled, call.target()));
      call.caller_.where->post(call.caller_);
    }
    pending_call& call_;
  };

  /// True, and failed, if its chain was asked to stop or is too late: then the method is not run.
  bool past_its_limits() noexcept {
    if (!is_past_limits(caller_)) return false;
    const bool is_stopped = caller_.chain->stop_requested();
    fail(make_failure(is_stopped ? errc::cancelled : errc::expired, target()));
    return true;
  }
  /// The stack stays bounded: now and then a turn starts from the bottom of it.
  bool is_at_nesting_limit() const noexcept {
    return !runs_plain && (caller_.depth + 1) % nesting_limit == 0;
  }
  hold_up how_held_up() noexcept;
  bool may_run_now() const noexcept;
  bool run_held_up(hold_up how, bool* flag) noexcept;
  bool issue_slowly(bool* flag) noexcept;
  bool issue_to_successor(bool* flag) noexcept;
  bool run_entered(bool* flag) noexcept;
  bool run_here(bool* flag) noexcept;
  bool wait_in_line(std::uintptr_t word, bool* flag) noexcept;
  bool nest_in(turn& t, bool* flag) noexcept;
  stop_state* stop_of_caller() noexcept;
  bool wait_for_start() noexcept;
  bool withdrawn_from_start(bool* flag) noexcept;
  bool settle_failed(errc why, bool* flag, std::string text = {}) noexcept;
  void wait_graph_leave() noexcept {
    if (entry_.below != nullptr) wait_graph::instance().leave(entry_);
  }

  // A plain method is over before a queue pays.
  static constexpr int enter_spins = spin_limit(4);  // looks at a busy worker ...
  static constexpr int first_wait = 32;              // ... and relaxes before the first, doubling

  // Written while nobody else knows the call, or under the lock of the cell whose mailbox it
  // leaves; read under that lock where the call may be in a mailbox (cell::take_out).
  atomic<cell*> target_;
  intrusive_ptr<cell> moved_to_;  // the target, if it stands in the place of an abandoned one
  frame& caller_;
  wait_entry entry_;
  withdrawal withdraw_;  // last: its destructor waits for a withdrawal under way
};

inline bool pending_call::settle_failed(errc why, bool* flag, std::string text) noexcept {
  fail(make_failure(why, target(), std::move(text)));
  caller_.completed_inline = flag;
  return false;
}

/// Whether others go first, once its caller has spent its budget.
inline hold_up pending_call::how_held_up() noexcept {
  frame& f = caller_;
  if (f.budget != 0) return hold_up::no;
  if (!f.where->others_wait()) {
    f.refill();
    return hold_up::no;
  }
  simulation* const s = f.where->base().simulated();
  return s == nullptr || f.fork_calls ? hold_up::in_line : s->hold_up_call();
}

inline bool pending_call::issue() noexcept {
  if (past_its_limits()) return false;
  frame& f = caller_;
  if (f.budget != 0 && !f.fork_calls && !is_at_nesting_limit() && target().enter_fast()) {
    return run_entered(std::exchange(f.completed_inline, nullptr));
  }
  return issue_slowly(std::exchange(f.completed_inline, nullptr));
}

/// The worker is not idle, or there is another reason not to run the call at once.
TROUPE_NOINLINE inline bool pending_call::issue_slowly(bool* flag) noexcept {
  frame& f = caller_;
  cell& c = target();
  const hold_up held = how_held_up();
  int spins = 0;
  for (std::uintptr_t word = c.word();;) {
    if (word == word_gone) return settle_failed(errc::broker_gone, flag);
    if (word == word_moved) return issue_to_successor(flag);
    if (word == word_plain && spins < enter_spins) {
      // Long, and longer and longer: who has the data in its cache gets many calls done meanwhile.
      // It is the moving of cache lines from core to core that costs.
      for (int i = 0; i < (first_wait << spins); ++i) cpu_relax();
      ++spins;
      word = c.word();
      continue;
    }
    if (word > word_idle_slow && word != word_dormant) return wait_in_line(word, flag);
    if (word == word_idle && !f.fork_calls && held == hold_up::no && !is_at_nesting_limit()) {
      if (c.enter_fast()) return run_entered(flag);
      word = c.word();
      continue;
    }
    if (!c.acquire(word)) {
      word = c.word();
      continue;
    }
    if (held > hold_up::in_line && may_run_now()) return run_held_up(held, flag);
    if (f.fork_calls || held != hold_up::no || !may_run_now()) {
      if (c.may_wait_for_start() && !wait_for_start()) return withdrawn_from_start(flag);
      c.put_first(*this);
      if (held != hold_up::no) {
        c.yield();
      } else if (f.fork_calls) {
        c.place().fork(c);
      } else {
        c.hand_over();
      }
      return true;
    }
    return run_here(flag);
  }
}

/// The worker was abandoned, and another instance stands in its place.
inline bool pending_call::issue_to_successor(bool* flag) noexcept {
  move_to(*target().owner().successor(target()));
  return issue_slowly(flag);
}

/// A wait that was entered goes on, for the next cell.
inline bool pending_call::move_to(cell& c) noexcept {
  const spin_guard graph(wait_graph::instance().lock());
  if (entry_.below != nullptr) entry_.point = &c;
  moved_to_ = intrusive_ptr<cell>(&c);
  target_.store(&c, order::release);  // pairs with cell::take_out
  return true;
}

/// The caller has entered the idle worker: the call runs here and now.
inline bool pending_call::run_entered(bool* flag) noexcept {
  cell& c = target();
  const turn_state state = run(c, nullptr);
  if (state == turn_state::open) return true;
  if (state == turn_state::suspended) {
    c.leave();
    return true;
  }
  c.leave_fast();
  caller_.completed_inline = flag;
  this_thread_state().running = &caller_;
  return false;
}

/// The holder may run the call on its own stack, which stays bounded: a turn of an interleaved
/// worker starts where it is begun.
TROUPE_ALWAYS_INLINE bool pending_call::may_run_now() const noexcept {
  if (!target().may_run_here()) return false;
  if (!is_at_nesting_limit()) return true;
  return target().options().reentrancy != reentrancy::interleaved;
}

/// The caller holds the worker, and a simulation wants to see what contention does.
inline bool pending_call::run_held_up(hold_up how, bool* flag) noexcept {
  frame& f = caller_;
  if (how == hold_up::contended) {
    target().yield();  // to somebody who is not there
    return wait_in_line(target().word(), flag);
  }
  if (run_here(flag)) return true;
  f.park();
  f.where->yield(f);
  return true;
}

/// The same for one who holds it otherwise, and may have to make the instance first.
inline bool pending_call::run_here(bool* flag) noexcept {
  cell& c = target();
  if (c.instance() == nullptr) {
    if (c.may_wait_for_start() && !wait_for_start()) return withdrawn_from_start(flag);
    c.put_first(*this);
    if (TROUPE_BUGGIFY) {
      c.yield();
      return true;
    }
    if (c.make_instance() == turn_state::open) return true;
    if (c.instance() == nullptr) {  // refused, with all who waited
      c.leave();
      return true;
    }
    c.take_first();
  }
  wait_graph_leave();
  frame& f = caller_;
  const turn_state state = run(c, nullptr);
  if (state == turn_state::open) return true;
  c.leave();
  if (state == turn_state::suspended) return true;
  f.completed_inline = flag;
  this_thread_state().running = &f;
  return false;
}

/// An `on_start` may want something of a turn that waits for this call, and it may take so long
/// that the caller is asked to stop. Nothing of the worker waits yet, so that this closes no cycle.
/// False if the caller was asked to stop already.
inline bool pending_call::wait_for_start() noexcept {
  if (!withdraw_.attached()) {
    stop_state* const stop = stop_of_caller();
    if (stop != nullptr && !withdraw_.try_attach(stop)) return false;
  }
  if (entry_.below != nullptr) return true;
  turn* const below = turn_held_up_below(caller_.chain);
  if (below != nullptr) wait_graph::instance().enter(entry_, *below, target());
  return true;
}

/// The caller, which holds the worker, is not to wait for its start.
inline bool pending_call::withdrawn_from_start(bool* flag) noexcept {
  target().leave();
  wait_graph_leave();
  return settle_failed(errc::cancelled, flag);
}

/// The worker is busy.
inline bool pending_call::wait_in_line(std::uintptr_t word, bool* flag) noexcept {
  cell& c = target();
  const actor_options& options = c.options();
  if (caller_.chain->call != nullptr && options.reentrancy != reentrancy::interleaved) {
    const spin_guard graph(wait_graph::instance().lock());
    if (turn* const t = turn_of_worker_above(caller_.chain, c)) return nest_in(*t, flag);
  }
  if (options.overflow != overflow::wait && !c.has_room()) {
    if (options.overflow == overflow::refuse) return settle_failed(errc::mailbox_full, flag);
    c.drop_oldest();
  }
  if (turn* const below = turn_held_up_below(caller_.chain)) {
    std::string cycle = wait_graph::instance().enter(entry_, *below, c);
    if (!cycle.empty()) return settle_failed(errc::deadlock, flag, std::move(cycle));
  }
  stop_state* const stop = stop_of_caller();
  c.begin_wait(*this);
  for (;;) {
    if (word == word_gone) {
      wait_graph_leave();
      return settle_failed(errc::broker_gone, flag);
    }
    if (word == word_moved) {
      wait_graph_leave();
      return issue_to_successor(flag);
    }
    if (word <= word_idle_slow || word == word_dormant) {
      if (!c.acquire(word)) {
        word = c.word();
        continue;
      }
      if (may_run_now()) return run_here(flag);
      c.put_first(*this);
      c.hand_over();
      return true;
    }
    if (stop == nullptr ? c.push(*this, word) : c.push_stoppable(*this, word, withdraw_, stop)) {
      return true;
    }
    if (stop != nullptr && !withdraw_.attached()) {
      wait_graph_leave();
      return settle_failed(errc::cancelled, flag);
    }
    withdraw_.detach();
  }
}

/// Who may ask the caller to stop; `nullptr`: nobody, or no memory to tell.
inline stop_state* pending_call::stop_of_caller() noexcept {
  if (!caller_.chain->limited) return nullptr;
  try {
    return caller_.chain->stop();
  } catch (...) {
    return nullptr;
  }
}

/// The target is above the caller. With the lock of the wait graph held, so that no owning call in
/// between is cut loose meanwhile.
inline bool pending_call::nest_in(turn& t, bool* flag) noexcept {
  if (target().options().reentrancy == reentrancy::none || t.blocks_its_thread()) {
    return settle_failed(errc::deadlock, flag, called_back(t, caller_.chain, method_name()));
  }
  if (t.nested_turns() + 1 >= max_nested_turns) {
    return settle_failed(errc::too_deep, flag, called_back(t, caller_.chain, method_name()));
  }
  if (turn* const below = turn_held_up_below(caller_.chain)) {
    std::string cycle = wait_graph::instance().enter_locked(entry_, *below, t.waits().nest);
    if (!cycle.empty()) return settle_failed(errc::deadlock, flag, std::move(cycle));
  }
  t.post(*this);
  return true;
}

}  // namespace troupe::detail

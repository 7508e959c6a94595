// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A call with a time limit: it owns its arguments and its result, and settles on time whatever
/// the worker does.
///
/// Layer: actor. One pooled block per call; the timer lives in the caller's frame.

#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/actor/call_info.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class owned_call;

/// The owning calls of the process that have their turns, or wait to nest in one, for whoever finds
/// that a worker is stuck.
/// Guarded by the lock of the wait graph, which a call that starts takes in any case.
struct running_calls {
  static running_calls& instance() noexcept {
    static constinit running_calls all;
    return all;
  }

  owned_call* first = nullptr;  // linked in no order
};

/// The part of an owning call that does not depend on the method. Counted: the caller holds it, and
/// so does the mailbox or the turn.
class owned_call : public message, public turn, public pooled {
public:
  /// How the call has settled; `waiting` and below: it has not.
  enum class outcome : std::uint32_t {
    issuing,
    waiting,
    done,
    expired,
    timed_out,
    cancelled,
    stalled
  };

  virtual ~owned_call() = default;

  friend void add_ref(owned_call* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(owned_call* c) noexcept {
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

  cell& target() const noexcept { return *target_; }
  outcome settled() const noexcept { return outcome_.load(order::acquire); }

  /// Ties the call to the caller. First of all.
  void bind(frame& caller, time_point until) noexcept;

  /// Issues the call; the caller is parked. Never runs it on this stack.
  void issue() noexcept;

  /// True if the caller stays suspended until the call settles.
  bool stay_suspended() noexcept {
    auto state = outcome::issuing;
    return outcome_.compare_exchange_strong(state, outcome::waiting, order::release,
                                            order::relaxed);
  }

  /// Tells those who observe how the call has settled: before its caller goes on. `thrown`: by what
  /// it has ended, where it has not settled by the method.
  void tell_observers(std::exception_ptr thrown) noexcept;

  /// The time is up.
  void expire() noexcept;
  /// The caller was asked to stop: a call that waits is withdrawn, one that runs is asked in turn.
  void cancel() noexcept;

  /// Settles the calls that run at `c`, which is stuck, and those that wait to nest in its turn;
  /// the methods of the former go on, and are asked to stop. The broker of `c` is there.
  static void settle_stalled(const cell& c) noexcept {
    while (const intrusive_ptr<owned_call> call = running_at(c)) call->stall();
  }

  /// Cut loose, it has none.
  const frame* caller_frame() const noexcept final {
    return caller_link != nullptr ? caller_ : nullptr;
  }

  inline turn_state start(cell& c, turn* nested) noexcept final;
  inline void refuse(const refusal& r) noexcept final;

protected:
  explicit owned_call(intrusive_ptr<cell> target) noexcept
      : message(message_kind::owned), target_(std::move(target)), stopper_(*this) {}

  virtual void fail(std::exception_ptr e) noexcept = 0;
  virtual turn_state run(cell& c, cell* from) noexcept = 0;

  /// The method has ended: the caller goes on, if it has not gone on before.
  void settle_done() noexcept;
  void ended() noexcept final {
    settle_done();
    release(this);
  }
  virtual std::exception_ptr method_error() noexcept = 0;
  virtual called_method called() const noexcept = 0;

  cell* from() const noexcept { return from_.get(); }
  call_facts facts() noexcept { return {called(), call_kind::limited, from(), *this}; }

  bool ran_ = false;    // the method was entered
  call_record record_;  // of the hooks

private:
  /// Carries a stop request to a place where user code may run.
  class stopper final : public runnable {
  public:
    explicit stopper(owned_call& c) noexcept : runnable(&stopper::run_stop), call_(c) {}

  private:
    static void run_stop(runnable& r) noexcept {
      owned_call& c = static_cast<stopper&>(r).call_;
      c.request_stop();
      release(&c);
    }
    owned_call& call_;
  };

  // Whether the method may still be withheld. `queued` → `started` by whoever gives it its turn,
  // or `queued` → `withdrawn` by whoever settles the call first; never back. It decides between the
  // two and carries nothing from one to the other, so all its orders are relaxed: the message comes
  // through the mailbox, what settles it goes through outcome_.
  enum class phase : std::uint32_t { queued, started, withdrawn };

  static intrusive_ptr<owned_call> running_at(const cell& c) noexcept;
  void list() noexcept;
  void unlist() noexcept;
  bool begin_running() noexcept;
  void end_running() noexcept;
  void stall() noexcept;

  bool settle_first(outcome o, outcome& before) noexcept;
  bool settle(outcome o) noexcept;
  bool withdraw() noexcept;
  void cut_loose() noexcept;
  bool enter_line(std::uintptr_t& word) noexcept;
  bool nest() noexcept;
  void wait_for_start() noexcept;
  void settle_refused(errc why, std::string text = {}) noexcept;
  std::string enter_wait(hold_point& point) noexcept;

  atomic<std::uint32_t> references_{0};
  // issuing: the caller is inside await_suspend; waiting: it is suspended, and whoever settles the
  // call makes it ready; the rest: settled, for good. Release of settling pairs with the caller's
  // acquire in `settled`; release of `stay_suspended` with the acquire of settling, which resumes
  // the caller.
  atomic<outcome> outcome_{outcome::issuing};
  atomic<phase> phase_{phase::queued};
  intrusive_ptr<cell> target_;
  intrusive_ptr<cell> from_;  // the worker from whose turn it was made
  frame* caller_ = nullptr;   // valid until settled
  wait_entry entry_;
  owned_call* next_running_ = nullptr;   // both: of running_calls
  owned_call** running_link_ = nullptr;  // nullptr: not in the list
  stopper stopper_;
};

/// True if this settles the call; `before` is then what it was, and tells whether the caller has
/// suspended yet.
inline bool owned_call::settle_first(outcome o, outcome& before) noexcept {
  before = outcome_.load(order::relaxed);
  do {
    if (before > outcome::waiting) return false;
  } while (!outcome_.compare_exchange_weak(before, o, order::acq_rel, order::relaxed));
  return true;
}

/// True if this settles the call; then the caller is made ready, unless it has not suspended yet.
inline bool owned_call::settle(outcome o) noexcept {
  frame* const waiting = caller_;
  outcome before = outcome::issuing;
  if (!settle_first(o, before)) return false;
  if (before == outcome::waiting) waiting->where->post(*waiting);
  return true;
}

inline bool owned_call::withdraw() noexcept {
  phase p = phase::queued;
  return phase_.compare_exchange_strong(p, phase::withdrawn, order::relaxed, order::relaxed);
}

/// What runs below the call no longer belongs to the caller, which goes on.
inline void owned_call::cut_loose() noexcept {
  wait_graph& graph = wait_graph::instance();
  const spin_guard guard(graph.lock());
  graph.leave_locked(entry_);
  graph.cut(*this);
}

inline void owned_call::expire() noexcept {
  if (settled() > outcome::waiting) return;
  const intrusive_ptr<owned_call> self(this);
  cut_loose();
  if (withdraw()) {
    const bool was_waiting = target_->take_out(*this);
    settle(outcome::expired);
    if (was_waiting) release(static_cast<owned_call*>(this));
    return;
  }
  if (phase_.load(order::relaxed) != phase::started) return;  // refused: that settles it
  // Where the caller is at home: that executor fires this timer, so it is there. Its worker's
  // broker may be gone as soon as the method ends.
  frame& waiting = *caller_;
  outcome before = outcome::issuing;
  if (!settle_first(outcome::timed_out, before)) return;
  add_ref(static_cast<owned_call*>(this));
  waiting.where->base().post(stopper_);
  if (before == outcome::waiting) waiting.where->post(waiting);
}

/// One of those that run at `c`, or wait to nest there, and have not settled; empty: none. It has
/// its turn, or is left to the one around, which refers to it for as long as it is in the list.
inline intrusive_ptr<owned_call> owned_call::running_at(const cell& c) noexcept {
  const spin_guard graph(wait_graph::instance().lock());
  owned_call* call = running_calls::instance().first;
  while (call != nullptr && (call->target_.get() != &c || call->settled() > outcome::waiting)) {
    call = call->next_running_;
  }
  return intrusive_ptr<owned_call>(call);
}

inline void owned_call::end_running() noexcept {
  const spin_guard graph(wait_graph::instance().lock());
  unlist();
}

/// The lock of the wait graph is held, here and below.
inline void owned_call::list() noexcept {
  if (running_link_ != nullptr) return;
  next_running_ = std::exchange(running_calls::instance().first, this);
  running_link_ = &running_calls::instance().first;
  if (next_running_ != nullptr) next_running_->running_link_ = &next_running_;
}

inline void owned_call::unlist() noexcept {
  if (running_link_ == nullptr) return;
  *running_link_ = next_running_;
  if (next_running_ != nullptr) next_running_->running_link_ = running_link_;
  running_link_ = nullptr;
}

/// The caller, where it is suspended, stays so until it is made ready here.
inline void owned_call::stall() noexcept {
  frame* const waiting = caller_;
  cut_loose();
  const bool runs = !withdraw() && phase_.load(order::relaxed) == phase::started;
  outcome before = outcome::issuing;
  if (!settle_first(outcome::stalled, before)) return;
  if (runs) {
    add_ref(static_cast<owned_call*>(this));
    target_->owner().where().post(stopper_);
  }
  if (before == outcome::waiting) waiting->where->post(*waiting);
}

inline void owned_call::cancel() noexcept {
  if (settled() > outcome::waiting) return;
  const intrusive_ptr<owned_call> self(this);
  if (!withdraw()) return request_stop();
  cut_loose();
  const bool was_waiting = target_->take_out(*this);
  settle(outcome::cancelled);
  if (was_waiting) release(static_cast<owned_call*>(this));
}

inline void owned_call::settle_refused(errc why, std::string text) noexcept {
  fail(make_failure(why, *target_, std::move(text)));
  phase_.store(phase::withdrawn, order::relaxed);
  settle(outcome::done);
  release(this);
}

inline void owned_call::bind(frame& caller, time_point until) noexcept {
  caller_ = &caller;
  chain_link& callers = *caller.chain;
  trace = trace_of(callers, caller.where->base());
  depth = callers.depth_below();
  caller_link = &callers;
  is_owned = true;
  limit_deadline(until);
  limit_deadline(callers.deadline);
  from_ = intrusive_ptr<cell>(caller_above(&callers));
}

inline void owned_call::issue() noexcept {
  frame& caller = *caller_;
  target_->begin_wait(*this);
  const bool below_a_turn = caller.chain->call != nullptr;
  add_ref(static_cast<owned_call*>(this));  // the mailbox's
  const intrusive_ptr<owned_call> self(this);
  for (std::uintptr_t word = target_->word();;) {
    if (word == word_gone) return settle_refused(errc::broker_gone);
    if (word == word_moved) {
      target_ = target_->owner().successor(*target_);
      word = target_->word();
      continue;
    }
    cell& c = *target_;
    if (word <= word_idle_slow || word == word_dormant) {
      if (c.acquire(word)) {
        c.put_first(*this);
        if (c.may_wait_for_start()) wait_for_start();
        return caller.fork_calls ? c.place().fork(c) : c.hand_over();
      }
      word = c.word();
      continue;
    }
    if (below_a_turn && c.options().reentrancy != reentrancy::interleaved && nest()) {
      return;
    }
    if (enter_line(word)) return;
  }
}

/// True if the target is above the caller, and the call has been dealt with.
inline bool owned_call::nest() noexcept {
  const spin_guard graph(wait_graph::instance().lock());
  turn* const t = turn_of_worker_above(caller_link, *target_);
  if (t == nullptr) return false;
  if (target_->options().reentrancy == reentrancy::none || t->blocks_its_thread()) {
    settle_refused(errc::deadlock, called_back(*t, caller_link, method_name()));
  } else if (t->nested_turns() + 1 >= max_nested_turns) {
    settle_refused(errc::too_deep, called_back(*t, caller_link, method_name()));
  } else if (std::string cycle = enter_wait(t->waits().nest); !cycle.empty()) {
    settle_refused(errc::deadlock, std::move(cycle));
  } else {
    list();
    t->post(static_cast<message&>(*this));
  }
  return true;
}

/// Enters the wait for `point` below the caller's turn, if there is one that still waits: the text
/// that names a cycle, or an empty one. The lock of the wait graph is held.
inline std::string owned_call::enter_wait(hold_point& point) noexcept {
  turn* const below = turn_held_up_below(caller_->chain);
  if (below == nullptr || caller_link == nullptr) return {};
  return wait_graph::instance().enter_locked(entry_, *below, point);
}

/// An `on_start` may want something of a turn that waits for this call.
inline void owned_call::wait_for_start() noexcept {
  const spin_guard graph(wait_graph::instance().lock());
  static_cast<void>(enter_wait(*target_));
}

/// The worker is busy. True if the call waits in its line, or was refused.
inline bool owned_call::enter_line(std::uintptr_t& word) noexcept {
  cell& c = *target_;
  if (c.options().overflow != overflow::wait && !c.has_room()) {
    if (c.options().overflow == overflow::refuse) {
      settle_refused(errc::mailbox_full);
      return true;
    }
    c.drop_oldest();
  }
  if (caller_->chain->call != nullptr) {
    std::string cycle;
    {
      const spin_guard graph(wait_graph::instance().lock());
      cycle = enter_wait(c);
    }
    if (!cycle.empty()) {
      settle_refused(errc::deadlock, std::move(cycle));
      return true;
    }
  }
  if (c.push(*this, word)) return true;
  wait_graph::instance().leave(entry_);
  return false;
}

/// False if it was withdrawn before.
inline bool owned_call::begin_running() noexcept {
  phase p = phase::queued;
  const spin_guard graph(wait_graph::instance().lock());
  wait_graph::instance().leave_locked(entry_);
  if (!phase_.compare_exchange_strong(p, phase::started, order::relaxed, order::relaxed)) {
    unlist();
    return false;
  }
  list();
  return true;
}

inline turn_state owned_call::start(cell& c, turn* nested) noexcept {
  if (!begin_running()) {
    release(this);
    return turn_state::ended;
  }
  open_as_root(c, nested, method_name());
  called_by = from();
  const turn_state state = run(c, from());
  if (state == turn_state::ended) {
    settle_done();
    release(this);
  }
  return state;
}

inline void owned_call::settle_done() noexcept {
  end_running();
  if (ran_) {
    const std::exception_ptr thrown_here = method_error();
    target_->after_hook(facts(), record_, thrown_here);
    if (thrown_here) target_->turn_failed(method_name(), thrown_here);
  }
  if (settle(outcome::done)) return;  // from here on the error is the caller's alone
  std::exception_ptr thrown = method_error();
  if (!thrown) return;
  const errc why = settled() == outcome::stalled ? errc::worker_stalled : errc::timed_out;
  target_->owner().dead(*target_, method_name(), make_error_code(why), std::move(thrown), from());
}

inline void owned_call::refuse(const refusal& r) noexcept {
  wait_graph::instance().leave(entry_);
  phase p = phase::queued;
  if (phase_.compare_exchange_strong(p, phase::withdrawn, order::relaxed, order::relaxed)) {
    fail(r.make());
    settle(outcome::done);
  }
  release(this);
}

/// Where it timed out the method may still run: its record is not looked at.
TROUPE_NOINLINE inline void owned_call::tell_observers(std::exception_ptr thrown) noexcept {
  const troupe::caller who(from_);
  call_record as_seen;
  as_seen.outcome = call_outcome::not_run;
  if (settled() == outcome::timed_out || settled() == outcome::stalled) {
    as_seen.outcome = call_outcome::timed_out;
  } else if (record_.outcome != call_outcome::running) {
    as_seen = record_;
  }
  if (!thrown) thrown = method_error();
  target_->owner().settled(*target_, call_info(facts(), who, target_->owner().where(),
                                               as_seen.outcome, as_seen.took, std::move(thrown)));
}

/// An owning call of one method.
template <class Invocation>
class owned_call_of final : public owned_call {
public:
  using result = typename Invocation::result;

  owned_call_of(intrusive_ptr<cell> target, Invocation&& made)
      : owned_call(std::move(target)), call_(std::move(made)) {}

  const std::string_view& method_name() const noexcept override { return Invocation::name(); }
  result take() { return result_.take(); }

private:
  void fail(std::exception_ptr e) noexcept override { result_.fail(std::move(e)); }
  called_method called() const noexcept override { return Invocation::called(); }
  std::exception_ptr method_error() noexcept override {
    if (!result_.failed()) return nullptr;
    if (ran_) result_.fail(as_seen_by_caller(result_.error(), target()));
    return result_.error();
  }
  turn_state run(cell& c, cell* from) noexcept override;

  Invocation call_;
  result_slot<result> result_;
  std::optional<started_task<result>> method_;  // destroyed before the slot it writes to
};

template <class Invocation>
turn_state owned_call_of<Invocation>::run(cell& c, cell* from) noexcept {
  c.count_turn();
  c.note_get();
  std::exception_ptr refused;
  if (c.refused_by_hook(facts(), record_, refused)) {
    result_.fail(std::move(refused));
    return turn_state::ended;
  }
  ran_ = true;
  try {
    const plain_turn scope(c, nested_in(), this, Invocation::name());
    if constexpr (Invocation::is_coroutine) {
      method_.emplace(call_(c.object_of(Invocation::called()), from).release());
    } else {
      result_.emplace_from(
          [&]() -> result { return call_(c.object_of(Invocation::called()), from); });
    }
  } catch (...) {
    result_.fail(std::current_exception());
  }
  if constexpr (Invocation::is_coroutine) {
    if (!method_) return turn_state::ended;
    task_promise<result>& method = method_->promise();
    method.result = &result_;
    method.refill();
    return begin_turn(method);
  } else {
    return turn_state::ended;
  }
}

inline time_point earlier(time_point a, time_point b) noexcept { return a < b ? a : b; }

/// Awaits an owning call: the timer, and the tie to the caller's stop requests.
template <class Block>
class owned_awaiter : private timer, private stop_hook {
public:
  owned_awaiter(intrusive_ptr<Block> block, duration limit, frame& caller) noexcept
      : timer(&owned_awaiter::on_time),
        stop_hook(&owned_awaiter::on_stop),
        block_(std::move(block)),
        limit_(limit),
        caller_(caller) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }

  typename Block::result await_resume() {
    stop_hook::detach();
    caller_.where->base().disarm(*this);
    switch (block_->settled()) {
      case owned_call::outcome::expired:
        fail(errc::expired);
      case owned_call::outcome::timed_out:
        fail(errc::timed_out);
      case owned_call::outcome::stalled:
        fail(errc::worker_stalled);
      case owned_call::outcome::cancelled:
        fail(errc::cancelled);
      default:
        if (is_observed()) block_->tell_observers(nullptr);
        return block_->take();
    }
  }

private:
  bool is_observed() const noexcept { return block_->target().owner().observes; }

  [[noreturn]] void fail(errc why) const {
    if (is_observed()) block_->tell_observers(make_failure(why, block_->target()));
    throw error(why, block_->target().id());
  }

  TROUPE_NOINLINE static bool suspend(owned_awaiter& self) {
    frame& f = self.caller_;
    chain_link& chain = *f.chain;
    executor& base = f.where->base();
    const time_point now = base.now();
    const time_point until = earlier(saturating_add(now, self.limit_), chain.deadline);
    self.block_->bind(f, until);
    if (chain.limited && chain.stop_requested()) self.fail(errc::cancelled);
    if (chain.deadline <= now) self.fail(errc::expired);
    stop_state* stop = nullptr;
    bool* const flag = std::exchange(f.completed_inline, nullptr);
    try {
      stop = chain.stop();
      base.arm(self, until);
    } catch (...) {
      f.completed_inline = flag;
      if (self.is_observed()) self.block_->tell_observers(std::current_exception());
      throw;
    }
    self.block_->issue();
    self.stop_hook::attach(stop);
    if (self.block_->stay_suspended()) return true;  // `self` may be gone
    f.completed_inline = flag;
    return false;
  }

  static void on_time(timer& t) noexcept { static_cast<owned_awaiter&>(t).block_->expire(); }
  static void on_stop(stop_hook& h) noexcept { static_cast<owned_awaiter&>(h).block_->cancel(); }

  intrusive_ptr<Block> block_;
  const duration limit_;
  frame& caller_;
};

}  // namespace troupe::detail

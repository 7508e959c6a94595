// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a cell's instance is made, started, stopped and destroyed: the bodies of `cell` that concern
/// it, and those of what surrounds an instance.
///
/// Layer: actor.

#include <exception>
#include <string_view>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/call_info.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/context_timer.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/life.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

// --- the instance --------------------------------------------------------------------------------

inline life& cell::life_of() {
  if (!life_) {
    auto made = std::make_unique<life>(*this);
    const spin_guard guard(mail_lock_);
    life_ = std::move(made);
  }
  return *life_;
}

inline bool cell::has_tasks_below(const chain_link* top) const noexcept {
  const spin_guard guard(mail_lock_);
  return life_ && &life_->chain() == top;
}

inline worker_stats cell::stats() const noexcept {
  worker_stats s;
  s.last_used = time_point(duration(last_used_.load(order::relaxed)));
  s.calls = turns();
  s.busy = busy();
  s.waiting = waiting();
  const spin_guard guard(mail_lock_);
  s.closing = close_when_dry_ || closing_;
  if (life_) s.memory = life_->memory_in_use();
  return s;
}

/// The tick has moved since the last turn: somebody else was used, or made.
TROUPE_NOINLINE inline void cell::note_use() noexcept {
  if (owner_.orders_uses) {
    owner_.tick.store(owner_.tick.load(order::relaxed) + 1, order::relaxed);
  }
  stamp_use();
}

inline bool cell::may_wait_for_start() const noexcept {
  if (instance_ != nullptr) return false;
  return type().current.load(order::acquire)->may_have_start(key()) || has_to_rest();
}

/// How the next instance is made. Where it moves to another thread before it is made, that is not
/// chosen again. The holder. Throws what the program's own choice throws.
inline const maker& cell::choose_maker() {
  if (const maker* const chosen = maker_.load(order::relaxed)) return *chosen;
  const maker& m = type().current.load(order::acquire)->choose(key());
  maker_.store(&m, order::release);  // pairs with the load in `options`
  return m;
}

/// A worker with a thread of its own is served there only. True if that is another one than this.
inline bool cell::move_to_own_thread() {
  if (options().placement != placement::own_thread || place_ != nullptr) return false;
  place_ = &owner_.where().begin_thread();
  return true;
}

/// Runs a hook that awaits something. Where the start has failed, what the instance has begun is
/// stopped and awaited before it goes.
inline task<> starting_steps(cell& c, task<> hook, std::exception_ptr failed) {
  try {
    if (hook) co_await std::move(hook);
  } catch (...) {
    failed = std::current_exception();
  }
  if (!failed) co_return;
  if (life* const l = c.life_so_far()) {
    l->request_stop();
    l->stop_timers();
    auto all_ended = l->all_ended();
    co_await std::move(all_ended);
  }
  std::rethrow_exception(failed);
}

// For those who look: an instance is made, with an `on_start` that awaits nothing, or destroyed.
inline constexpr std::string_view constructor_name = "constructor";
inline constexpr std::string_view destructor_name = "destructor";

inline turn_state cell::make_instance() noexcept {
  if (owner_.closed()) {
    static_cast<void>(forget_start());
    refuse_all(refusal(errc::broker_gone, *this));
    return turn_state::ended;
  }
  if (rests()) return turn_state::open;
  thread_state& state = this_thread_state();
  const serving shown(state.record, *this, constructor_name);
  frame* const outer = std::exchange(state.running, nullptr);
  task<> starting;
  std::exception_ptr failed;
  try {
    const maker& m = choose_maker();
    if (move_to_own_thread()) {
      state.running = outer;
      hand_over();
      return turn_state::open;
    }
    hooked_ = m.has_call_hooks || owner_.observes;
    slow_ = hooked_ || place_ != nullptr || owner_.sends_get;
    newborn_ = true;
    turns_.store(0, order::relaxed);
    instance_ = m.make(context_);
    if (m.has_start) starting = m.start(instance_);
  } catch (...) {
    failed = std::current_exception();
  }
  if (starting || (failed && life_)) {
    try {
      task<> steps = starting_steps(*this, std::move(starting), failed);
      auto* const start =
          new life_turn(*this, std::move(steps), life_turn::on_start, &cell::started);
      state.running = outer;
      put_back();
      // Who waits may be refused while the hook runs, so that nobody goes on from here.
      if (start->run() == turn_state::ended) hand_over();
      return turn_state::open;
    } catch (...) {
      if (!failed) failed = std::current_exception();
    }
  }
  state.running = outer;
  if (failed && life_) {  // no memory to await what it has begun: tried again when it is served
    life_->start_error = std::move(failed);
    yield();
    return turn_state::open;
  }
  started(std::move(failed));
  return turn_state::ended;
}

/// What `make_instance` had no memory for.
inline turn_state cell::end_failed_start() noexcept {
  try {
    task<> steps = starting_steps(*this, task<>(), life_->start_error);
    auto* const end = new life_turn(*this, std::move(steps), life_turn::on_start, &cell::started);
    life_->start_error = nullptr;
    put_back();
    return end->run();
  } catch (...) {
    yield();
    return turn_state::open;
  }
}

/// The end of making an instance. Where it failed, all who wait are told, and nothing is left.
inline void cell::started(std::exception_ptr error) noexcept {
  const bool again = std::exchange(restart_wanted_, false);
  if (!error) {
    alive_.store(true, order::relaxed);
    owner_.created(*this);
    if (again) {
      owner_.restarted(*this);
      if (waiting() == 0) newborn_ = false;  // no message has made it
    }
    return;
  }
  const directive d = reaction_to("on_start", error);
  destroy_instance();
  restart_wanted_ = again && d == directive::restart;
  refuse_all(refusal(errc::start_failed, *this, std::move(error)));
}

/// Nothing is to be made: gives back what was chosen for it. True if it would have come by itself.
inline bool cell::forget_start() noexcept {
  maker_.store(nullptr, order::relaxed);
  if (place_ != nullptr) owner_.where().end_thread(*std::exchange(place_, nullptr));
  return std::exchange(restart_wanted_, false);
}

inline void cell::destroy_instance() noexcept {
  thread_state& state = this_thread_state();
  const serving shown(state.record, *this, destructor_name);
  frame* const outer = std::exchange(state.running, nullptr);
  alive_.store(false, order::relaxed);
  {
    const spin_guard guard(mail_lock_);
    close_when_dry_ = false;  // what was asked of this instance does not concern the next
    closing_ = false;
  }
  const maker* const m = maker_.load(order::relaxed);
  ending_ = true;  // what a destructor still begins would outlive the instance
  if (life_) life_->stop_timers();
  if (void* const instance = std::exchange(instance_, nullptr)) m->destroy(instance);
  maker_.store(nullptr, order::relaxed);
  std::unique_ptr<life> gone;
  {
    const spin_guard guard(mail_lock_);
    gone = std::move(life_);
  }
  gone.reset();
  ending_ = false;
  state.running = outer;
  if (place_ != nullptr) owner_.where().end_thread(*std::exchange(place_, nullptr));
}

/// What happens between the last turn and the destructor.
inline task<> closing_steps(cell& c, life* l, const maker& m) {
  if (l != nullptr) {
    l->request_stop();
    l->stop_timers();
    auto all_ended = l->all_ended();
    co_await std::move(all_ended);
  }
  if (m.has_stop) {
    std::exception_ptr failed;
    try {
      task<> stopping = m.stop(c.instance());
      if (stopping) co_await std::move(stopping);
    } catch (...) {
      failed = std::current_exception();
    }
    if (life* const begun = c.life_so_far()) {  // by on_stop itself
      begun->request_stop();
      begun->stop_timers();
      auto all_ended = begun->all_ended();
      co_await std::move(all_ended);
    }
    if (failed) std::rethrow_exception(failed);
  }
}

inline turn_state cell::close_instance(close_mark* then) noexcept {
  if (instance_ == nullptr) {
    const bool was_to_come = forget_start();
    if (then != nullptr) then->settle(was_to_come);
    return turn_state::ended;
  }
  if (then != nullptr) {
    restart_wanted_ = false;
    then->next = closing_for_;
    closing_for_ = then;
  }
  {
    const spin_guard guard(mail_lock_);
    close_when_dry_ = false;
    closing_ = true;  // from here on it is not abandoned
    if (word_.load(order::relaxed) == word_moved) restart_wanted_ = false;
  }
  // An interleaved worker: they go on, and so does what they may wait for; it closes as soon as no
  // turn is open.
  if (has_open_turns()) {
    draining_ = true;
    slow_ = true;
    return turn_state::ended;
  }
  return end_instance();
}

/// No turn is open any more.
inline turn_state cell::end_instance() noexcept {
  const maker& m = *maker_.load(order::relaxed);
  if (!m.has_stop && (!life_ || life_->ends_at_once())) {
    closed(nullptr);
    return turn_state::ended;
  }
  try {
    task<> steps = closing_steps(*this, life_.get(), m);
    return (new life_turn(*this, std::move(steps), life_turn::on_stop, &cell::closed))->run();
  } catch (...) {
    // No memory for the steps: tried again when it is served.
    if (closing_for_ == nullptr) {
      const spin_guard guard(mail_lock_);
      close_when_dry_ = true;
    }
    while (close_mark* const mark = next_closing()) batch_.push_front(*mark);
    yield();
    return turn_state::open;
  }
}

inline void cell::close(close_mark& mark) noexcept {
  const std::uintptr_t seen = word();
  if (seen > word_idle_slow || TROUPE_BUGGIFY || !acquire(seen)) {
    static_cast<void>(deliver(mark));
    current()->wake_from_rest();
  } else if (!may_run_here()) {
    put_first(mark);
    hand_over();
  } else if (close_instance(&mark) != turn_state::open) {
    leave();
  }
}

/// The mark comes before all that waits: that is for the next instance.
inline void cell::reload(close_mark& mark) noexcept {
  for (std::uintptr_t seen = word(); is_held(seen); seen = word()) {
    {
      const spin_guard guard(mail_lock_);
      std::uintptr_t plain = word_plain;  // who leaves a plain method has to look here
      word_.compare_exchange_strong(plain, word_held, order::relaxed, order::relaxed);
      if (plain <= word_last && !is_held(plain)) continue;
      mark.queued = true;
      queue_.push_front(mark);
    }
    return wake_from_rest();
  }
  close(mark);
}

inline void cell::closed(std::exception_ptr error) noexcept {
  if (error) {
    owner_.dead(*this, "on_stop", std::error_code(), std::move(error), nullptr);
  }
  destroy_instance();
  if (!abandoned()) owner_.destroyed(*this);  // else it was said before
  notify(worker_notice::stopped, {}, nullptr,
         restart_wanted_ ? directive::restart : directive::stop);
  while (close_mark* const mark = next_closing()) mark->settle(true);
}

/// Takes one of those that are told of the end.
inline close_mark* cell::next_closing() noexcept {
  close_mark* const mark = closing_for_;
  if (mark != nullptr) closing_for_ = static_cast<close_mark*>(mark->next);
  return mark;
}

// --- hooks ---------------------------------------------------------------------------------------

inline void* cell::part_for(const called_method& m) const noexcept {
  return maker_.load(order::relaxed)->part(instance_, m.actor).object;
}

/// The clock is read only for those who are told of it.
inline bool cell::times_calls() const noexcept {
  return owner_.observes || maker_.load(order::relaxed)->has_after_call;
}

/// Where one throws, what comes after a call comes all the same.
TROUPE_NOINLINE inline bool cell::run_before_hooks(const call_facts& f, call_record& r,
                                                   std::exception_ptr& thrown) noexcept {
  std::size_t reached = 0;
  try {
    const caller who = make_caller(f.from);
    const call_info info(f, who, owner_.where());
    if (owner_.observes) owner_.before_call(*this, info, reached);
    const instance_part part = maker_.load(order::relaxed)->part(instance_, f.method.actor);
    part.made_by->before(part.object, info);
    if (times_calls()) r.began = owner_.where().now();
    return false;
  } catch (...) {
    std::exception_ptr why = std::current_exception();
    r.outcome = call_outcome::refused;
    tell_of_end(f, r, why, reached);
    thrown = nest_failure(errc::refused, *this, std::move(why));
    return true;
  }
}

TROUPE_NOINLINE inline void cell::run_after_hooks(const call_facts& f, call_record& r,
                                                  const std::exception_ptr& thrown) noexcept {
  constexpr std::size_t all = ~std::size_t{0};
  if (times_calls()) r.took = owner_.where().now() - r.began;
  r.outcome = thrown ? call_outcome::threw : call_outcome::ok;
  tell_of_end(f, r, thrown, all);
}

inline void cell::tell_of_end(const call_facts& f, call_record& r, const std::exception_ptr& thrown,
                              std::size_t reached) noexcept {
  {
    const caller who = make_caller(f.from);
    const call_info info(f, who, owner_.where(), r.outcome, r.took, thrown);
    const instance_part part = maker_.load(order::relaxed)->part(instance_, f.method.actor);
    part.made_by->after(part.object, info);
    if (owner_.observes) owner_.after_call(*this, info, reached);
  }
  r.span = f.link.span.load(order::relaxed);
}

// --- what surrounds an instance ------------------------------------------------------------------

inline void life::task_failed(task_scope& scope, std::exception_ptr e) noexcept {
  cell& c = static_cast<life&>(scope).cell_;
  c.owner().dead(c, "spawn", std::error_code(), std::move(e), &c);
}

inline void life::add_timer(context_timer& t) noexcept { t.link(timers_); }

/// After this no timer delivers anything any more.
inline void life::stop_timers() noexcept {
  while (context_timer* const t = timers_) {
    t->unlink();
    t->stop();
  }
}

inline void context_timer::begin() {
  cell_.life_of().add_timer(*this);
  arm(first_);
}

}  // namespace troupe::detail

namespace troupe {

inline worker_id caller::id() const { return from_ ? from_->id() : worker_id(); }
inline std::string_view caller::type() const noexcept {
  return from_ ? from_->type().name : std::string_view();
}
inline std::string_view caller::key() const noexcept {
  return from_ ? from_->key() : std::string_view();
}

inline std::string_view context::key() const noexcept { return cell_->key(); }
inline std::uint64_t context::version() const noexcept {
  return cell_->type().version.load(detail::order::acquire);
}
inline const worker_id& context::id() const { return cell_->life_of().id(); }
inline void context::spawn(task<> t) {
  if (!cell_->ending()) cell_->life_of().spawn(std::move(t));
}
inline stop_token context::stop_token() const {
  return troupe::stop_token(intrusive_ptr<detail::stop_state>(cell_->life_of().chain().stop()));
}
inline std::pmr::memory_resource& context::memory() noexcept { return cell_->life_of().memory(); }
inline void context::keep_alive(duration d) {
  cell_->life_of().keep_until(saturating_add(cell_->owner().where().now(), d));
}
inline void context::deactivate_when_idle() { cell_->close_when_dry(); }

inline void context::start_timer(duration first, duration again, steps f) {
  if (!cell_->ending()) (new detail::context_timer(*cell_, first, again, std::move(f)))->begin();
}

}  // namespace troupe

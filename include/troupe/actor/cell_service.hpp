// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a cell serves its mailbox, and how its instance is made and closed: the bodies of `cell` and
/// of its surroundings.
///
/// Layer: actor.

#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/context_timer.hpp>
#include <troupe/actor/hooks.hpp>
#include <troupe/actor/life.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/actor/turn.hpp>

namespace troupe::detail {

// --- identity
// -------------------------------------------------------------------------------------

inline cell::cell(cell_owner& o, const actor_class& a, std::string_view k, std::uint64_t h)
    : runnable(&cell::serve_ready),
      owner_(o),
      type_(a),
      key_(k.empty() ? nullptr : new char[k.size()]),
      key_size_(static_cast<std::uint32_t>(k.size())),
      hash_(h) {
  if (!k.empty()) std::memcpy(key_.get(), k.data(), k.size());
  owner_.add_ref_owner();
}

inline cell::~cell() {
  TROUPE_ASSERT(instance_ == nullptr, "a cell is deleted only without an instance");
  owner_.release_owner();
}

inline worker_id cell::id() const { return worker_id(std::string(type_.name), std::string(key())); }

/// Those of the instance, where there is one: a new factory does not change what has begun.
inline const actor_options& cell::options() const noexcept {
  const maker* const m = maker_.load(order::acquire);
  return (m != nullptr ? m : type_.current.load(order::acquire))->options;
}

inline refusal cell::refuse_for(errc why, const std::exception_ptr& cause) const noexcept {
  return refusal(make_error_code(why),
                 cause ? nest_failure(why, *this, cause) : make_failure(why, *this));
}

// --- the mailbox
// ----------------------------------------------------------------------------------

/// What belongs to the life cycle, or continues what has begun, is not held against the capacity.
inline bool is_counted(const message& m) noexcept {
  return m.kind != message_kind::resume && m.kind != message_kind::mark;
}

inline bool cell::push(message& m, std::uintptr_t& seen) noexcept {
  m.counted = is_counted(m);
  m.next = seen > word_last ? reinterpret_cast<runnable*>(seen) : nullptr;
  if (m.counted) waiting_.fetch_add(1, order::relaxed);
  runnable* const node = &m;
  // Release: whoever takes the inbox sees the message.
  if (word_.compare_exchange_strong(seen, reinterpret_cast<std::uintptr_t>(node), order::release,
                                    order::acquire)) {
    return true;
  }
  if (m.counted) waiting_.fetch_sub(1, order::relaxed);
  m.counted = false;
  return false;
}

inline bool cell::push_stoppable(message& m, std::uintptr_t& seen, stop_hook& hook,
                                 stop_state* stop) noexcept {
  const spin_guard guard(mail_lock_);  // a hook that takes the message out waits for it to be in
  if (!hook.try_attach(stop)) return false;
  while (seen > word_last || seen == word_held || seen == word_plain) {
    if (push(m, seen)) return true;
  }
  return false;
}

inline bool cell::deliver(message& m) noexcept {
  for (std::uintptr_t seen = word();;) {
    if (seen == word_gone) {
      m.refuse(refuse_for(errc::broker_gone));
      return false;
    }
    if (seen <= word_idle_slow || seen == word_dormant) {
      if (acquire(seen)) {
        batch_.push_back(m);
        hand_over();
        return true;
      }
      seen = word();
      continue;
    }
    if (push(m, seen)) return true;
  }
}

/// Behind the queue, where others may take it out. The lock is held.
inline void cell::enqueue(message& m) noexcept {
  m.queued = true;
  queue_.push_back(m);
}

/// Out of the queue. The lock is held.
inline message* cell::dequeue(message* m) noexcept {
  queue_.remove(*m);
  m->queued = false;
  if (m->counted) waiting_.fetch_sub(1, order::relaxed);
  m->counted = false;
  return m;
}

/// Moves the inbox behind the queue. The cell is held, and so is mail_lock_.
inline void cell::take_inbox() noexcept {
  if (word_.load(order::relaxed) <= word_last) return;
  auto* newest = reinterpret_cast<runnable*>(word_.exchange(word_held, order::acquire));
  runnable* oldest = nullptr;
  while (newest != nullptr) {
    runnable* const older = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = older;
  }
  while (oldest != nullptr) {
    message& m = static_cast<message&>(*oldest);
    oldest = oldest->next;
    enqueue(m);
  }
}

/// Returns what was about to run to the queue, where others can reach it.
inline void cell::put_back() noexcept {
  const spin_guard guard(mail_lock_);
  message_queue reversed;
  while (message* const m = batch_.pop_front()) reversed.push_front(*m);
  while (message* const m = reversed.pop_front()) {
    m->queued = true;  // but not counted again: it has had its turn
    queue_.push_front(*m);
  }
}

/// The message whose turn it is, or `nullptr`. Only plain methods are taken ahead: what may suspend
/// leaves the rest where others can reach it.
inline message* cell::next_message() noexcept {
  if (message* const m = batch_.pop_front()) return m;
  const spin_guard guard(mail_lock_);
  if (draining_) return next_resumption();
  if (queue_.empty()) take_inbox();
  std::uint32_t counted = 0;
  for (int i = 0; i < batch_limit; ++i) {
    message* const m = queue_.pop_front();
    if (m == nullptr) break;
    if (m->counted) ++counted;
    m->counted = false;
    m->queued = false;
    batch_.push_back(*m);
    if (queue_.front() == nullptr || !m->runs_plain || !queue_.front()->runs_plain) break;
  }
  if (counted != 0) waiting_.fetch_sub(counted, order::relaxed);
  return batch_.pop_front();
}

/// The next message that continues an open turn; the rest waits for the next instance. The lock is
/// held.
inline message* cell::next_resumption() noexcept {
  take_inbox();
  for (message* m = queue_.front(); m != nullptr; m = message_queue::newer(*m)) {
    if (m->kind == message_kind::resume) return dequeue(m);
  }
  return nullptr;
}

inline bool cell::take_out(message& m) noexcept {
  const spin_guard guard(mail_lock_);
  if (word_.load(order::relaxed) > word_last) take_inbox();
  if (!m.queued) return false;
  dequeue(&m);
  return true;
}

inline bool cell::drop_oldest() noexcept {
  message* oldest = nullptr;
  {
    const spin_guard guard(mail_lock_);
    if (word_.load(order::relaxed) > word_last) take_inbox();
    for (message* m = queue_.front(); m != nullptr && oldest == nullptr;
         m = message_queue::newer(*m)) {
      if (m->kind == message_kind::tell || m->kind == message_kind::owned) oldest = m;
    }
    if (oldest == nullptr) return false;
    dequeue(oldest);
  }
  oldest->refuse(refuse_for(errc::mailbox_full));
  return true;
}

inline void cell::refuse_all(const refusal& r) noexcept {
  while (message* const m = next_message()) m->refuse(r);
}

inline void cell::refuse_waiting(errc why) noexcept {
  const refusal r = refuse_for(why);
  message_queue refused;
  {
    const spin_guard guard(mail_lock_);
    if (word_.load(order::relaxed) > word_last) take_inbox();
    for (message* m = queue_.front(); m != nullptr;) {
      message* const newer = message_queue::newer(*m);
      if (is_counted(*m)) refused.push_back(*dequeue(m));
      m = newer;
    }
  }
  while (message* const m = refused.pop_front()) m->refuse(r);
}

// --- holding the worker
// ---------------------------------------------------------------------------

/// Runs messages until there are none, or a turn stays open, or others want the thread.
inline void cell::serve() noexcept {
  if (life_ && life_->start_error && end_failed_start() == turn_state::open) return;
  for (int i = 0; i < serve_limit; ++i) {
    message* const m = next_message();
    if (m == nullptr) {
      if (draining_ && !has_open_turns()) {
        if (!finish_draining()) return;
      } else if (must_close()) {
        if (close_instance(nullptr) == turn_state::open) return;
      } else if (try_leave()) {
        return;
      }
      continue;
    }
    if (draining_ && m->kind != message_kind::resume) {  // for the next instance
      const spin_guard guard(mail_lock_);
      enqueue(*m);
      continue;
    }
    const bool needs_instance = m->kind != message_kind::mark && m->kind != message_kind::resume;
    if (needs_instance && instance_ == nullptr) {
      batch_.push_front(*m);
      if (make_instance() == turn_state::open) return;
      continue;
    }
    if (m->start(*this, nullptr) == turn_state::open) return;
  }
  yield();
}

/// After `enter_fast`, with others waiting: runs their plain methods here, where the worker's data
/// is in the cache, and leaves the rest to the executor.
inline void cell::leave_with_mail() noexcept {
  for (int i = 0; i < batch_limit; ++i) {
    message* const m = next_message();
    if (m == nullptr) {
      if (try_leave()) return;
      break;
    }
    if (!m->runs_plain || instance_ == nullptr) {
      batch_.push_front(*m);
      break;
    }
    m->start(*this, nullptr);
  }
  hand_over();
}

inline void cell::leave() noexcept {
  if (!try_leave()) hand_over();
}

/// False if there is more to do: a message, or an eviction, which only `serve` carries out.
inline bool cell::try_leave() noexcept {
  bool last_reference_may_go = false;
  {
    const spin_guard guard(mail_lock_);
    std::uintptr_t held = word_.load(order::relaxed);
    if (held > word_last || !batch_.empty()) return false;
    if (!draining_ && !queue_.empty()) return false;
    if (!draining_ && close_when_dry_ && instance_ != nullptr) return false;
    if (draining_ && open_turns_ == nullptr) return false;
    close_when_dry_ = false;
    std::uintptr_t free_word = slow_ ? word_idle_slow : word_idle;
    if (instance_ == nullptr) {
      free_word = owner_.closed() ? word_gone : word_dormant;
      last_reference_may_go = true;
    }
    if (!word_.compare_exchange_strong(held, free_word, order::release, order::relaxed)) {
      return false;
    }
  }
  if (last_reference_may_go) release(this);
  return true;
}

inline bool cell::must_close() noexcept {
  const spin_guard guard(mail_lock_);
  return close_when_dry_ && instance_ != nullptr && !draining_;
}

inline bool cell::has_open_turns() noexcept {
  const spin_guard guard(mail_lock_);
  return open_turns_ != nullptr;
}

/// The last turn of an interleaved worker that was to be closed has ended. False if the cell is not
/// the caller's any more.
inline bool cell::finish_draining() noexcept {
  draining_ = false;
  return close_instance(std::exchange(closing_for_, nullptr)) != turn_state::open;
}

inline void cell::close_when_dry() noexcept {
  const spin_guard guard(mail_lock_);
  close_when_dry_ = true;
  std::uintptr_t plain = word_plain;  // so that leave_fast looks here
  word_.compare_exchange_strong(plain, word_held, order::relaxed, order::relaxed);
}

inline bool cell::evict() noexcept {
  for (std::uintptr_t seen = word();;) {
    if (seen == word_dormant || seen == word_gone || !alive()) return false;
    if (is_kept_alive()) return false;
    if (seen <= word_idle_slow) {
      if (acquire(seen)) {
        if (!draining_) close_when_dry();
        hand_over();
        return true;
      }
      seen = word();
      continue;
    }
    const spin_guard guard(mail_lock_);
    if (!alive()) return false;
    if (close_when_dry_) return true;
    seen = word_.load(order::relaxed);
    if (seen == word_plain &&
        !word_.compare_exchange_strong(seen, word_held, order::relaxed, order::relaxed)) {
      continue;
    }
    if (seen <= word_idle_slow || seen == word_dormant || seen == word_gone) continue;
    close_when_dry_ = true;
    return true;
  }
}

inline bool cell::is_kept_alive() noexcept {
  return owner_.where().now().time_since_epoch().count() < kept_until_.load(order::relaxed);
}

/// Called when nothing can run any more: what still arrives is refused.
inline void cell::settle_gone() noexcept {
  std::uintptr_t dormant = word_dormant;
  word_.compare_exchange_strong(dormant, word_gone, order::relaxed, order::relaxed);
}

// --- suspended turns
// ------------------------------------------------------------------------------

inline void cell::list_turn(turn& t) noexcept {
  const spin_guard guard(mail_lock_);
  t.next_open = open_turns_;
  t.previous_open = &open_turns_;
  if (open_turns_ != nullptr) open_turns_->previous_open = &t.next_open;
  open_turns_ = &t;
}

inline void cell::unlist_turn(turn& t) noexcept {
  const spin_guard guard(mail_lock_);
  if (t.previous_open == nullptr) return;
  *t.previous_open = t.next_open;
  if (t.next_open != nullptr) t.next_open->previous_open = t.previous_open;
  t.previous_open = nullptr;
}

/// The stop states are taken under the lock, where no turn ends, and asked outside of it.
inline void cell::stop_turns() noexcept {
  std::vector<intrusive_ptr<stop_state>> states;
  try {
    const spin_guard guard(mail_lock_);
    for (turn* t = open_turns_; t != nullptr; t = t->next_open) {
      states.emplace_back(t->stop());
    }
  } catch (...) {
    // Out of memory: those that were found are asked.
  }
  for (const auto& s : states) s->request();
}

// --- the instance
// ---------------------------------------------------------------------------------

inline life& cell::life_of() {
  if (!life_) life_ = std::make_unique<life>(*this);
  return *life_;
}

inline bool cell::starts_with_a_hook() const noexcept {
  return instance_ == nullptr && type_.current.load(order::acquire)->has_start;
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

inline turn_state cell::make_instance() noexcept {
  if (owner_.closed()) {
    refuse_all(refuse_for(errc::broker_gone));
    return turn_state::ended;
  }
  thread_state& state = this_thread_state();
  frame* const outer = std::exchange(state.running, nullptr);
  task<> starting;
  std::exception_ptr failed;
  try {
    if (move_to_own_thread()) {
      state.running = outer;
      hand_over();
      return turn_state::open;
    }
    const maker& m = *type_.current.load(order::acquire);
    maker_.store(&m, order::release);
    hooked_ = m.has_call_hooks;
    slow_ = hooked_ || place_ != nullptr;
    instance_ = m.make(context_);
    if (m.has_start) starting = m.start(instance_);
  } catch (...) {
    failed = std::current_exception();
  }
  if (starting || (failed && life_)) {
    try {
      task<> steps = starting_steps(*this, std::move(starting), failed);
      auto* const start = new life_turn(*this, std::move(steps), "on_start", &cell::started);
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
    auto* const end = new life_turn(*this, std::move(steps), "on_start", &cell::started);
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
  if (!error) {
    alive_.store(true, order::release);
    owner_.created(*this);
    return;
  }
  destroy_instance();
  refuse_all(refuse_for(errc::start_failed, error));
}

inline void cell::destroy_instance() noexcept {
  thread_state& state = this_thread_state();
  frame* const outer = std::exchange(state.running, nullptr);
  alive_.store(false, order::release);
  {
    const spin_guard guard(mail_lock_);
    close_when_dry_ = false;  // what was asked of this instance does not concern the next
  }
  const maker* const m = maker_.load(order::relaxed);
  ending_ = true;  // what a destructor still begins would outlive the instance
  if (life_) life_->stop_timers();
  if (void* const instance = std::exchange(instance_, nullptr)) m->destroy(instance);
  maker_.store(nullptr, order::release);
  life_.reset();
  ending_ = false;
  state.running = outer;
  kept_until_.store(0, order::relaxed);
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
    if (then != nullptr) then->settle(false);
    return turn_state::ended;
  }
  closing_for_ = then;
  {
    const spin_guard guard(mail_lock_);
    close_when_dry_ = false;
  }
  if (has_open_turns()) {  // an interleaved worker: they go on, nothing new starts
    draining_ = true;
    slow_ = true;
    return turn_state::ended;
  }
  const maker& m = *maker_.load(order::relaxed);
  if (!life_ && !m.has_stop) {
    closed(nullptr);
    return turn_state::ended;
  }
  try {
    task<> steps = closing_steps(*this, life_.get(), m);
    return (new life_turn(*this, std::move(steps), "on_stop", &cell::closed))->run();
  } catch (...) {
    // No memory for the steps: tried again when it is served.
    closing_for_ = nullptr;
    if (then != nullptr) {
      batch_.push_front(*then);
    } else {
      const spin_guard guard(mail_lock_);
      close_when_dry_ = true;
    }
    yield();
    return turn_state::open;
  }
}

inline void cell::close(close_mark& mark) noexcept {
  const std::uintptr_t seen = word();
  if (seen > word_idle_slow || !acquire(seen)) {
    static_cast<void>(deliver(mark));
  } else if (!may_run_here()) {
    put_first(mark);
    hand_over();
  } else if (close_instance(&mark) != turn_state::open) {
    leave();
  }
}

inline void cell::closed(std::exception_ptr error) noexcept {
  if (error) {
    owner_.dead(*this, "on_stop", std::error_code(), std::move(error), nullptr);
  }
  close_mark* const mark = std::exchange(closing_for_, nullptr);
  destroy_instance();
  owner_.destroyed(*this);
  if (mark != nullptr) mark->settle(true);
}

// --- hooks
// ----------------------------------------------------------------------------------------

inline bool cell::run_before_hook(std::string_view method, cell* from,
                                  std::exception_ptr& thrown) noexcept {
  try {
    const caller who = make_caller(from);
    maker_.load(order::relaxed)->before(instance_, call_info(method, who));
    return false;
  } catch (...) {
    thrown = nest_failure(errc::refused, *this, std::current_exception());
    return true;
  }
}

inline void cell::run_after_hook(std::string_view method, cell* from,
                                 const std::exception_ptr& thrown) noexcept {
  const caller who = make_caller(from);
  maker_.load(order::relaxed)->after(instance_, call_info(method, who, &thrown));
}

// --- life
// -----------------------------------------------------------------------------------------

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
inline const worker_id& context::id() const { return cell_->life_of().id(); }
inline void context::spawn(task<> t) {
  if (!cell_->ending()) cell_->life_of().spawn(std::move(t));
}
inline stop_token context::stop_token() const {
  return troupe::stop_token(intrusive_ptr<detail::stop_state>(cell_->life_of().chain().stop()));
}
inline std::pmr::memory_resource& context::memory() noexcept { return cell_->life_of().memory(); }
inline void context::keep_alive(duration d) {
  cell_->keep_until(saturating_add(cell_->owner().where().now(), d));
}
inline void context::deactivate_when_idle() { cell_->close_when_dry(); }

inline void context::start_timer(duration first, duration again, steps f) {
  if (!cell_->ending()) (new detail::context_timer(*cell_, first, again, std::move(f)))->begin();
}

}  // namespace troupe

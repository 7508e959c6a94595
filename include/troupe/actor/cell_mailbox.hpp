// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How messages come into a cell, wait, and get their turns: the bodies of `cell` that concern its
/// turn word and its mailbox.
///
/// Layer: actor. Allocates nothing except the errors of what is refused.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/failure.hpp>
#include <troupe/actor/life.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/outside_code.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/actor/plain_turn.hpp>
#include <troupe/actor/supervisor.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>

namespace troupe::detail {

inline cell::cell(cell_owner& o) noexcept : runnable(&cell::serve_ready), owner_(o) {
  owner_.add_ref_owner();
}

inline cell* cell::make(cell_owner& owner, const actor_class& a, std::string_view key) {
  void* const room = owner.memory.allocate<cell>();
  try {
    ::new (cell_memory::record_of<cell>(room)) cell_record(a, key);
  } catch (...) {
    owner.memory.deallocate<cell>(room);
    throw;
  }
  return ::new (room) cell(owner);
}

inline cell::~cell() {
  TROUPE_ASSERT(instance_ == nullptr, "a cell is deleted only without an instance");
  delete supervisor_.load(order::relaxed);  // all who used the cell came before
}

/// The owner goes last: it has the memory.
inline void cell::destroy(cell& c) noexcept {
  cell_owner& owner = c.owner_;
  cell_record& record = c.record();
  c.~cell();
  record.~cell_record();
  owner.memory.deallocate<cell>(&c);
  owner.release_owner();
}

inline worker_id cell::id() const {
  return worker_id(std::string(type().name), std::string(key()));
}

/// Those of the instance, where there is one: a new factory does not change what has begun.
inline const actor_options& cell::options() const noexcept {
  if (const maker* const m = maker_.load(order::acquire)) return m->options;
  return type().current.load(order::acquire)->options_before(key());
}

// --- the mailbox ---------------------------------------------------------------------------------

inline bool cell::push_stoppable(message& m, std::uintptr_t& seen, stop_hook& hook,
                                 stop_state* stop) noexcept {
  const spin_guard guard(mail_lock_);  // a hook that takes the message out waits for it to be in
  return hook.try_attach(stop) && push(m, seen);
}

inline bool cell::deliver(message& m) noexcept {
  for (std::uintptr_t seen = word(); !is_held(seen) || !push(m, seen); seen = word()) {
    if (seen == word_gone) {
      m.refuse(refusal(errc::broker_gone, *this));
      return false;
    }
    if (seen == word_moved) {
      const intrusive_ptr<cell> heir = owner_.successor(*this);
      return m.move_to(*heir) ? heir->deliver(m) : keep_message(m);
    }
    if (is_held(seen) || !acquire(seen)) continue;
    batch_.push_back(m);
    hand_over();
    return true;
  }
  return true;
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
  queue_.append_inbox(reinterpret_cast<runnable*>(word_.exchange(word_held, order::acquire)));
}

/// Returns what was about to run to the queue, where others can reach it; what was to be taken out
/// meanwhile is refused.
inline void cell::put_back() noexcept {
  message_queue withdrawn;
  {
    const spin_guard guard(mail_lock_);
    message_queue reversed;
    while (message* const m = batch_.pop_front()) {
      if (m->withdrawn) {
        withdrawn.push_back(*m);
      } else {
        reversed.push_front(*m);
      }
    }
    while (message* const m = reversed.pop_front()) {
      m->queued = true;  // but not counted again: it has had its turn
      queue_.push_front(*m);
    }
  }
  while (message* const m = withdrawn.pop_front()) m->refuse(refusal(errc::cancelled, *this));
}

/// The message whose turn it is, or `nullptr`. Only plain methods are taken ahead: what may suspend
/// leaves the rest where others can reach it.
inline message* cell::next_message() noexcept {
  if (message* const m = batch_.pop_front()) return m;
  const spin_guard guard(mail_lock_);
  if (queue_.empty()) take_inbox();
  message* const first = queue_.front();
  if (first == nullptr) return nullptr;
  // What was taken cannot move to another cell.
  const int limit = options().abandon_stalled ? 1 : batch_limit;
  message* last = first;
  std::uint32_t counted = 0;
  for (int i = 1;; ++i) {
    if (last->counted) ++counted;
    last->counted = false;
    last->queued = false;
    message* const newer = message_queue::newer(*last);
    if (i == limit || newer == nullptr || !last->runs_plain || !newer->runs_plain) break;
    last = newer;
  }
  batch_.take_front(queue_, *last);
  if (counted != 0) waiting_.fetch_sub(counted, order::relaxed);
  return batch_.pop_front();
}

inline bool cell::take_out(message& m) noexcept {
  const spin_guard guard(mail_lock_);
  return take_out_locked(m);
}

/// The same for a message that may move to another cell meanwhile: `target` says where it is meant
/// for, and changes under the lock of the cell that it leaves.
inline bool cell::take_out(message& m, const atomic<cell*>& target) noexcept {
  for (;;) {
    cell& c = *target.load(order::acquire);
    const spin_guard guard(c.mail_lock_);
    if (target.load(order::relaxed) == &c) return c.take_out_locked(m);
  }
}

inline bool cell::take_out_locked(message& m) noexcept {
  if (word_.load(order::relaxed) > word_last) take_inbox();
  if (m.queued) {
    dequeue(&m);
    return true;
  }
  m.withdrawn = true;
  return false;
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
  oldest->refuse(refusal(errc::mailbox_full, *this));
  return true;
}

/// What belongs to an instance that was abandoned runs in its remaining turn, or never.
inline bool cell::keep_message(message& m) noexcept {
  {
    const spin_guard guard(mail_lock_);
    if (alive()) {
      m.queued = true;
      queue_.push_back(m);
      return true;
    }
  }
  m.refuse(refusal(errc::worker_stopped, *this));
  return false;
}

/// A new cell, held and locked, gets what waited at the one before.
inline void cell::adopt(message_queue& moved) noexcept {
  while (message* const m = moved.pop_front()) {
    m->counted = is_counted(*m);
    if (m->counted) waiting_.fetch_add(1, order::relaxed);
    m->queued = true;
    queue_.push_back(*m);
  }
}

/// For whoever takes it out, a message is in one mailbox or the other: both are locked, the old one
/// first. Nobody locks them the other way round, since a cell is abandoned for a new one.
inline bool cell::abandon_for(cell& heir) noexcept {
  message_queue stalled;
  {
    const spin_guard guard(mail_lock_);
    const spin_guard heir_guard(heir.mail_lock_);
    std::uintptr_t seen = word_.load(order::relaxed);
    for (;;) {
      if (!is_held(seen) || !alive() || closing_) return false;
      if (seen > word_last) take_inbox();
      seen = seen > word_last ? word_held : seen;
      // Release: who finds this finds the successor. Nobody is in the inbox.
      if (word_.compare_exchange_strong(seen, word_moved, order::acq_rel, order::relaxed)) break;
    }
    close_when_dry_ = true;
    message_queue moved;
    for (message* m = queue_.front(); m != nullptr;) {
      message* const newer = message_queue::newer(*m);
      if (is_owned(*m)) {
        stalled.push_back(*dequeue(m));
      } else if (m->move_to(heir)) {
        moved.push_back(*dequeue(m));
      }
      m = newer;
    }
    heir.adopt(moved);
  }
  while (message* const m = stalled.pop_front()) m->refuse(refusal(errc::worker_stalled, *this));
  return true;
}

inline intrusive_ptr<cell> cell::current() noexcept {
  intrusive_ptr<cell> c(this);
  while (c->abandoned()) c = owner_.successor(*c);
  return c;
}

inline void cell::refuse_all(const refusal& r) noexcept {
  while (message* const m = next_message()) {
    if (m->kind == message_kind::close) {  // nothing is there any more, as it wants
      static_cast<void>(m->start(*this, nullptr));
    } else {
      m->refuse(r);
    }
  }
}

inline void cell::refuse_waiting(errc why, bool (*which)(const message&) noexcept) noexcept {
  const refusal r(why, *this);
  message_queue refused;
  {
    const spin_guard guard(mail_lock_);
    if (word_.load(order::relaxed) > word_last) take_inbox();
    for (message* m = queue_.front(); m != nullptr;) {
      message* const newer = message_queue::newer(*m);
      if (which(*m)) refused.push_back(*dequeue(m));
      m = newer;
    }
  }
  while (message* const m = refused.pop_front()) m->refuse(r);
}

/// Microseconds in 32 bits: who waits for more than 71 minutes is counted that much short. Not the
/// executor's clock: who sends a message may find that the broker is gone, and its executor as
/// well.
inline std::uint32_t wait_clock(const cell_owner& owner) noexcept {
  const executor* const e = owner.virtual_clock;
  const duration now = (e != nullptr ? e->now() : steady_now()).time_since_epoch();
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

TROUPE_NOINLINE inline void cell::stamp_wait(message& m) const noexcept {
  m.queued_at = (std::max)(wait_clock(owner_), std::uint32_t{1});
}

TROUPE_NOINLINE inline void cell::note_wait(message& m) noexcept {
  const std::uint32_t waited = wait_clock(owner_) - std::exchange(m.queued_at, 0);
  owner_.waited(std::chrono::microseconds(waited));
}

TROUPE_NOINLINE inline void cell::hand_over_tells() noexcept {
  const std::uint64_t word = turns_.load(order::relaxed);
  turns_.store(turns_of(word), order::relaxed);
  owner_.told(tells_of(word));
}

// --- holding the worker --------------------------------------------------------------------------

/// Runs messages until there are none, or a turn stays open, or others want the thread.
inline void cell::serve() noexcept {
  if (life_ && life_->start_error && end_failed_start() == turn_state::open) return;
  for (int i = 0; i < serve_limit; ++i) {
    if (draining_ && !has_open_turns()) {
      if (!finish_draining()) return;
    }
    if (after_turn_ != directive::resume) {
      if (!supervise()) return;
      continue;
    }
    message* const m = next_message();
    if (m == nullptr) {
      if (must_close()) {
        if (close_instance(nullptr) == turn_state::open) return;
      } else if (has_to_start_again()) {
        if (make_instance() == turn_state::open) return;
      } else if (try_leave()) {
        return;
      }
      continue;
    }
    if (is_counted(*m) && instance_ == nullptr) {
      batch_.push_front(*m);
      if (make_instance() == turn_state::open) return;
      continue;
    }
    if (m->queued_at != 0) note_wait(*m);
    if (m->runs_plain && !slow_) {
      i += run_batch(*m);
    } else if (m->start(*this, nullptr) == turn_state::open) {
      return;
    }
  }
  yield();
}

/// Runs `first`, a plain method, and those that were taken from the queue with it, until one fails.
/// Returns how many these are.
inline int cell::run_batch(message& first) noexcept {
  const plain_turn scope(*this, nullptr, nullptr, first.method_name());
  message* m = batch_.take_all();
  first.run_plain(*this);
  int taken_with_it = 0;
  for (message* newer = nullptr; m != nullptr; m = newer) {
    newer = message_queue::newer(*m);
    if (after_turn_ == directive::resume) {
      if (m->queued_at != 0) note_wait(*m);
      m->run_plain(*this);
      ++taken_with_it;
    } else if (after_turn_ == directive::restart) {
      batch_.push_back(*m);
    } else {
      m->refuse(refusal(errc::worker_stopped, *this));
    }
  }
  return taken_with_it;
}

/// After `enter_fast`, with others waiting: runs their plain methods here, where the worker's data
/// is in the cache, and leaves the rest to the executor.
inline void cell::leave_with_mail() noexcept {
  if (after_turn_ != directive::resume) return hand_over();
  message* const m = next_message();
  if (m == nullptr) {
    if (try_leave()) return;
  } else if (m->runs_plain && instance_ != nullptr && !slow_) {
    if (m->queued_at != 0) note_wait(*m);
    run_batch(*m);
    if (try_leave()) return;
  } else {
    batch_.push_front(*m);
  }
  hand_over();
}

inline void cell::leave() noexcept {
  if (!try_leave()) hand_over();
}

/// False if there is more to do: a message; or what only `serve` carries out, an eviction, a
/// restart.
inline bool cell::try_leave() noexcept {
  if (after_turn_ != directive::resume || has_to_start_again()) return false;
  bool last_reference_may_go = false;
  bool abandoned_before = false;
  {
    const spin_guard guard(mail_lock_);
    std::uintptr_t held = word_.load(order::relaxed);
    if (held > word_last || !batch_.empty() || !queue_.empty()) return false;
    if (!draining_ && close_when_dry_ && instance_ != nullptr) return false;
    if (draining_ && open_turns_ == nullptr) return false;
    close_when_dry_ = false;
    std::uintptr_t free_word = slow_ ? word_idle_slow : word_idle;
    if (instance_ == nullptr) {
      free_word = owner_.closed() ? word_gone : word_dormant;
      last_reference_may_go = true;
    }
    if (held == word_moved) {
      free_word = word_moved;
      abandoned_before = true;
    }
    if (!word_.compare_exchange_strong(held, free_word, order::release, order::relaxed)) {
      return false;
    }
  }
  if (abandoned_before) owner_.abandoned_ended();  // the broker is still there: it waits for this
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
  put_back();
  return end_instance() != turn_state::open;
}

inline void cell::close_when_dry() noexcept {
  const spin_guard guard(mail_lock_);
  close_when_dry_ = true;
  std::uintptr_t plain = word_plain;  // so that leave_fast looks here
  word_.compare_exchange_strong(plain, word_held, order::relaxed, order::relaxed);
}

inline bool cell::evict() noexcept {
  for (std::uintptr_t seen = word();;) {
    if ((!is_held(seen) && seen > word_idle_slow) || !alive()) return false;
    if (is_kept_alive()) return false;
    if (seen <= word_idle_slow) {
      if (acquire(seen)) {
        owner_.evicted(*this);
        evict_held();
        return true;
      }
      seen = word();
      continue;
    }
    bool newly = false;
    if (const std::optional<bool> done = evict_busy(seen, newly)) {
      if (newly) owner_.evicted(*this);
      return *done;
    }
  }
}

/// The same of a worker that was held when its word was read as `seen`; nothing, with `seen`
/// updated, if it is not any more. One that has had no turn is being made: it is not closed before
/// its first one.
inline std::optional<bool> cell::evict_busy(std::uintptr_t& seen, bool& newly) noexcept {
  const spin_guard guard(mail_lock_);
  if (!alive() || turns() == 0) return false;
  if (close_when_dry_) return true;
  seen = word_.load(order::relaxed);
  if (seen == word_plain &&
      !word_.compare_exchange_strong(seen, word_held, order::relaxed, order::relaxed)) {
    return std::nullopt;
  }
  if (!is_held(seen)) return std::nullopt;
  newly = close_when_dry_ = true;
  return true;
}

/// The caller holds the worker, which was idle.
inline void cell::evict_held() noexcept {
  const shelved_record outer(this_thread_state().record);  // a plain method may have asked for it
  if (may_run_here()) {
    if (close_instance(nullptr) != turn_state::open) leave();
    return;
  }
  if (!draining_) close_when_dry();
  hand_over();
}

inline bool cell::is_kept_alive() noexcept {
  time_point until{};
  {
    const spin_guard guard(mail_lock_);
    if (!life_) return false;
    until = life_->kept_until();
  }
  return owner_.where().now() < until;
}

/// Called when nothing can run any more: what still arrives is refused.
inline void cell::settle_gone() noexcept {
  std::uintptr_t dormant = word_dormant;
  word_.compare_exchange_strong(dormant, word_gone, order::relaxed, order::relaxed);
}

// --- suspended turns -----------------------------------------------------------------------------

/// One that suspends for the first time when its worker was abandoned, was not yet asked to stop:
/// `stop_turns` has not found it. Its thread still has it, so that it does not end meanwhile.
inline void cell::list_turn(turn& t) noexcept {
  bool is_late = false;
  {
    const spin_guard guard(mail_lock_);
    t.next_open = open_turns_;
    t.previous_open = &open_turns_;
    if (open_turns_ != nullptr) open_turns_->previous_open = &t.next_open;
    open_turns_ = &t;
    is_late = word_.load(order::relaxed) == word_moved;
  }
  if (!is_late) return;
  const outside_code outside;  // a stop callback may be anybody's
  t.request_stop();
}

inline void cell::unlist_turn(turn& t) noexcept {
  const spin_guard guard(mail_lock_);
  if (t.previous_open == nullptr) return;
  *t.previous_open = t.next_open;
  if (t.next_open != nullptr) t.next_open->previous_open = t.previous_open;
  t.previous_open = nullptr;
}

template <class F, class G>
void cell::for_each_open(F f, G g) {
  const spin_guard guard(mail_lock_);
  for (turn* t = open_turns_; t != nullptr; t = t->next_open) f(*t);
  if (word_.load(order::relaxed) > word_last) take_inbox();
  for (message* m = queue_.front(); m != nullptr; m = message_queue::newer(*m)) g(*m);
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

}  // namespace troupe::detail

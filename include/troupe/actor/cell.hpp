// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A worker's cell: its turn word, its mailbox, its instance and their life cycle.
///
/// Layer: actor. One per worker id, for as long as anybody refers to it; instances come and go in
/// it, so that there is never more than one.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/cell_memory.hpp>
#include <troupe/actor/cell_record.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/monitors.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/actor/supervision.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/actor/worker_stats.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {
class call_info;
}

namespace troupe::detail {

class cell;
class close_mark;
class life;
class maker;
class supervisor;
class turn;
struct actor_class;
struct called_method;
struct call_facts;
struct call_record;
struct class_request;

/// What the cells of one broker share; broker/broker.hpp implements it.
class cell_owner {
public:
  virtual executor& where() noexcept = 0;
  virtual void add_ref_owner() noexcept = 0;
  virtual void release_owner() noexcept = 0;

  /// Gives back what may be the last reference to a cell without an instance; deletes it if so.
  virtual void retire(cell& c) noexcept = 0;

  /// True once the broker is being destroyed: no instance is made any more.
  virtual bool closed() const noexcept = 0;

  /// The cell that stands in the place of one that was abandoned, counted.
  virtual intrusive_ptr<cell> successor(const cell& c) const noexcept = 0;
  /// The last turn of one that was abandoned has ended, and its instance is gone.
  virtual void abandoned_ended() noexcept = 0;

  virtual void created(cell& c) noexcept = 0;
  /// A call or tell has reached an instance that was there; only where `sends_get`.
  virtual void used(cell& c) noexcept = 0;
  virtual void destroyed(cell& c) noexcept = 0;

  /// Around each call, tell and owning call; only where `observes`. The first may throw; `reached`
  /// counts those who have been told, and only they are told of the end.
  virtual void before_call(cell& c, const call_info& info, std::size_t& reached) = 0;
  virtual void after_call(cell& c, const call_info& info, std::size_t reached) noexcept = 0;
  /// What has become of each of them, once, whether it had its turn or not; only where `observes`.
  virtual void settled(cell& c, const call_info& info) noexcept = 0;
  /// Tells that were run, and that their cell does not count any more.
  virtual void told(std::uint64_t tells) noexcept = 0;
  /// A timer of a worker has had its turn.
  virtual void timer_ran() noexcept = 0;
  /// A message has waited for its turn; only where `measures_waits`.
  virtual void waited(duration d) noexcept = 0;
  /// A new instance took the place of one that had failed.
  virtual void restarted(cell& c) noexcept = 0;
  /// An eviction was decided on. Called with no lock held.
  virtual void evicted(cell& c) noexcept = 0;

  /// A message that nobody awaits was not run, or failed.
  virtual void dead(cell& c, std::string_view method, const std::error_code& why,
                    std::exception_ptr error, cell* from) noexcept = 0;

  /// A failure that its worker does not settle by itself: `resume`, `restart` or `stop`.
  virtual directive escalated(const worker_failure& failure) noexcept = 0;

  /// The cell of another worker, counted; made if there is none.
  virtual intrusive_ptr<cell> cell_for(const class_request& a, std::string_view key) = 0;

  /// A coarse clock for `last_used`; nanoseconds, advanced now and then. Written without care for
  /// other threads: a lost step makes two uses look as if they had been at the same time.
  atomic<std::int64_t> tick{0};
  supervision supervise;        // of workers whose class has none
  bool orders_uses = false;     // who is used takes a tick of its own, so that uses have an order
  bool sends_get = false;       // somebody wants to know of each use
  bool observes = false;        // somebody stands around each call
  bool measures_waits = false;  // somebody wants to know how long messages wait
  executor* virtual_clock = nullptr;  // by which they do, instead of by the real one
  cell_memory memory;                 // of all cells

protected:
  ~cell_owner() = default;
};

// The states of the turn word. The instance exists in `idle`, `idle_slow`, and while held, except
// while it is being made or after it was destroyed by the holder.
inline constexpr std::uintptr_t word_idle = 0;       // nobody holds the worker
inline constexpr std::uintptr_t word_idle_slow = 1;  // the same, but the fast path must not enter
inline constexpr std::uintptr_t word_plain = 2;      // held for a plain method, on some stack
inline constexpr std::uintptr_t word_held = 3;       // held for longer; nobody waits
inline constexpr std::uintptr_t word_dormant = 4;    // no instance; the next message makes one
inline constexpr std::uintptr_t word_gone = 5;       // the broker is gone, for good
inline constexpr std::uintptr_t word_moved = 6;      // abandoned, for good: see its successor. Its
                                                     // last turn may still run
inline constexpr std::uintptr_t word_last = 6;
// Anything else: held, and the address of the newest message waiting in the inbox; each links the
// next older one, the oldest links nothing.

/// True if `word` says that somebody holds the worker: a message joins the inbox.
inline bool is_held(std::uintptr_t word) noexcept {
  return word > word_last || word == word_held || word == word_plain;
}

/// What belongs to the life cycle, or continues what has begun, is not held against the capacity.
inline bool is_counted(const message& m) noexcept { return m.kind < message_kind::resume; }

/// What its caller does not wait for to the end.
inline bool is_owned(const message& m) noexcept { return m.kind == message_kind::owned; }

/// Thread safety: everything public from any thread, unless it says "the holder", which is whoever
/// moved the word from idle or dormant to held, until it moves it back.
class cell final : public runnable, public hold_point {
public:
  /// Makes a cell and its record in its owner's memory. Throws `std::bad_alloc`.
  static cell* make(cell_owner& owner, const actor_class& a, std::string_view key);
  cell(const cell&) = delete;
  cell& operator=(const cell&) = delete;
  /// Ends a cell that nobody refers to.
  static void destroy(cell& c) noexcept;

  // --- identity ---------------------------------------------------------------------------------
  const actor_class& type() const noexcept { return record().type; }
  std::string_view key() const noexcept { return record().key(); }
  worker_id id() const;
  cell_owner& owner() const noexcept { return owner_; }
  const actor_options& options() const noexcept;

  /// What a look-up reads: apart from the cell.
  cell_record& record() const noexcept { return *cell_memory::record_of<cell>(this); }
  static cell& of(const cell_record& r) noexcept {
    return *static_cast<cell*>(cell_memory::cell_of<cell>(&r));
  }

  friend void add_ref(cell* c) noexcept { c->record().references.fetch_add(1, order::relaxed); }
  /// The last reference goes under the lock of the registry, where it may be found again.
  friend void release(cell* c) noexcept {
    atomic<std::uint32_t>& references = c->record().references;
    std::uint32_t count = references.load(order::relaxed);
    while (count > 1) {
      if (references.compare_exchange_weak(count, count - 1, order::release, order::relaxed)) {
        return;
      }
    }
    c->owner_.retire(*c);
  }
  /// Gives one reference back, under the registry's lock. True if it was the last. Acquire, with
  /// `release`: all that others did comes before the end; the lock carries what this one did.
  bool release_last() noexcept { return record().references.fetch_sub(1, order::acquire) == 1; }

  // --- the turn ---------------------------------------------------------------------------------
  /// The fast path of a call: one compare-exchange; pairs with `leave_fast`.
  bool enter_fast() noexcept {
    std::uintptr_t idle = word_idle;
    return word_.compare_exchange_strong(idle, word_plain, order::acquire, order::relaxed);
  }

  /// Ends what `enter_fast` began.
  void leave_fast() noexcept {
    std::uintptr_t plain = word_plain;
    if (word_.compare_exchange_strong(plain, word_idle, order::release, order::relaxed)) return;
    leave_with_mail();
  }
  /// What `enter_fast` began goes on for longer: nobody spins for its end. From then on `leave`
  /// ends it.
  void keep_longer() noexcept {
    std::uintptr_t plain = word_plain;  // anything else: somebody waits already
    word_.compare_exchange_strong(plain, word_held, order::relaxed, order::relaxed);
  }
  /// Counts one turn and stamps its time. Returns a number that no other turn of the instance has.
  /// The holder.
  TROUPE_ALWAYS_INLINE std::uint64_t count_turn() noexcept { return count(one_turn); }
  /// The same for a tell.
  void count_tell() noexcept {
    if (count(one_turn + one_tell) >= tells_limit) hand_over_tells();
  }
  /// A call or tell came by the slow path, and was counted.
  void note_get() noexcept {
    if (slow_ && owner_.sends_get && !std::exchange(newborn_, false)) owner_.used(*this);
  }
  /// The instance is there, though no message of its own has made it.
  void loaded() noexcept { newborn_ = false; }
  void stamp_use() noexcept { last_used_.store(owner_.tick.load(order::relaxed), order::relaxed); }

  std::uintptr_t word() const noexcept { return word_.load(order::acquire); }
  /// Moves the word from `from` to held. True: the caller, which refers to the cell, is the holder.
  /// A cell that is not dormant refers to itself.
  bool acquire(std::uintptr_t from) noexcept {
    const bool was_dormant = from == word_dormant;
    if (!word_.compare_exchange_strong(from, word_held, order::acquire, order::relaxed)) {
      return false;
    }
    if (was_dormant) add_ref(this);
    return true;
  }
  /// Puts a message into the inbox of a cell whose word was read as `seen`; false, with `seen`
  /// updated, if nobody holds it.
  bool push(message& m, std::uintptr_t& seen) noexcept {
    m.counted = is_counted(m);
    if (m.counted) waiting_.fetch_add(1, order::relaxed);
    runnable* const node = &m;
    while (is_held(seen)) {
      m.next = seen > word_last ? reinterpret_cast<runnable*>(seen) : nullptr;
      // Release: whoever takes the inbox sees the message. What is seen is compared or linked.
      if (word_.compare_exchange_weak(seen, reinterpret_cast<std::uintptr_t>(node), order::release,
                                      order::relaxed)) {
        return true;
      }
    }
    if (m.counted) waiting_.fetch_sub(1, order::relaxed);
    m.counted = false;
    return false;
  }

  /// Notes the time from which a message waits for its turn, where somebody wants to know.
  void begin_wait(message& m) const noexcept {
    if (owner_.measures_waits) stamp_wait(m);
  }

  /// Leaves a message to the cell whatever its state: it runs, waits, or is refused (false).
  /// `at_once`: the message was not made by a coroutine that waits for its turn in line.
  bool deliver(message& m) noexcept;

  /// Puts a message into the inbox so that a stop request of `stop` can take it out again: none
  /// slips in between. False if it was not put there: `seen` is not held, or a stop was requested.
  bool push_stoppable(message& m, std::uintptr_t& seen, stop_hook& hook, stop_state* stop) noexcept;

  /// True if there is room for one more counted message.
  bool has_room() const noexcept {
    return waiting_.load(order::relaxed) < options().mailbox_capacity;
  }
  /// Drops the oldest tell or owning call. False if there is none.
  bool drop_oldest() noexcept;
  /// Takes a waiting message out. False if it is about to run, or does: should it have to wait
  /// once more, for the start of the instance, it is refused as cancelled.
  bool take_out(message& m) noexcept;
  static bool take_out(message& m, const atomic<cell*>& target) noexcept;

  /// The holder ends a turn that was not entered by `enter_fast`, without running others' messages
  /// on this stack: who waits is left to the executor.
  void leave() noexcept;
  /// The holder leaves the cell to its executor, which serves the mailbox.
  void hand_over() noexcept { place().post(*this); }
  void yield() noexcept { place().yield(*this); }
  /// The holder puts a message in front of all others, or takes the one it has put there back.
  void put_first(message& m) noexcept { batch_.push_front(m); }
  void take_first() noexcept { batch_.pop_front(); }

  /// True if the instance has hooks around calls or is shared by classes, or the broker has an
  /// observer. The holder.
  bool has_hooks() const noexcept { return hooked_; }
  /// The hooks before a call, where there are any. True: one has thrown, and `thrown` says so.
  bool refused_by_hook(const call_facts& f, call_record& r, std::exception_ptr& thrown) noexcept {
    return hooked_ && run_before_hooks(f, r, thrown);
  }
  /// Those after a method that has run; `thrown`: by what it has ended.
  void after_hook(const call_facts& f, call_record& r, const std::exception_ptr& thrown) noexcept {
    if (hooked_) run_after_hooks(f, r, thrown);
  }
  /// What the method is called on: the instance, or the part of it that is of its class.
  void* object_of(const called_method& m) const noexcept {
    return hooked_ ? part_for(m) : instance_;
  }

  /// Where this worker's coroutines run.
  home& place() const noexcept { return place_ != nullptr ? *place_ : owner_.where(); }
  bool runs_here() const noexcept { return place_ == nullptr; }
  /// The holder may run a message on its own stack.
  bool may_run_here() const noexcept { return runs_here() && !draining_; }

  // --- the instance -----------------------------------------------------------------------------
  void* instance() const noexcept { return instance_; }
  /// True of some moment gone by. Nobody reaches the instance through it.
  bool alive() const noexcept { return alive_.load(order::relaxed); }
  worker_stats stats() const noexcept;
  std::uint64_t turns() const noexcept { return turns_of(turns_.load(order::relaxed)); }
  /// The tells among them that the owner was not told of yet.
  std::uint64_t tells() const noexcept { return tells_of(turns_.load(order::relaxed)); }
  std::size_t waiting() const noexcept { return waiting_.load(order::relaxed); }
  bool busy() const noexcept {
    const std::uintptr_t w = word();
    return w == word_plain || w == word_held || w > word_last;
  }
  /// What the instance has beyond itself, made on first use. From its own turns.
  life& life_of();
  /// The same, if it was used. The holder.
  life* life_so_far() const noexcept { return life_.get(); }
  /// True if `top` is what the tasks of the instance run below. From any thread.
  bool has_tasks_below(const chain_link* top) const noexcept;
  /// True while the instance is being destroyed: nothing begins any more. From its own turns.
  bool ending() const noexcept { return ending_; }
  /// Closes the worker when its mailbox next runs dry. From its own turns, or by the holder.
  void close_when_dry() noexcept;

  /// True if who is to run next may have to wait for an `on_start`. The holder.
  bool may_wait_for_start() const noexcept;

  /// The holder makes the instance if there is none. Ended: it is there, or the attempt failed and
  /// all who waited were refused. Open: `on_start` is suspended; the cell is served afterwards.
  turn_state make_instance() noexcept;

  /// The holder ends the life of the instance, if there is one; `then`, if any, is told. Ended: it
  /// is destroyed. Open: its tasks or `on_stop` are awaited; the cell is served afterwards.
  turn_state close_instance(close_mark* then) noexcept;

  /// Closes the worker, and then settles the mark: here and now if it is idle and nothing has to be
  /// awaited, else when what is queued before has run.
  void close(close_mark& mark) noexcept;
  /// The same as soon as the running turn has ended: what is queued goes to the next instance.
  void reload(close_mark& mark) noexcept;

  /// Closes the worker now if it is idle, else when its mailbox next runs dry. False if there is
  /// nothing to close, or it must not be. Never waits.
  bool evict() noexcept;

  /// A method has thrown: what its worker's supervision says happens when the turn is over. The
  /// holder, before the caller is told.
  void turn_failed(std::string_view method, const std::exception_ptr& error) noexcept;

  /// Made on first use, from any thread. Throws `std::bad_alloc`.
  supervisor& supervisor_of();
  /// The pause before a restart is over: true if the cell is the caller's to hand over.
  bool end_rest() noexcept;

  /// Where the worker is busy and its turns do not interleave: gives it up. `heir`, which is new
  /// and held by the caller, gets what waits, except what belongs to the instance; the instance is
  /// destroyed when its turn has ended. False if it is not busy. From before this is called, who
  /// refers to the cell finds `heir` by `cell_owner::successor`.
  bool abandon_for(cell& heir) noexcept;
  /// A new cell, held, that nobody knows: it goes with its last reference.
  void discard() noexcept {
    word_.store(word_moved, order::relaxed);
    release(this);
  }
  bool abandoned() const noexcept { return word() == word_moved; }
  /// The cell that stands for the worker now: this one, or the last of its successors. Of some
  /// moment gone by.
  intrusive_ptr<cell> current() noexcept;

  /// The broker is gone: nothing runs here any more.
  void settle_gone() noexcept;

  /// The turns that are suspended: for stop requests and for those who look.
  void list_turn(turn& t) noexcept;
  void unlist_turn(turn& t) noexcept;
  /// Calls `f(turn&)` for each suspended turn, `g(message&)` for each message that waits, oldest
  /// first, under the mailbox lock. For those who look.
  template <class F, class G>
  void for_each_open(F f, G g);
  /// Asks the suspended turns to stop.
  void stop_turns() noexcept;
  /// Refuses what waits: all of a kind, or all but what belongs to the life cycle.
  void refuse_waiting(errc why, bool (*which)(const message&) noexcept = &is_counted) noexcept;

private:
  explicit cell(cell_owner& owner) noexcept;

  ~cell();

  static void serve_ready(runnable& r) noexcept { static_cast<cell&>(r).serve(); }

  void serve() noexcept;
  message* next_message() noexcept;
  int run_batch(message& first) noexcept;
  void take_inbox() noexcept;
  void put_back() noexcept;
  message* dequeue(message* m) noexcept;
  void* part_for(const called_method& m) const noexcept;
  bool run_before_hooks(const call_facts& f, call_record& r, std::exception_ptr& thrown) noexcept;
  void run_after_hooks(const call_facts& f, call_record& r,
                       const std::exception_ptr& thrown) noexcept;
  void tell_of_end(const call_facts& f, call_record& r, const std::exception_ptr& thrown,
                   std::size_t reached) noexcept;
  bool times_calls() const noexcept;
  bool try_leave() noexcept;
  bool must_close() noexcept;
  bool has_open_turns() noexcept;
  bool take_out_locked(message& m) noexcept;
  void adopt(message_queue& moved) noexcept;
  bool keep_message(message& m) noexcept;
  bool finish_draining() noexcept;
  turn_state end_instance() noexcept;
  close_mark* next_closing() noexcept;
  void leave_with_mail() noexcept;
  void refuse_all(const refusal& r) noexcept;
  turn_state end_failed_start() noexcept;
  void started(std::exception_ptr error) noexcept;
  void closed(std::exception_ptr error) noexcept;
  void destroy_instance() noexcept;
  const maker& choose_maker();
  bool move_to_own_thread();
  bool is_kept_alive() noexcept;
  const supervision& supervision_in_force() const noexcept;
  directive reaction_to(std::string_view method, const std::exception_ptr& error) noexcept;
  directive count_restart(const supervision& s, std::string_view method,
                          const std::exception_ptr& error) noexcept;
  directive escalate(std::string_view method, const std::exception_ptr& error,
                     unsigned restarts) noexcept;
  void notify(worker_notice::kind_type kind, std::string_view method,
              const std::exception_ptr& error, directive follows) noexcept;
  bool supervise() noexcept;
  bool has_to_start_again() const noexcept { return restart_wanted_ && instance_ == nullptr; }
  bool close_is_waiting() const noexcept;
  bool forget_start() noexcept;
  bool has_to_rest() const noexcept;
  bool rests() noexcept;
  bool begin_rest(supervisor& s) noexcept;
  bool end_rest_locked(supervisor& s) noexcept;
  void wake_from_rest() noexcept;
  void evict_held() noexcept;
  std::optional<bool> evict_busy(std::uintptr_t& seen, bool& newly) noexcept;
  void note_use() noexcept;
  void stamp_wait(message& m) const noexcept;
  void note_wait(message& m) noexcept;
  void hand_over_tells() noexcept;

  TROUPE_ALWAYS_INLINE std::uint64_t count(std::uint64_t step) noexcept {
    const std::uint64_t number = turns_.load(order::relaxed) + step;
    turns_.store(number, order::relaxed);
    if (last_used_.load(order::relaxed) != owner_.tick.load(order::relaxed)) note_use();
    return number;
  }

  // What `turns_` counts: turns in the low 52 bits, which last for years, and above them the tells
  // among these since the owner was last told of some.
  static constexpr int turn_bits = 52;
  static constexpr std::uint64_t one_turn = 1;
  static constexpr std::uint64_t one_tell = one_turn << turn_bits;
  static constexpr std::uint64_t tells_limit = ~(one_tell - 1);  // no more can be counted
  static constexpr std::uint64_t turns_of(std::uint64_t word) noexcept {
    return word & (one_tell - 1);
  }
  static constexpr std::uint64_t tells_of(std::uint64_t word) noexcept { return word >> turn_bits; }

  static constexpr int serve_limit = 64;  // messages run before others get the thread
  static constexpr int batch_limit = 16;  // messages taken from the queue at once

  atomic<std::uintptr_t> word_{word_dormant};
  atomic<std::uint32_t> waiting_{0};  // counted messages in inbox and queue
  // The holder's, all of them; the bits share a byte.
  bool slow_ : 1 = false;                     // the fast path is closed
  bool ending_ : 1 = false;                   // the destructor runs
  bool hooked_ : 1 = false;                   // somebody stands around calls, or shares
  bool draining_ : 1 = false;                 // closes when its open turns have ended
  bool newborn_ = false;                      // made by a message that has not run
  bool restart_wanted_ = false;               // another instance is made without a message
  directive after_turn_ = directive::resume;  // what a failed turn has brought about

  bool close_when_dry_ = false;        // evicted; guarded by mail_lock_
  bool closing_ = false;               // its end has begun; guarded by mail_lock_
  atomic<bool> alive_{false};          // an instance exists; written by the holder
  mutable spin_lock mail_lock_;        // guards queue_, and who empties the inbox
  void* instance_ = nullptr;           // the holder's
  atomic<std::uint64_t> turns_{0};     // of the instance, see `count`; written by the holder
  atomic<std::int64_t> last_used_{0};  // written by the holder
  cell_owner& owner_;
  atomic<const maker*> maker_{nullptr};  // chosen for the instance; written by the holder
  context context_{*this};
  turn* open_turns_ = nullptr;         // suspended; guarded by mail_lock_
  message_queue queue_;                // waiting, oldest first
  message_queue batch_;                // taken from queue_, about to run; the holder's
  home* place_ = nullptr;              // a thread of its own; the holder's
  std::unique_ptr<life> life_;         // of the instance; set by the holder under mail_lock_
  close_mark* closing_for_ = nullptr;  // told when the instance is gone, each linked to the one
                                       // before; the holder's
  // nullptr until it is needed; then for good, and owned. Release of whoever makes it pairs with
  // the acquire of all who read it.
  atomic<supervisor*> supervisor_{nullptr};
};

}  // namespace troupe::detail

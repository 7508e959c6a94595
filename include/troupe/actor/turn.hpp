// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A turn of a worker that is a coroutine: the link of the chain below it, and the place where all
/// its coroutines continue, one at a time.
///
/// Layer: actor. Lives in the call it belongs to; allocates nothing, never throws.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// One turn. Its coroutines — the method, and whatever the method awaits, forks or scopes — are
/// made ready here and run one after the other, on whichever thread of the worker's place is free:
/// the code of one turn never runs on two threads at once. A call back into the worker nests: it
/// is one more thing made ready here, and as long as it lasts nothing else of this turn runs.
class turn : public chain_link, public home, public runnable, private completion {
public:
  turn() noexcept
      : chain_link(link_kind::call), runnable(&turn::run_scheduled), completion(&turn::set_done) {}

  /// A turn of `c` below `link_above`, with a method whose name is there for good. The same as
  /// `open`, for the path of every call.
  turn(cell& c, turn* in, chain_link& link_above, const std::string_view& name) noexcept
      : chain_link(link_kind::call, link_above),
        runnable(&turn::run_scheduled),
        completion(&turn::set_done),
        nested_in_(in),
        worker_(&c),
        method_(&name),
        nested_turns_(in != nullptr ? in->nested_turns_ + 1 : 0) {}

  /// Makes this a turn of `c`, below `above`; before `begin_turn`.
  /// The name of the method is there for good: others are shown its address.
  void open(cell& c, turn* in, chain_link* link_above, const std::string_view& name) noexcept {
    chain_link::join(link_above);
    open_as_root(c, in, name);
  }
  void open(cell&, turn*, chain_link*, std::string_view&&) = delete;

  /// The same with nothing above, or with what the link has been given already.
  void open_as_root(cell& c, turn* in, const std::string_view& name) noexcept {
    call = this;
    make_stoppable();
    worker_ = &c;
    nested_in_ = in;
    method_ = &name;
    nested_turns_ = in != nullptr ? in->nested_turns_ + 1 : 0;
  }
  void open_as_root(cell&, turn*, std::string_view&&) = delete;

  /// Runs `method` until it ends or suspends. `ended`: it has ended, here and now, and the caller
  /// goes on from there; otherwise `ended()` is called in its time and the caller touches neither
  /// this nor the message.
  turn_state begin_turn(frame& method) noexcept;

  /// The same in two steps, where the stack has room for one more; on the thread of `state`, where
  /// `outer` runs now. True: the method has ended. Else `keep_open` follows, and until then nobody
  /// touches the message. Always inlined, so only into a function that is not (see
  /// `start_inline_here`).
  bool run_here(frame& method, thread_state& state, frame* outer) noexcept;
  turn_state keep_open(thread_state& state, frame* outer) noexcept;

  /// Makes a turn that has ended ready for another `begin_turn`.
  void reopen() noexcept {
    ready_.store(active, order::relaxed);
    finished_ = false;
    span.store(0, order::relaxed);
  }

  cell& worker() const noexcept { return *worker_; }
  turn* nested_in() const noexcept { return nested_in_; }
  const std::string_view& method() const noexcept { return *method_; }
  unsigned nested_turns() const noexcept { return nested_turns_; }

  /// True while its code blocks the thread it runs on.
  bool blocks_its_thread() const noexcept { return thread_blocked.load(order::acquire); }

  /// What the wait graph knows of it. Under the lock of the graph.
  turn_waits& waits() noexcept {
    if (!has_waits_) {
      std::construct_at(&waits_, *this);
      has_waits_ = true;
    }
    return waits_;
  }
  /// `nullptr`: it knows nothing.
  turn_waits* waits_so_far() noexcept { return has_waits_ ? &waits_ : nullptr; }

  /// A nested turn has ended: this one goes on.
  void nested_ended() noexcept { worker_->place().resume(*this); }

  /// The turn from which this one was called; `nullptr`: none. Under the lock of the wait graph.
  turn* called_from() const noexcept {
    const chain_link* const link = is_owned ? caller_link : above;
    return link != nullptr ? static_cast<turn*>(link->call) : nullptr;
  }

  /// The coroutine that waits for this turn; `nullptr`: none, or it is not known. While the turn is
  /// open, and under the lock of the wait graph.
  virtual const frame* caller_frame() const noexcept { return nullptr; }

  /// True if the worker is free for others whenever this turn is suspended.
  bool interleaved() const noexcept {
    return !exclusive && worker_->options().reentrancy == reentrancy::interleaved;
  }

  /// The nearest turn above that cannot go on without this one; `nullptr`: there is none.
  turn* awaited_by() const noexcept;

  /// Where the chain goes on above an owning call: set while its caller waits. Guarded by the lock
  /// of the wait graph.
  chain_link* caller_link = nullptr;

  // --- home -------------------------------------------------------------------------------------
  void post(runnable& r) noexcept override {
    if (make_ready(r)) schedule(false);
  }
  void resume(runnable& r) noexcept override {
    if (make_ready(r)) schedule(true);
  }
  void yield(runnable& r) noexcept override {
    yields_ = true;  // only its own coroutines yield: the turn is being served by this thread
    post(r);
  }
  bool others_wait() const noexcept override { return worker_->place().others_wait(); }
  bool serial() const noexcept override { return true; }
  executor& base() noexcept override { return worker_->place().base(); }

protected:
  ~turn() {
    if (has_waits_) std::destroy_at(&waits_);
    if (has_continuation_) std::destroy_at(&continuation_);
  }

  /// The method has ended: settle its caller. `this` may be gone afterwards.
  virtual void ended() noexcept = 0;

private:
  /// Continues a turn of an interleaved worker, in the line of its mailbox.
  class continuation final : public message {
  public:
    explicit continuation(turn& t) noexcept : message(message_kind::resume), turn_(t) {}
    turn_state start(cell&, turn*) noexcept override {
      turn_.run_ready();
      return turn_state::suspended;
    }
    void refuse(const refusal&) noexcept override {
      turn_.run_ready();  // what has begun is not refused
    }
    const std::string_view& method_name() const noexcept override { return turn_.method(); }

  private:
    turn& turn_;
  };

  static void run_scheduled(runnable& r) noexcept { static_cast<turn&>(r).run_ready(); }
  static void set_done(completion& c) noexcept { static_cast<turn&>(c).finished_ = true; }

  bool make_ready(runnable& r) noexcept;
  void schedule(bool at_tail) noexcept;
  void continue_in_line() noexcept {
    if (!has_continuation_) {
      std::construct_at(&continuation_, *this);
      has_continuation_ = true;
    }
    static_cast<void>(worker_->deliver(continuation_));
  }
  void run_ready() noexcept;
  bool take_ready() noexcept;
  bool start_nested(message& m) noexcept;
  void end() noexcept;

  static constexpr int serve_limit = 64;  // what runs before others get the thread

  // 0, parked: none of its code runs and none is ready; 1, active: somebody serves it, or will, and
  // nothing new is ready; else active, and the address of the runnable made ready last, each linked
  // to the one before. Who moves it away from parked has to have it served; only who serves it
  // parks it. Release of `make_ready` pairs with the acquire of `take_ready`, and release of
  // parking with the acquire of the next `make_ready`: code of one turn sees what ran before it.
  static constexpr std::uintptr_t parked = 0, active = 1;

  // What is empty at first stands together, and so does what is small: a turn is made for each call
  // of a coroutine method, and its stores are what that costs.
  turn* nested_in_ = nullptr;
  forward_queue<runnable, &runnable::next> pending_;  // taken from ready_, in order
  atomic<std::uintptr_t> ready_{active};
  cell* worker_ = nullptr;
  const std::string_view* method_ = nullptr;
  unsigned nested_turns_ = 0;      // turns of this worker that this one nests in
  bool finished_ = false;          // the method has ended; the server's
  bool yields_ = false;            // others go first; the server's
  bool has_waits_ = false;         // waits_ is alive; guarded by the lock of the graph
  bool has_continuation_ = false;  // continuation_ is alive; the server's

public:
  bool exclusive = false;     // of the life cycle: nothing interleaves with it
  bool is_owned = false;      // it has a caller_link instead of an `above`
  cell* called_by = nullptr;  // the worker from whose turn it was called; alive as long as this

  // Links of the worker's list of open turns, guarded by its mailbox lock.
  turn* next_open = nullptr;
  turn** previous_open = nullptr;

private:
  union {
    turn_waits waits_;
  };
  union {
    continuation continuation_;  // few workers are interleaved
  };
};

/// The turn of a link that is one.
inline turn* turn_of(chain_link* call) noexcept { return static_cast<turn*>(call); }

TROUPE_NOINLINE inline turn_state turn::begin_turn(frame& method) noexcept {
  thread_state& state = this_thread_state();
  // An interleaved worker is free meanwhile: what is begun later must not get in between.
  frame* const outer = state.running;
  if (method.depth % nesting_limit != 0 || interleaved()) {
    if (run_here(method, state, outer)) return turn_state::ended;
  } else {
    method.where = this;
    method.chain = this;
    method.then = this;
    pending_.push_back(method);
  }
  return keep_open(state, outer);
}

TROUPE_ALWAYS_INLINE bool turn::run_here(frame& method, thread_state& state,
                                         frame* outer) noexcept {
  method.where = this;
  method.chain = this;
  method.then = this;
  const serving shown(state.record, *worker_, *method_);
  if (!start_inline_here(method, state)) return false;
  state.running = outer;
  return true;
}

/// The method is suspended, or has to start from the bottom of the stack.
TROUPE_NOINLINE inline turn_state turn::keep_open(thread_state& state, frame* outer) noexcept {
  worker_->list_turn(*this);
  worker_->keep_longer();
  state.running = outer;
  const turn_state left = interleaved() ? turn_state::suspended : turn_state::open;
  // What is ready already runs from the bottom of the stack, which stays bounded that way.
  if (!pending_.empty() || take_ready()) schedule(true);
  return left;
}

/// True if the turn was parked: the caller has to have it served.
inline bool turn::make_ready(runnable& r) noexcept {
  std::uintptr_t word = ready_.load(order::relaxed);
  do {
    r.next = word > active ? reinterpret_cast<runnable*>(word) : nullptr;
  } while (!ready_.compare_exchange_weak(word, reinterpret_cast<std::uintptr_t>(&r), order::acq_rel,
                                         order::relaxed));
  return word == parked;
}

inline void turn::schedule(bool at_tail) noexcept {
  if (interleaved()) return continue_in_line();
  if (at_tail) return worker_->place().resume(*this);
  worker_->place().post(*this);
}

/// Serves the turn: runs what is ready, in order, until nothing is, or the turn is over, or a turn
/// that nests in it has taken over.
inline void turn::run_ready() noexcept {
  thread_state& state = this_thread_state();
  const serving shown(state.record, *worker_, *method_);
  for (int i = 0;; ++i) {
    if (std::exchange(yields_, false) || i == serve_limit) {
      if (interleaved()) return continue_in_line();
      return worker_->place().yield(*this);
    }
    runnable* const r = pending_.pop_front();
    if (r == nullptr) {
      if (!take_ready()) return;  // parked: `this` may be gone
      continue;
    }
    if (r->runs(&message::run_nested)) {
      if (!start_nested(static_cast<message&>(*r))) return;
      continue;
    }
    r->run();
    state.running = nullptr;  // that coroutine may be gone
    if (finished_) return end();
  }
}

/// False if nothing was ready: the turn is parked.
inline bool turn::take_ready() noexcept {
  std::uintptr_t word = active;
  if (ready_.compare_exchange_strong(word, parked, order::release, order::relaxed)) return false;
  word = ready_.exchange(active, order::acquire);
  auto* newest = reinterpret_cast<runnable*>(word);
  runnable* oldest = nullptr;
  while (newest != nullptr) {
    runnable* const older = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = older;
  }
  while (oldest != nullptr) {
    runnable* const r = oldest;
    oldest = r->next;
    pending_.push_back(*r);
  }
  return true;
}

/// False if a nested turn is open: it serves this one when it ends, maybe it does already.
inline bool turn::start_nested(message& m) noexcept {
  return m.start(*worker_, this) != turn_state::open;
}

inline void turn::end() noexcept {
  TROUPE_ASSERT(pending_.empty(), "a turn ended while something that belongs to it was ready");
  cell& c = *worker_;
  turn* const in = nested_in_;
  const bool holds = !interleaved();
  c.unlist_turn(*this);
  ended();  // `this` may be gone from here on
  if (in != nullptr) return in->nested_ended();
  if (holds) c.leave();
}

inline turn* turn::awaited_by() const noexcept {
  const chain_link* l = is_owned ? caller_link : above;
  while (l != nullptr && l->kind != link_kind::call) {
    if (l->kind == link_kind::any) return nullptr;
    l = l->above;
  }
  return turn_of(const_cast<chain_link*>(l));
}

/// The turn whose progress depends on a call made below `l`; `nullptr`: there is none.
inline turn* turn_held_up_below(chain_link* l) noexcept {
  while (l != nullptr && l->kind != link_kind::call) {
    if (l->kind == link_kind::any) return nullptr;
    l = l->above;
  }
  return turn_of(l);
}

/// The nearest turn of `c` at or above `l`, through owning calls whose callers still wait. With the
/// lock of the wait graph held where `l` may have an owning call above it.
inline turn* turn_of_worker_above(chain_link* l, const cell& c) noexcept {
  chain_link* link = l != nullptr ? l->call : nullptr;
  while (link != nullptr) {
    turn* const t = turn_of(link);
    if (&t->worker() == &c) return t;
    link = t->called_from();
  }
  return nullptr;
}

/// The link above which there is nothing, through owning calls whose callers still wait. With the
/// lock of the wait graph held where `l` may have an owning call above it.
inline const chain_link* top_of_chain(const chain_link* l) noexcept {
  for (;;) {
    const chain_link* next = l->above;
    if (l->kind == link_kind::call) {
      const turn& t = static_cast<const turn&>(*l);
      if (t.is_owned) next = t.caller_link;
    }
    if (next == nullptr) return l;
    l = next;
  }
}

// --- the graph ----------------------------------------------------------------------------------

/// Marks the turns that this wait holds up, and makes them known to what they hold.
inline void wait_graph::block(turn& first) noexcept {
  for (turn* t = &first; t != nullptr && !t->waits().blocked;) {
    turn_waits& w = t->waits();
    w.blocked = true;
    if (t->nested_in() != nullptr) {
      t->nested_in()->waits().nest.blocked_holder = &w;
    } else if (!t->interleaved()) {
      t->worker().blocked_holder = &w;
    } else {
      w.next_blocked = std::exchange(t->worker().blocked_open, &w);
    }
    turn* const above = t->awaited_by();
    w.parent = above != nullptr ? &above->waits() : nullptr;
    if (above != nullptr) above->waits().blocked_below.push_back(w);
    t = above;
  }
}

inline void wait_graph::unlist_open(const turn_waits& gone) noexcept {
  turn_waits** link = &gone.of.worker().blocked_open;
  while (*link != nullptr && *link != &gone) link = &(*link)->next_blocked;
  if (*link != nullptr) *link = gone.next_blocked;
}

/// Takes the marks back where nothing is left that holds the turn up.
inline void wait_graph::unblock(turn_waits& first) noexcept {
  for (turn_waits* w = &first;
       w != nullptr && w->blocked && w->waits.empty() && w->blocked_below.empty();) {
    w->blocked = false;
    const turn& t = w->of;
    hold_point& held = t.nested_in() != nullptr ? t.nested_in()->waits().nest : t.worker();
    if (held.blocked_holder == w) held.blocked_holder = nullptr;
    if (t.interleaved()) unlist_open(*w);
    turn_waits* const above = std::exchange(w->parent, nullptr);
    if (above != nullptr) above->blocked_below.remove(*w);
    w = above;
  }
}

inline std::string wait_graph::enter_locked(wait_entry& w, turn& t, hold_point& point) noexcept {
  w.below = &t;
  w.point = &point;
  turn_waits& waits = t.waits();
  waits.waits.push_back(w);
  block(t);
  const turn_waits* const met = find_cycle(t, w);
  if (met == nullptr) return {};
  waits.waits.remove(w);
  w.below = nullptr;
  std::string cycle = describe(t, met);
  unblock(waits);
  return cycle;
}

inline void wait_graph::leave_locked(wait_entry& w) noexcept {
  turn* const t = std::exchange(w.below, nullptr);
  if (t == nullptr) return;
  t->waits().waits.remove(w);
  unblock(t->waits());
}

inline void wait_graph::cut(turn& t) noexcept {
  t.caller_link = nullptr;
  turn_waits* const w = t.waits_so_far();
  turn_waits* const above = w != nullptr ? std::exchange(w->parent, nullptr) : nullptr;
  if (above == nullptr) return;
  above->blocked_below.remove(*w);
  unblock(*above);
}

/// A turn at or above `t` that what `t` waits for waits for; `nullptr`: there is none.
inline turn_waits* wait_graph::find_cycle(turn& t, const wait_entry& entry) noexcept {
  search_ += 2;
  const std::uint64_t above = search_;
  const std::uint64_t visited = search_ + 1;
  for (turn* a = &t; a != nullptr; a = a->awaited_by()) a->waits().seen = above;

  turn_waits* to_visit = nullptr;
  turn_waits* met = nullptr;
  const auto reach = [&](turn_waits* x, turn_waits* from) noexcept {
    if (x == nullptr || x->seen == visited || met != nullptr) return;
    x->reached_from = from;
    if (x->seen == above) {
      met = x;
      return;
    }
    x->seen = visited;
    x->next_to_visit = to_visit;
    to_visit = x;
  };
  const auto follow = [&reach](const wait_entry& w, turn_waits* from) noexcept {
    reach(w.point->blocked_holder, from);
    turn_waits* open = w.for_end ? w.point->blocked_open : nullptr;
    for (; open != nullptr; open = open->next_blocked) reach(open, from);
  };
  follow(entry, nullptr);
  while (met == nullptr && to_visit != nullptr) {
    turn_waits& x = *to_visit;
    to_visit = x.next_to_visit;
    for (const wait_entry& w : x.waits) follow(w, &x);
    for (turn_waits& child : x.blocked_below) reach(&child, &x);
  }
  return met;
}

/// Never empty: where there is no memory for the names, it says that.
inline std::string wait_graph::describe(const turn& t, const turn_waits* met) noexcept try {
  const auto name = [](const turn& x) {
    return to_string(x.worker().id()) + "." + std::string(x.method());
  };
  std::string path = name(met->of);
  for (const turn_waits* x = met->reached_from; x != nullptr; x = x->reached_from) {
    path = name(x->of) + " -> " + path;
  }
  return name(t) + " -> " + path;
} catch (...) {
  return "out of memory";
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The life of an instance: how a cell makes, starts, stops and destroys it.
///
/// Layer: actor. The steps run in the worker's turn; where a hook is a coroutine, as a turn of its
/// own, with nobody above it.

#include <cstddef>
#include <exception>
#include <memory_resource>
#include <new>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/context_timer.hpp>
#include <troupe/actor/outside_code.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>

namespace troupe::detail {

/// A step of the life cycle that awaits something, as a turn. Deletes itself when it has ended.
class life_turn final : public turn, public pooled {
public:
  using after = void (cell::*)(std::exception_ptr) noexcept;
  static constexpr std::string_view on_start = "on_start", on_stop = "on_stop";

  life_turn(cell& c, task<> steps, const std::string_view& name, after then)
      : root_(c.owner().where()), steps_(steps.release()), then_(then) {
    exclusive = true;
    open(c, nullptr, &root_, name);
    steps_.promise().result = &result_;
    steps_.promise().refill();
  }
  ~life_turn() = default;

  /// Ended: it is over, and `then` has been called.
  turn_state run() noexcept {
    const turn_state state = begin_turn(steps_.promise());
    if (state != turn_state::ended) return turn_state::open;
    ended();
    return state;
  }

private:
  void ended() noexcept override {
    cell& c = worker();
    const after then = then_;
    std::exception_ptr error;
    if (result_.failed()) error = result_.error();
    delete this;
    (c.*then)(std::move(error));
  }

  root_link root_;
  result_slot<void> result_;
  started_task<void> steps_;
  after then_;
};

/// Asks that a worker be closed when its turn in the line comes, and lets one coroutine wait for
/// that. Counted: the mailbox holds it, and whoever waits.
class close_mark final : public message, public pooled {
public:
  close_mark() noexcept : message(message_kind::close) {}

  turn_state start(cell& c, turn*) noexcept override { return c.close_instance(this); }
  void refuse(const refusal&) noexcept override { settle(false); }
  inline bool move_to(cell& c) noexcept override;
  const std::string_view& method_name() const noexcept override {
    static constexpr std::string_view name = "remove";
    return name;
  }

  /// The worker was closed by this mark, or there was nothing to close. Gives the mailbox's
  /// reference back.
  void settle(bool closed) noexcept;

  friend void add_ref(close_mark* m) noexcept { m->references_.fetch_add(1, order::relaxed); }
  friend void release(close_mark* m) noexcept {
    if (m->references_.fetch_sub(1, order::acq_rel) == 1) delete m;
  }

  bool settled() noexcept {
    const spin_guard guard(lock_);
    return settled_;
  }

  /// Suspends the awaiting coroutine until the mark is settled; true if it closed a worker. Where
  /// it heeds them, a stop request ends the wait, which then throws `errc::cancelled`; the worker
  /// is closed all the same.
  class wait;

private:
  ~close_mark() = default;

  atomic<std::uint32_t> references_{0};
  spin_lock lock_;  // guards all below
  frame* waiting_ = nullptr;
  wait_entry* entry_ = nullptr;   // of the waiting coroutine, in the wait graph
  intrusive_ptr<cell> moved_to_;  // the worker, if it stands in the place of an abandoned one
  bool settled_ = false;
  bool closed_ = false;
};

/// The worker was abandoned: a wait for its end goes on, for that of the next one. The lock of the
/// mark is taken before that of the graph.
inline bool close_mark::move_to(cell& c) noexcept {
  const spin_guard guard(lock_);
  moved_to_ = intrusive_ptr<cell>(&c);
  if (entry_ == nullptr) return true;
  const spin_guard graph(wait_graph::instance().lock());
  if (entry_->below != nullptr) entry_->point = &c;
  return true;
}

/// One that has moved was for an instance that was there, though the next one may never have been.
inline void close_mark::settle(bool closed) noexcept {
  frame* waiting = nullptr;
  {
    const spin_guard guard(lock_);
    settled_ = true;
    closed_ = closed || moved_to_;
    if (entry_ != nullptr) wait_graph::instance().leave(*entry_);
    waiting = std::exchange(waiting_, nullptr);
  }
  if (waiting != nullptr) waiting->where->post(*waiting);
  release(this);
}

class close_mark::wait {
public:
  wait(intrusive_ptr<close_mark> mark, intrusive_ptr<cell> c, bool heeds_stop) noexcept
      : mark_(std::move(mark)), cell_(std::move(c)), heeds_stop_(heeds_stop) {}

  class awaiter : private stop_hook {
  public:
    awaiter(wait& w, frame& f) noexcept : stop_hook(&awaiter::on_stop), wait_(w), frame_(f) {}
    ~awaiter() { detach(); }
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) { return suspend(*this); }
    bool await_resume() {
      detach();
      if (cancelled_) throw error(errc::cancelled, wait_.cell_->id());
      return wait_.mark_->closed_;
    }

  private:
    /// A worker above this coroutine, one to whose tasks this belongs, or one that waits for what
    /// is above it, will not be closed before this has ended: that is refused. The mark stays.
    TROUPE_NOINLINE static bool suspend(awaiter& self) {
      close_mark& mark = *self.wait_.mark_;
      cell& c = *self.wait_.cell_;
      frame& f = self.frame_;
      refuse_own_end(f, c);
      self.entry_.for_end = true;
      if (turn* const below = turn_held_up_below(f.chain)) {
        std::string cycle = wait_graph::instance().enter(self.entry_, *below, c);
        if (!cycle.empty()) throw error(errc::deadlock, c.id(), std::move(cycle));
      }
      bool* const flag = std::exchange(f.completed_inline, nullptr);
      self.attach_to_caller();
      const spin_guard guard(mark.lock_);
      if (!mark.settled_ && !self.stopped_) {
        mark.waiting_ = &f;
        mark.entry_ = &self.entry_;
        if (mark.moved_to_) self.follow(*mark.moved_to_);
        return true;
      }
      self.cancelled_ = !mark.settled_;
      wait_graph::instance().leave(self.entry_);
      f.completed_inline = flag;
      return false;
    }

    /// The mark had moved before the wait was known to it, whose lock is held.
    void follow(cell& c) noexcept {
      const spin_guard graph(wait_graph::instance().lock());
      if (entry_.below != nullptr) entry_.point = &c;
    }

    static void refuse_own_end(frame& f, cell& c) {
      std::string waiting;
      const chain_link* top = nullptr;
      {
        const spin_guard graph(wait_graph::instance().lock());
        top = top_of_chain(f.chain);
        if (turn* const t = turn_of_worker_above(f.chain, c)) waiting = t->method();
      }
      if (waiting.empty() && c.has_tasks_below(top)) waiting = "spawn";
      if (waiting.empty()) return;
      const std::string name = to_string(c.id()) + "." + waiting;
      throw error(errc::deadlock, c.id(), name + " waits for its own end");
    }

    /// Without memory for it, no stop request ends the wait.
    void attach_to_caller() noexcept {
      if (!wait_.heeds_stop_ || !frame_.chain->limited) return;
      try {
        attach(frame_.chain->stop());
      } catch (...) {
      }
    }

    /// Who waits may be a task of a worker that closes, which waits for its tasks: asked to stop,
    /// it must not hold that up. The mark stays.
    static void on_stop(stop_hook& h) noexcept {
      awaiter& self = static_cast<awaiter&>(h);
      close_mark& mark = *self.wait_.mark_;
      frame& f = self.frame_;
      {
        const spin_guard guard(mark.lock_);
        self.stopped_ = true;
        if (mark.waiting_ != &f) return;  // settled, or not waiting yet
        mark.waiting_ = nullptr;
        mark.entry_ = nullptr;
        wait_graph::instance().leave(self.entry_);
        self.cancelled_ = true;
      }
      f.where->post(f);
    }

    wait& wait_;
    frame& frame_;
    wait_entry entry_;
    bool stopped_ = false;    // guarded by the mark's lock
    bool cancelled_ = false;  // the stop request ended the wait
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  intrusive_ptr<close_mark> mark_;
  intrusive_ptr<cell> cell_;
  bool heeds_stop_;
};

/// What an instance has beyond itself, where it has something: its context, tasks, timers, memory.
class life final : public task_scope {
public:
  explicit life(cell& c) noexcept
      : task_scope(c.owner().where(), &life::task_failed),
        cell_(c),
        memory_(c.options().memory_limit) {}

  chain_link& chain() noexcept { return link(); }
  std::pmr::memory_resource& memory() noexcept { return memory_; }
  const worker_id& id() {
    if (id_.type.empty()) id_ = cell_.id();
    return id_;
  }

  void add_timer(context_timer& t) noexcept;
  void stop_timers() noexcept;

  /// Asks all that the instance has begun to end. True if nothing is left to be awaited.
  bool ends_at_once() noexcept {
    const outside_code outside;  // a stop callback may be anybody's
    request_stop();
    stop_timers();
    return !has_children();
  }

  /// Awaited, no task is left. Allocates nothing; a task that fails is a dead letter.
  auto all_ended() noexcept { return wait(*this); }

  /// No cleaner evicts the worker before this time of the executor's clock.
  void keep_until(time_point t) noexcept {
    kept_until_.store(t.time_since_epoch().count(), order::relaxed);
  }
  time_point kept_until() const noexcept {
    return time_point(duration(kept_until_.load(order::relaxed)));
  }

  /// The start has failed, and what the instance has begun is still to be ended. The holder's.
  std::exception_ptr start_error;

private:
  static void task_failed(task_scope& scope, std::exception_ptr e) noexcept;

  /// Counts what the instance allocates, and refuses what exceeds its limit, if there is one.
  class counting_resource final : public std::pmr::memory_resource {
  public:
    explicit counting_resource(std::size_t limit) noexcept : limit_(limit) {}
    std::size_t in_use() const noexcept { return in_use_.load(order::relaxed); }

  private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
      const std::size_t before = in_use_.fetch_add(bytes, order::relaxed);
      try {
        if (limit_ != 0 && (before > limit_ || bytes > limit_ - before)) throw std::bad_alloc();
        return std::pmr::new_delete_resource()->allocate(bytes, alignment);
      } catch (...) {
        in_use_.fetch_sub(bytes, order::relaxed);
        throw;
      }
    }
    void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override {
      in_use_.fetch_sub(bytes, order::relaxed);
      std::pmr::new_delete_resource()->deallocate(memory, bytes, alignment);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override {
      return this == &other;
    }

    const std::size_t limit_;  // 0: none
    atomic<std::size_t> in_use_{0};
  };

public:
  std::size_t memory_in_use() const noexcept { return memory_.in_use(); }

private:
  cell& cell_;
  worker_id id_;
  counting_resource memory_;
  context_timer* timers_ = nullptr;     // the holder's
  atomic<std::int64_t> kept_until_{0};  // written by the holder, read by those who evict
};

}  // namespace troupe::detail

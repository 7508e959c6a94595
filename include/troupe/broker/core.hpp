// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a broker and its cells share; outlives the broker as long as proxies do.
///
/// Layer: broker.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_life.hpp>
#include <troupe/actor/dead_letter.hpp>
#include <troupe/actor/outside_code.hpp>
#include <troupe/broker/abandoned_cells.hpp>
#include <troupe/broker/broker_stats.hpp>
#include <troupe/broker/cleaner.hpp>
#include <troupe/broker/event_channel.hpp>
#include <troupe/broker/observer.hpp>
#include <troupe/broker/registry.hpp>
#include <troupe/broker/slow_turn_report.hpp>
#include <troupe/broker/turn_watch.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/thread_pool.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Counted: the broker holds it, and so does every cell.
class broker_core final : public cell_owner, public watched_broker, private event_channel_owner {
public:
  using dead_letter_handler = std::function<void(const dead_letter&)>;

  broker_core(std::unique_ptr<thread_pool> own, executor& e, dead_letter_handler on_dead,
              cleaner policy, observer* observing, duration slow_turn, duration stall_limit)
      : watched_broker(slow_turn, stall_limit),
        own_(std::move(own)),
        executor_(e),
        on_dead_letter_(std::move(on_dead)),
        spawned_(*this),
        events_(std::move(policy), e, *this),
        observer_(observing) {
    observes = observer_ != nullptr;
    orders_uses = static_cast<bool>(events_);
    sends_get = orders_uses && events_.wants_get();
  }

  friend void add_ref(broker_core* c) noexcept { c->add_ref_owner(); }
  friend void release(broker_core* c) noexcept { c->release_owner(); }

  // --- cell_owner -------------------------------------------------------------------------------
  executor& where() noexcept override { return executor_; }
  void add_ref_owner() noexcept override { references_.fetch_add(1, order::relaxed); }
  void release_owner() noexcept override {
    if (references_.fetch_sub(1, order::acq_rel) == 1) delete this;
  }
  void retire(cell& c) noexcept override {
    c.abandoned() ? abandoned_.retire(c) : registry_.retire(c);
  }
  intrusive_ptr<cell> successor(const cell& c) const noexcept override {
    return abandoned_.successor(c);
  }
  void abandoned_ended() noexcept override { abandoned_.ended(); }
  bool closed() const noexcept override { return closed_.load(order::acquire); }
  void created(cell& c) noexcept override {
    workers_.fetch_add(1, order::relaxed);
    created_.fetch_add(1, order::relaxed);
    refresh_tick();
    c.stamp_use();
    if (observes) show(worker_event::create, c);
    if (events_) tell(worker_event::create, c);
  }
  void used(cell& c) noexcept override { tell(worker_event::get, c); }
  void destroyed(cell& c) noexcept override {
    workers_.fetch_sub(1, order::relaxed);
    past_turns_.fetch_add(c.turns(), order::relaxed);
    if (observes) show(worker_event::remove, c);
    if (events_) tell(worker_event::remove, c);
  }
  void before_call(cell& c, const call_info& info) override {
    observer_->before_call(c.id(), info);
  }
  void after_call(cell& c, const call_info& info) noexcept override {
    try {
      observer_->after_call(c.id(), info);
    } catch (...) {
    }
  }
  void dead(cell& c, std::string_view method, const std::error_code& why, std::exception_ptr error,
            cell* from) noexcept override;
  intrusive_ptr<cell> cell_for(const class_request& a, std::string_view key) override {
    return registry_.find_or_make(*this, class_for(a), key);
  }

  /// The tasks of `broker::spawn`. An error is a dead letter, and stops nobody.
  class spawned_tasks final : public task_scope {
  public:
    explicit spawned_tasks(broker_core& c) noexcept
        : task_scope(c.executor_, &spawned_tasks::failed), core_(c) {}
    auto all_ended() noexcept { return wait(*this); }

  private:
    static void failed(task_scope& s, std::exception_ptr e) noexcept {
      static_cast<spawned_tasks&>(s).core_.report(
          dead_letter(worker_id(), "spawn", std::error_code(), std::move(e), caller()));
    }
    broker_core& core_;
  };

  // --- for the broker ---------------------------------------------------------------------------
  spawned_tasks& spawned() noexcept { return spawned_; }
  actor_class& class_for(const class_request& a);
  /// From now on instances of the class are made by `m`.
  void provide(const class_request& a, std::unique_ptr<maker> m);
  intrusive_ptr<cell> find(const class_request& a, std::string_view key) {
    return registry_.find(class_for(a), key);
  }
  intrusive_ptr<cell> find(const worker_id& id) const noexcept { return registry_.find(id); }
  std::vector<intrusive_ptr<cell>> cells() const { return registry_.all(); }
  /// Those whose last turns may still run.
  const abandoned_cells& abandoned() const noexcept { return abandoned_; }
  std::size_t worker_count() const noexcept { return workers_.load(order::relaxed); }
  /// All but what the workers that live know themselves.
  broker_stats counts() const {
    broker_stats s;
    s.workers = worker_count();
    s.created = created_.load(order::relaxed);
    s.removed = s.created - s.workers;
    s.turns = past_turns_.load(order::relaxed);
    s.dead_letters = dead_letters_.load(order::relaxed);
    if (own_) s.pool = own_->stats();
    return s;
  }
  event_channel& events() noexcept { return events_; }

  // --- watched_broker ---------------------------------------------------------------------------
  intrusive_ptr<cell> cell_at(const cell* address) const noexcept override {
    return registry_.find(address);
  }
  void report_slow(const cell& c, std::string_view method, duration lasted) noexcept override;

  void abandon(cell& c) noexcept override;

  // --- event_channel_owner ----------------------------------------------------------------------
  /// The time; or, where uses have an order, the number after those that were given out as such.
  void refresh_tick() noexcept override {
    const std::int64_t now = executor_.now().time_since_epoch().count();
    const std::int64_t next = tick.load(order::relaxed) + 1;
    tick.store(now > next || !orders_uses ? now : next, order::relaxed);
  }

  /// After everything has ended: no call reaches an instance any more.
  void close() noexcept { closed_.store(true, order::release); }
  /// Calls that come from now on settle `errc::broker_gone`. False if some worker is still there or
  /// busy: close it and ask again.
  bool settle_gone() noexcept;
  void drop_executor() noexcept { own_.reset(); }

private:
  ~broker_core() {
    for (actor_class* c = classes_.load(order::acquire); c != nullptr;) {
      delete std::exchange(c, c->next);
    }
  }
  void report(const dead_letter& letter) noexcept;
  void tell(worker_event::kind_type kind, cell& c) noexcept;
  void show(worker_event::kind_type kind, cell& c) noexcept;
  void look_after(duration d) override;
  static task<> look_later(broker_core& core, duration d);

  atomic<std::size_t> references_{0};
  atomic<std::size_t> workers_{0};         // instances that live
  atomic<std::uint64_t> created_{0};       // instances
  atomic<std::uint64_t> past_turns_{0};    // of instances that are gone
  atomic<std::uint64_t> dead_letters_{0};  // reported, or not
  atomic<bool> closed_{false};             // true: no instance is made any more, for good
  std::unique_ptr<thread_pool> own_;       // the broker's own pool, if it made one
  executor& executor_;                     // not to be used once the broker is gone
  dead_letter_handler on_dead_letter_;
  atomic<actor_class*> classes_{nullptr};       // the newest, linked to the older ones; owned
  spin_lock classes_lock_;                      // taken to add to classes_; guards the one below
  std::vector<std::unique_ptr<maker>> makers_;  // provided; kept for instances that they made
  registry registry_;
  abandoned_cells abandoned_;
  spawned_tasks spawned_;
  event_channel events_;
  observer* const observer_;                                          // nullptr: nobody observes
  atomic<std::int64_t> next_look_{never.time_since_epoch().count()};  // when a task wakes for it
};

inline void broker_core::tell(worker_event::kind_type kind, cell& c) noexcept {
  try {
    events_.send(kind, c.id(), c.stats());
  } catch (...) {
    // No memory for the id: the cleaner is not told.
  }
}

inline void broker_core::show(worker_event::kind_type kind, cell& c) noexcept {
  const outside_code outside;
  try {
    observer_->on_worker(worker_event(kind, events_.whose(), c.id(), c.stats()));
  } catch (...) {
    // Its own trouble, or no memory.
  }
}

inline void broker_core::report_slow(const cell& c, std::string_view method,
                                     duration lasted) noexcept try {
  const slow_turn_report report(c.id(), method, lasted);
  if (observer_ != nullptr) return observer_->on_slow_turn(report);
  std::fprintf(stderr, "troupe: slow turn: %s.%s has been running for %.1f s\n",
               to_string(report.worker).c_str(), std::string(method).c_str(),
               std::chrono::duration<double>(lasted).count());
  std::fflush(stderr);
} catch (...) {
  // The observer's own trouble, or no memory.
}

/// The next cell is held from before anybody can find it until it has what waits: nothing overtakes
/// that. Without memory for it, everything stays as it is until the next look.
inline void broker_core::abandon(cell& c) noexcept {
  if (c.abandoned()) return;
  intrusive_ptr<cell> next;
  try {
    next = intrusive_ptr<cell>(cell::make(*this, c.type(), c.key()));
    next->acquire(word_dormant);
    abandoned_.add(c, next);
  } catch (...) {
    if (next) next->discard();
    return;
  }
  if (!c.abandon_for(*next)) {
    abandoned_.remove(c);
    return next->discard();
  }
  registry_.replace(c, *next);
  destroyed(c);
  c.stop_turns();
  next->hand_over();
}

/// Delivered by one thread at a time. A task that wakes too early for what came later asks again.
inline void broker_core::look_after(duration d) {
  const std::int64_t at = saturating_add(executor_.now(), d).time_since_epoch().count();
  if (at >= next_look_.load(order::relaxed) || closed()) return;
  spawned_.spawn(look_later(*this, d));
  next_look_.store(at, order::relaxed);
}

inline task<> broker_core::look_later(broker_core& core, duration d) {
  const result<void> slept = co_await as_result(sleep_for(d));
  if (!slept.has_value()) co_return;  // the broker goes
  core.next_look_.store(never.time_since_epoch().count(), order::relaxed);
  core.events_.look();
}

/// The few classes of a program in a list that only grows: looking one up takes no lock.
inline actor_class& broker_core::class_for(const class_request& a) {
  const auto known = [&]() noexcept -> actor_class* {
    actor_class* c = classes_.load(order::acquire);
    while (c != nullptr && c->tag != a.tag) c = c->next;
    return c;
  };
  if (actor_class* const c = known()) return *c;
  auto made = std::make_unique<actor_class>(a.name, a.tag);
  made->current.store(&a.default_maker(), order::release);
  const spin_guard guard(classes_lock_);
  if (actor_class* const c = known()) return *c;  // somebody was faster
  made->next = classes_.load(order::relaxed);
  classes_.store(made.get(), order::release);
  return *made.release();
}

inline void broker_core::provide(const class_request& a, std::unique_ptr<maker> m) {
  actor_class& c = class_for(a);
  const spin_guard guard(classes_lock_);
  makers_.push_back(std::move(m));
  c.current.store(makers_.back().get(), order::release);
}

inline void broker_core::dead(cell& c, std::string_view method, const std::error_code& why,
                              std::exception_ptr error, cell* from) noexcept {
  dead_letters_.fetch_add(1, order::relaxed);
  if (!on_dead_letter_) return;
  try {
    report(dead_letter(c.id(), method, why, std::move(error), make_caller(from)));
  } catch (...) {
    // No memory for the report.
  }
}

inline void broker_core::report(const dead_letter& letter) noexcept {
  if (!on_dead_letter_) return;
  const outside_code outside;
  try {
    on_dead_letter_(letter);
  } catch (...) {
    // A report that fails is lost; nothing else is.
  }
}

inline bool broker_core::settle_gone() noexcept {
  bool all = true;
  registry_.for_each([&all](cell& c) noexcept {
    c.settle_gone();
    all = all && c.word() == word_gone;
  });
  return all;
}

}  // namespace troupe::detail

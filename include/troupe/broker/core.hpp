// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a broker and its cells share; outlives the broker as long as proxies do.
///
/// Layer: broker.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_life.hpp>
#include <troupe/actor/cell_supervision.hpp>
#include <troupe/actor/dead_letter.hpp>
#include <troupe/actor/maker_by_key.hpp>
#include <troupe/actor/outside_code.hpp>
#include <troupe/actor/shared_maker.hpp>
#include <troupe/actor/supervision.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/broker/abandoned_cells.hpp>
#include <troupe/broker/broker_stats.hpp>
#include <troupe/broker/cleaner.hpp>
#include <troupe/broker/event_channel.hpp>
#include <troupe/broker/observer.hpp>
#include <troupe/broker/registry.hpp>
#include <troupe/broker/slow_turn_report.hpp>
#include <troupe/broker/turn_watch.hpp>
#include <troupe/broker/wait_histogram.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/thread_pool.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Something beside the workers that lives as long as the broker does.
class broker_attachment {
public:
  broker_attachment() = default;
  broker_attachment(const broker_attachment&) = delete;
  broker_attachment& operator=(const broker_attachment&) = delete;
  virtual ~broker_attachment() = default;

  /// Its end: when the workers are gone, on the broker's executor, before it is destroyed.
  virtual task<> end() = 0;
};

/// Counted: the broker holds it, and so does every cell.
template <class Lazy>
class broker_core final : public cell_owner, public watched_broker, private event_channel_owner {
public:
  using dead_letter_handler = std::function<void(const dead_letter&)>;
  using escalation_handler = std::function<directive(const worker_failure&)>;

  broker_core(std::unique_ptr<basic_thread_pool<Lazy>> own, executor& e,
              dead_letter_handler on_dead, cleaner policy, observer* observing, duration slow_turn,
              duration stall_limit)
      : watched_broker(slow_turn, stall_limit),
        own_(std::move(own)),
        executor_(e),
        on_dead_letter_(std::move(on_dead)),
        spawned_(*this),
        closings_(*this),
        events_(std::move(policy), e, *this) {
    if (observing != nullptr) observing->list(observers_);
    observes = !observers_.empty();
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
    if (!registry_.retire(c)) abandoned_.retire(c);
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
    past_tells_.fetch_add(c.tells(), order::relaxed);
    if (observes) show(worker_event::remove, c);
    if (events_) tell(worker_event::remove, c);
  }
  void told(std::uint64_t tells) noexcept override { past_tells_.fetch_add(tells, order::relaxed); }
  void timer_ran() noexcept override { timers_.fetch_add(1, order::relaxed); }
  void waited(duration d) noexcept override { waits_.add(d); }
  void restarted(cell&) noexcept override { restarts_.fetch_add(1, order::relaxed); }
  directive escalated(const worker_failure& failure) noexcept override;
  void evicted(cell& c) noexcept override;
  void before_call(cell& c, const call_info& info, std::size_t& reached) override;
  void after_call(cell& c, const call_info& info, std::size_t reached) noexcept override;
  void settled(cell& c, const call_info& info) noexcept override;
  void dead(cell& c, std::string_view method, const std::error_code& why, std::exception_ptr error,
            cell* from) noexcept override;
  intrusive_ptr<cell> cell_for(const class_request& a, std::string_view key) override {
    return on_route(a, key, [this](actor_class& c, std::string_view k) {
      return registry_.find_or_make(*this, c, k);
    });
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
  /// A message for what has no cell here is dead.
  void lost(worker_id to, std::string_view method, const std::error_code& why,
            std::exception_ptr error, cell* from) noexcept;
  /// Before there are workers.
  void supervise_by(const supervision& s, escalation_handler handler) noexcept {
    supervise = s;
    on_escalation_ = std::move(handler);
  }
  spawned_tasks& spawned() noexcept { return spawned_; }
  /// The tasks that see to it that what closes does so in time.
  spawned_tasks& closings() noexcept { return closings_; }
  actor_class& class_for(const class_request& a);
  /// From now on instances of the class are made as `m` says, except those with keys of their own.
  void provide(const class_request& a, std::shared_ptr<const maker_choice> m);
  /// The same for one key.
  void provide(const class_request& a, std::string_view key, std::shared_ptr<const maker_choice> m);
  intrusive_ptr<cell> find(const class_request& a, std::string_view key) {
    return on_route(a, key,
                    [this](actor_class& c, std::string_view k) { return registry_.find(c, k); });
  }
  /// The class whose workers are those of `a`.
  actor_class& class_of_workers(const class_request& a) {
    actor_class& c = class_for(a);
    const class_route* const route = c.route.load(order::acquire);
    return route != nullptr && route->shared != nullptr ? *route->shared : c;
  }
  /// From now on workers of these classes with one key are one worker.
  void share_turn(const std::vector<class_request>& requests, const actor_options& options);
  /// From now on proxies of the class lead to the key that `map` gives for theirs.
  void map_keys(const class_request& a, std::function<std::string(std::string_view)> map);
  intrusive_ptr<cell> find(const worker_id& id) const noexcept { return registry_.find(id); }
  std::vector<intrusive_ptr<cell>> cells() const { return registry_.all(); }
  /// Those whose last turns may still run.
  const abandoned_cells<Lazy>& abandoned() const noexcept { return abandoned_; }
  std::size_t worker_count() const noexcept { return workers_.load(order::relaxed); }
  broker_stats stats() const;
  event_channel& events() noexcept { return events_; }

  // --- watched_broker ---------------------------------------------------------------------------
  intrusive_ptr<cell> cell_at(const cell* address) const noexcept override {
    intrusive_ptr<cell> found = registry_.find(address);
    return found ? found : abandoned_.find(address);
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

  /// What is attached under `tag`; made by the first who asks for it.
  template <class Make>
  broker_attachment& attachment(const void* tag, Make make) {
    const spin_guard guard(classes_lock_);
    for (const auto& [known, attached] : attachments_) {
      if (known == tag) return *attached;
    }
    return *attachments_.emplace_back(tag, make()).second;
  }
  /// The one that was attached last, which the caller ends; nullptr: none is left.
  std::unique_ptr<broker_attachment> take_attachment() noexcept {
    const spin_guard guard(classes_lock_);
    if (attachments_.empty()) return nullptr;
    std::unique_ptr<broker_attachment> last = std::move(attachments_.back().second);
    attachments_.pop_back();
    return last;
  }

  /// After everything has ended: no call reaches an instance any more.
  void close() noexcept { closed_.store(true, order::release); }
  /// Waits for observers that are being told on the side of a caller; afterwards none is.
  void drop_observers() noexcept {
    unobserved_.store(true, order::seq_cst);
    while (telling_.load(order::seq_cst) != 0) cpu_relax();
  }
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
  template <class F>
  intrusive_ptr<cell> on_route(const class_request& a, std::string_view key, F f) {
    actor_class& c = class_for(a);
    const class_route* const route = c.route.load(order::acquire);
    if (route == nullptr) return f(c, key);
    actor_class& led_to = route->shared != nullptr ? *route->shared : c;
    if (!route->map_key) return f(led_to, key);
    const std::string mapped = route->map_key(key);
    return f(led_to, mapped);
  }
  class succession;
  using route_ptr = std::unique_ptr<put_off<const class_route, Lazy>>;
  using new_route = std::unique_ptr<put_off<class_route, Lazy>>;
  bool has_cells(const std::vector<actor_class*>& classes) const noexcept;
  static new_route copy_of_route(const actor_class& c);
  void set_route(actor_class& c, route_ptr r);
  void report(const dead_letter& letter) noexcept;
  void tell(worker_event::kind_type kind, cell& c) noexcept;
  void show(worker_event::kind_type kind, cell& c) noexcept;
  template <class F>
  void tell_observers(F told) noexcept;
  void look_after(duration d) override;
  static task<> look_later(broker_core& core, duration d);

  atomic<std::size_t> references_{0};
  atomic<std::size_t> workers_{0};                // instances that live
  atomic<std::uint64_t> created_{0};              // instances
  atomic<std::uint64_t> past_turns_{0};           // of instances that are gone
  atomic<std::uint64_t> past_tells_{0};           // of these, and those that cells have handed over
  atomic<std::uint64_t> timers_{0};               // turns of timers
  atomic<std::uint64_t> evictions_{0};            // that were decided on
  atomic<std::uint64_t> restarts_{0};             // instances in the place of failed ones
  atomic<std::uint64_t> dead_letters_{0};         // reported, or not
  atomic<bool> closed_{false};                    // true: no instance is made any more, for good
  std::unique_ptr<basic_thread_pool<Lazy>> own_;  // the broker's own pool, if it made one
  executor& executor_;                            // not to be used once the broker is gone
  dead_letter_handler on_dead_letter_;
  escalation_handler on_escalation_;
  atomic<actor_class*> classes_{nullptr};  // the newest, linked to the older ones; owned
  spin_lock classes_lock_;                 // taken to add to classes_; guards the three below
  // Provided; kept for instances that they made.
  std::vector<std::shared_ptr<put_off<const maker_choice, Lazy>>> makers_;
  std::vector<route_ptr> routes_;  // all that ever were: somebody may read
  std::vector<std::pair<const void*, std::unique_ptr<broker_attachment>>> attachments_;
  registry<Lazy> registry_;
  wait_counter waits_;
  abandoned_cells<Lazy> abandoned_;
  spawned_tasks spawned_;
  spawned_tasks closings_;
  event_channel events_;
  std::vector<put_off<observer*, Lazy>> observers_;  // not to be used once the broker is gone
  atomic<bool> unobserved_{false};    // true: the broker is gone, and its observers may be
  atomic<std::uint32_t> telling_{0};  // who may be outside of the broker, and tells them
  atomic<std::int64_t> next_look_{never.time_since_epoch().count()};  // when a task wakes for it
};

/// Tells and timers are read before turns, of which they are a part.
template <class Lazy>
inline broker_stats broker_core<Lazy>::stats() const {
  broker_stats s;
  s.workers = worker_count();
  s.created = created_.load(order::relaxed);
  s.removed = s.created - (std::min<std::uint64_t>)(s.workers, s.created);
  s.evictions = evictions_.load(order::relaxed);
  s.restarts = restarts_.load(order::relaxed);
  s.dead_letters = dead_letters_.load(order::relaxed);
  s.waits = waits_.read();
  if (own_) s.pool = own_->stats();
  s.tells = past_tells_.load(order::relaxed);
  const std::uint64_t timers = timers_.load(order::relaxed);
  s.turns = past_turns_.load(order::relaxed);
  for (const auto& c : this->cells()) {
    s.waiting += c->waiting();
    s.longest_mailbox = (std::max)(s.longest_mailbox, c->waiting());
    if (!c->alive()) continue;
    s.tells += c->tells();
    s.turns += c->turns();
  }
  s.calls = s.turns - (std::min)(s.turns, s.tells + timers);
  return s;
}

template <class Lazy>
inline void broker_core<Lazy>::tell(worker_event::kind_type kind, cell& c) noexcept {
  try {
    events_.send(kind, c.id(), c.stats());
  } catch (...) {
    // No memory for the id: the cleaner is not told.
  }
}

/// Calls `told(observer&)` for each of them. What one throws, for want of memory or otherwise, is
/// its own trouble.
template <class Lazy>
template <class F>
void broker_core<Lazy>::tell_observers(F told) noexcept {
  for (observer* const o : observers_) {
    try {
      told(*o);
    } catch (...) {
    }
  }
}

template <class Lazy>
inline void broker_core<Lazy>::show(worker_event::kind_type kind, cell& c) noexcept {
  const outside_code outside;
  tell_observers(
      [&](observer& o) { o.on_worker(worker_event(kind, events_.whose(), c.id(), c.stats())); });
}

template <class Lazy>
inline void broker_core<Lazy>::evicted(cell& c) noexcept {
  evictions_.fetch_add(1, order::relaxed);
  if (!observes) return;
  const outside_code outside;
  tell_observers([&](observer& o) { o.on_evict(c.id()); });
}

template <class Lazy>
inline void broker_core<Lazy>::before_call(cell& c, const call_info& info, std::size_t& reached) {
  const worker_id to = c.id();
  for (observer* const o : observers_) {
    ++reached;
    o->before_call(to, info);
  }
}

template <class Lazy>
inline void broker_core<Lazy>::after_call(cell& c, const call_info& info,
                                          std::size_t reached) noexcept {
  for (std::size_t i = (std::min)(reached, observers_.size()); i != 0; --i) {
    try {
      observers_[i - 1]->after_call(c.id(), info);
    } catch (...) {
      // The call has ended: nothing that happens afterwards changes what its caller gets.
    }
  }
}

/// Its caller may be anywhere, and later than the end of the broker. Seq_cst, with
/// `drop_observers`: either it waits for this one, or this one sees that there is nobody to tell.
template <class Lazy>
inline void broker_core<Lazy>::settled(cell& c, const call_info& info) noexcept {
  telling_.fetch_add(1, order::seq_cst);
  if (!unobserved_.load(order::seq_cst)) {
    const outside_code outside;
    tell_observers([&](observer& o) { o.on_settled(c.id(), info); });
  }
  telling_.fetch_sub(1, order::release);
}

template <class Lazy>
inline void broker_core<Lazy>::report_slow(const cell& c, std::string_view method,
                                           duration lasted) noexcept try {
  const slow_turn_report report(c.id(), method, lasted);
  if (!observers_.empty()) {
    return tell_observers([&](observer& o) { o.on_slow_turn(report); });
  }
  std::fprintf(stderr, "troupe: slow turn: %s.%s has been running for %.1f s\n",
               to_string(report.worker).c_str(), std::string(method).c_str(),
               std::chrono::duration<double>(lasted).count());
  std::fflush(stderr);
} catch (...) {
  // The observer's own trouble, or no memory.
}

/// A step of the executor that says that an abandoned instance is gone, and lets the next one
/// begin: observers, cleaners and stop callbacks are no business of the thread that watches all
/// brokers. Until then the next cell is held, for which the broker waits.
template <class Lazy>
class broker_core<Lazy>::succession final : public runnable {
public:
  succession(broker_core& core, cell& old, cell& heir) noexcept
      : runnable(&succession::run), core_(core), old_(&old), heir_(&heir) {}

private:
  static void run(runnable& r) noexcept {
    const std::unique_ptr<succession> self(static_cast<succession*>(&r));
    self->core_.destroyed(*self->old_);
    self->old_->stop_turns();
    self->heir_->hand_over();
  }

  broker_core& core_;  // the cells refer to it
  const intrusive_ptr<cell> old_;
  const intrusive_ptr<cell> heir_;
};

/// The next cell is held from before anybody can find it until it has what waits: nothing overtakes
/// that. Without memory for it, everything stays as it is until the next look.
template <class Lazy>
inline void broker_core<Lazy>::abandon(cell& c) noexcept {
  if (c.abandoned()) return;
  intrusive_ptr<cell> next;
  std::unique_ptr<succession> step;
  try {
    next = intrusive_ptr<cell>(cell::make(*this, c.type(), c.key()));
    next->acquire(word_dormant);
    next->supervisor_of().watchers.share(c.supervisor_of().watchers);
    step = std::make_unique<succession>(*this, c, *next);
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
  executor_.post(*step.release());
}

/// Delivered by one thread at a time. A task that wakes too early for what came later asks again.
template <class Lazy>
inline void broker_core<Lazy>::look_after(duration d) {
  const std::int64_t at = saturating_add(executor_.now(), d).time_since_epoch().count();
  if (at >= next_look_.load(order::relaxed) || closed()) return;
  spawned_.spawn(look_later(*this, d));
  next_look_.store(at, order::relaxed);
}

template <class Lazy>
inline task<> broker_core<Lazy>::look_later(broker_core& core, duration d) {
  const result<void> slept = co_await as_result(sleep_for(d));
  if (!slept.has_value()) co_return;  // the broker goes
  core.next_look_.store(never.time_since_epoch().count(), order::relaxed);
  core.events_.look();
}

/// The few classes of a program in a list that only grows: looking one up takes no lock.
template <class Lazy>
inline actor_class& broker_core<Lazy>::class_for(const class_request& a) {
  const auto known = [&]() noexcept -> actor_class* {
    actor_class* c = classes_.load(order::acquire);
    while (c != nullptr && c->tag != a.tag) c = c->next;
    return c;
  };
  if (actor_class* const c = known()) return *c;
  auto made = std::make_unique<put_off<actor_class, Lazy>>(a.name, a.tag);
  made->current.store(&a.default_maker(), order::release);
  const spin_guard guard(classes_lock_);
  if (actor_class* const c = known()) return *c;  // somebody was faster
  made->next = classes_.load(order::relaxed);
  classes_.store(made.get(), order::release);
  return *made.release();
}

template <class Lazy>
inline void broker_core<Lazy>::provide(const class_request& a,
                                       std::shared_ptr<const maker_choice> m) {
  actor_class& c = class_for(a);
  const spin_guard guard(classes_lock_);
  makers_.push_back(std::move(m));
  const maker_choice& added = *makers_.back();
  if (c.by_key != nullptr) return c.by_key->set_others(added);
  c.current.store(&added, order::release);
}

template <class Lazy>
inline void broker_core<Lazy>::provide(const class_request& a, std::string_view key,
                                       std::shared_ptr<const maker_choice> m) {
  actor_class& c = class_for(a);
  const spin_guard guard(classes_lock_);
  if (c.by_key == nullptr) {
    auto by_key = std::make_shared<makers_of_keys<Lazy>>(*c.current.load(order::relaxed));
    makers_.push_back(by_key);
    c.by_key = by_key.get();
  }
  makers_.push_back(std::move(m));
  c.by_key->set(key, *makers_.back());
  c.current.store(c.by_key, order::release);
}

template <class Lazy>
inline bool broker_core<Lazy>::has_cells(const std::vector<actor_class*>& classes) const noexcept {
  bool found = false;
  registry_.for_each([&](const cell& c) noexcept {
    found = found || std::find(classes.begin(), classes.end(), &c.type()) != classes.end();
  });
  return found;
}

template <class Lazy>
inline void broker_core<Lazy>::share_turn(const std::vector<class_request>& requests,
                                          const actor_options& options) {
  std::vector<put_off<actor_class*, Lazy>> classes;
  for (const class_request& a : requests) classes.push_back(&class_for(a));
  auto made_by = std::make_shared<shared_maker<Lazy>>(classes, options);
  auto shared = std::make_unique<put_off<actor_class, Lazy>>(made_by->name(), made_by.get());
  shared->current.store(made_by.get(), order::relaxed);
  for (const actor_class* const c : classes) shared->shared_by.push_back(c->tag);
  if (has_cells(classes)) {
    throw std::logic_error("troupe: share_turn<...> comes before the first proxy of its classes: " +
                           std::string(made_by->name()));
  }
  const spin_guard guard(classes_lock_);
  std::vector<new_route> routes;
  for (const actor_class* const c : classes) {
    routes.push_back(copy_of_route(*c));
    if (std::exchange(routes.back()->shared, shared.get()) == nullptr) continue;
    throw std::logic_error("troupe: " + std::string(c->name) + " shares its turn already");
  }
  routes_.reserve(routes_.size() + routes.size());
  makers_.push_back(std::move(made_by));
  shared->next = classes_.load(order::relaxed);
  classes_.store(shared.release(), order::release);
  for (std::size_t i = 0; i != classes.size(); ++i) set_route(*classes[i], std::move(routes[i]));
}

template <class Lazy>
inline void broker_core<Lazy>::map_keys(const class_request& a,
                                        std::function<std::string(std::string_view)> map) {
  actor_class& c = class_for(a);
  const spin_guard guard(classes_lock_);
  new_route route = copy_of_route(c);
  route->map_key = std::move(map);
  set_route(c, std::move(route));
}

/// The lock is held, here and below.
template <class Lazy>
inline typename broker_core<Lazy>::new_route broker_core<Lazy>::copy_of_route(
    const actor_class& c) {
  const class_route* const route = c.route.load(order::relaxed);
  return route != nullptr ? std::make_unique<put_off<class_route, Lazy>>(*route)
                          : std::make_unique<put_off<class_route, Lazy>>();
}

template <class Lazy>
inline void broker_core<Lazy>::set_route(actor_class& c, route_ptr r) {
  routes_.push_back(std::move(r));
  c.route.store(routes_.back().get(), order::release);
}

template <class Lazy>
inline void broker_core<Lazy>::dead(cell& c, std::string_view method, const std::error_code& why,
                                    std::exception_ptr error, cell* from) noexcept {
  dead_letters_.fetch_add(1, order::relaxed);
  if (!on_dead_letter_) return;
  try {
    report(dead_letter(c.id(), method, why, std::move(error), make_caller(from)));
  } catch (...) {
    // No memory for the report.
  }
}

template <class Lazy>
inline void broker_core<Lazy>::lost(worker_id to, std::string_view method,
                                    const std::error_code& why, std::exception_ptr error,
                                    cell* from) noexcept {
  dead_letters_.fetch_add(1, order::relaxed);
  report(dead_letter(std::move(to), method, why, std::move(error), make_caller(from)));
}

template <class Lazy>
inline void broker_core<Lazy>::report(const dead_letter& letter) noexcept {
  if (!on_dead_letter_) return;
  const outside_code outside;
  try {
    on_dead_letter_(letter);
  } catch (...) {
    // A report that fails is lost; nothing else is.
  }
}

template <class Lazy>
inline directive broker_core<Lazy>::escalated(const worker_failure& failure) noexcept {
  if (!on_escalation_) return directive::stop;
  const outside_code outside;
  try {
    return on_escalation_(failure);
  } catch (...) {
    return directive::stop;
  }
}

template <class Lazy>
inline bool broker_core<Lazy>::settle_gone() noexcept {
  bool all = true;
  registry_.for_each([&all](cell& c) noexcept {
    c.settle_gone();
    all = all && c.word() == word_gone;
  });
  return all;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `thread_pool`: the work-stealing executor.
///
/// Layer: exec. Starts its threads in the constructor; posting allocates nothing.
///
/// Each thread has a slot for the one thing it made ready last, which no thief touches (what was
/// just made ready stays in this core's cache, and nobody is woken for a single item), and a
/// Chase–Lev deque for the rest. Outsiders and those who yield use the injector, which is fair.
/// An observer outside the pool sees to what its threads cannot: timers while all of them are busy,
/// a slot whose thread does not come back for it, and a replacement for a thread that is stuck.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/exec/sleepers.hpp>
#include <troupe/exec/thread_setup.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/chase_lev_deque.hpp>
#include <troupe/sync/injector.hpp>
#include <troupe/sync/parker.hpp>

namespace troupe {

/// How a pool is made.
struct thread_pool_options {
  unsigned threads = 0;         ///< 0: one per core.
  std::string name = "troupe";  ///< Threads are named after it where the system can.
  bool pin = false;             ///< Each thread stays on one core where the system can.
};

/// What a pool has done since it was made. Counts are of some moment gone by.
struct executor_stats {
  unsigned threads = 0;
  unsigned replacements = 0;  ///< Further threads, which stand in for those that are stuck.
  std::uint64_t steps = 0;    ///< Coroutines resumed and workers served, by the queues.
  std::uint64_t steals = 0;   ///< Taken from another thread.
  std::uint64_t parks = 0;    ///< Times a thread went to sleep.
};

/// Runs coroutines on a fixed number of threads. For one that is stuck in a turn beyond
/// `broker_options::stall_limit` another is started, up to as many again; when the stuck one comes
/// back, one of those ends as soon as it has nothing to do.
///
/// The destructor runs what is still ready, then joins the threads; nothing may be posted to it
/// from outside any more, and no timer be armed.
///
/// Thread safety: all members from any thread.
template <class Lazy>
class basic_thread_pool final : public executor {
public:
  explicit basic_thread_pool(thread_pool_options options = {});
  basic_thread_pool(const basic_thread_pool&) = delete;
  basic_thread_pool& operator=(const basic_thread_pool&) = delete;
  ~basic_thread_pool() override;

  /// What the threads have done so far.
  [[nodiscard]] executor_stats stats() const;

  void post(runnable& r) noexcept override;
  void fork(runnable& r) noexcept override;
  void yield(runnable& r) noexcept override;
  bool others_wait() const noexcept override;
  time_point now() const noexcept override { return steady_now(); }
  std::uint64_t random() noexcept override;
  void wake_at(time_point t) noexcept override;

private:
  struct alignas(cache_line_size) worker {
    worker(basic_thread_pool& p, std::uint32_t i) noexcept
        : pool(p), index(i), random(0x9e3779b97f4a7c15u * (i + 1)) {}

    basic_thread_pool& pool;
    const std::uint32_t index;
    std::uint64_t random;      // of splitmix64; its own thread's
    std::uint32_t tick = 0;    // steps, to look at the fair queues now and then
    std::uint32_t streak = 0;  // times in a row that the slot was served first
    bool searching = false;    // counted in sleepers_
    // These three: written by its own thread, read by anybody.
    detail::atomic<std::uint64_t> steps{0};
    detail::atomic<std::uint64_t> steals{0};
    detail::atomic<std::uint64_t> parks{0};
    // nullptr: empty; else what was made ready last. Filled by its thread; emptied by it, or by the
    // observer where it has been left for too long.
    alignas(cache_line_size) detail::atomic<runnable*> slot{nullptr};
    chase_lev_deque<runnable> deque;
    parker sleep;
    std::thread thread;
    // Counted in stalled_: set by the observer, cleared by the thread that has come back.
    detail::atomic<bool> stalled{false};
    detail::atomic<bool> ended{false};  // a replacement has come to its end

    void run() noexcept {
      detail::name_this_thread(pool.options_.name, "-" + std::to_string(index));
      if (pool.options_.pin) detail::pin_this_thread(index);
      pool.work(*this);
      ended.store(true, detail::order::release);
    }
  };

  static constexpr std::uint32_t fair_interval = 61;  // steps between looks at the fair queues
  static constexpr std::uint32_t streak_limit = 16;   // slot served first, at most, in a row
  static constexpr std::size_t grab_limit = 16;       // taken from the injector at once
  static constexpr duration observer_interval = std::chrono::milliseconds(10);

  /// Names are made of its numbers that other processes and machines must not make as well: where
  /// it lies is the process's, and the clocks are those of the machine and the moment.
  static std::uint64_t chance_of(const void* pool) noexcept {
    const auto count = [](auto t) {
      return static_cast<std::uint64_t>(t.time_since_epoch().count());
    };
    return hash_combine(hash_combine(reinterpret_cast<std::uintptr_t>(pool), count(steady_now())),
                        count(troupe::wall_now()));
  }

  worker* this_worker() const noexcept;
  void notify() noexcept;
  void push(worker& self, runnable& r) noexcept;

  void work(worker& self) noexcept;
  runnable* next(worker& self) noexcept;
  runnable* take_fair(worker& self) noexcept;
  runnable* take_slot(worker& self) noexcept;
  runnable* take_injected(worker& self) noexcept;
  runnable* search(worker& self) noexcept;
  runnable* steal(worker& self) noexcept;
  runnable* steal_once(worker& self) noexcept;
  bool anything_ready() const noexcept;
  bool sleep(worker& self) noexcept;
  bool retire() noexcept;
  void park(worker& self) noexcept;
  void found_work(worker& self) noexcept;

  void observe() noexcept;
  void rescue_slots(std::vector<std::pair<runnable*, std::uint64_t>>& seen) noexcept;
  void wake_observer() noexcept;
  void replace_stalled() noexcept;
  bool start_replacement() noexcept;
  void come_back(worker& self) noexcept;

  const thread_pool_options options_;
  const std::uint32_t threads_;  // as wanted; as many again may stand in for them
  // The threads first, then places for replacements, whose threads come and go.
  std::vector<std::unique_ptr<worker>> workers_;
  injector<runnable, &runnable::next> injected_;
  detail::sleepers sleepers_;
  detail::atomic<std::uint32_t> in_use_;  // of workers_, from the front: others were never started
  detail::atomic<std::uint32_t> replacements_{0};  // that run; one ends if they exceed stalled_
  detail::atomic<std::uint32_t> stalled_{0};       // threads that do not come back
  detail::atomic<bool> stopping_{false};           // true: threads end when nothing is ready
  detail::atomic<std::uint64_t> seed_{0x5bd1e995};
  const std::uint64_t chance_ = chance_of(this);  // no two pools have one, of whatever processes
  detail::atomic<unsigned> posting_{0};  // outsiders inside `yield`, which touches the pool last

  // The thread that sleeps no longer than until the next timer: its index, or nobody.
  detail::atomic<std::uint32_t> keeper_{detail::sleepers::nobody};
  // When the keeper wakes by itself; written by the keeper.
  detail::atomic<std::int64_t> keeper_until_{0};

  // True: wake it before doing anything that takes long.
  detail::atomic<bool> observer_sleeps_{false};
  detail::atomic<bool> observer_stop_{false};
  parker observer_parker_;
  std::thread observer_;
};

template <class Lazy>
inline basic_thread_pool<Lazy>::basic_thread_pool(thread_pool_options options)
    : options_(std::move(options)),
      threads_(options_.threads != 0 ? options_.threads : detail::core_count()),
      sleepers_(2 * threads_),
      in_use_(threads_) {
  workers_.reserve(2 * std::size_t{threads_});
  for (std::uint32_t i = 0; i < 2 * threads_; ++i) {
    workers_.push_back(std::make_unique<worker>(*this, i));
  }
  try {
    for (std::uint32_t i = 0; i < threads_; ++i) {
      workers_[i]->thread = detail::start_thread<&worker::run>(*workers_[i]);
    }
    observer_ = detail::start_thread<&basic_thread_pool::observe>(*this);
  } catch (...) {
    stopping_.store(true, detail::order::seq_cst);
    for (auto& w : workers_) {
      w->sleep.unpark();
      if (w->thread.joinable()) w->thread.join();
    }
    throw;
  }
}

template <class Lazy>
inline basic_thread_pool<Lazy>::~basic_thread_pool() {
  observer_stop_.store(true, detail::order::seq_cst);
  observer_parker_.unpark();
  observer_.join();
  stopping_.store(true, detail::order::seq_cst);
  for (auto& w : workers_) w->sleep.unpark();
  for (auto& w : workers_) {
    if (w->thread.joinable()) w->thread.join();
  }
  while (posting_.load(detail::order::acquire) != 0) detail::cpu_relax();
}

template <class Lazy>
inline executor_stats basic_thread_pool<Lazy>::stats() const {
  executor_stats sum;
  sum.threads = threads_;
  sum.replacements = replacements_.load(detail::order::relaxed);
  for (const auto& w : workers_) {
    sum.steps += w->steps.load(detail::order::relaxed);
    sum.steals += w->steals.load(detail::order::relaxed);
    sum.parks += w->parks.load(detail::order::relaxed);
  }
  return sum;
}

template <class Lazy>
inline typename basic_thread_pool<Lazy>::worker* basic_thread_pool<Lazy>::this_worker()
    const noexcept {
  const detail::thread_state& state = detail::this_thread_state();
  return state.loop == this ? static_cast<worker*>(state.pool_worker) : nullptr;
}

template <class Lazy>
inline void basic_thread_pool<Lazy>::notify() noexcept {
  const std::uint32_t index = sleepers_.wake_one();
  if (index != detail::sleepers::nobody) workers_[index]->sleep.unpark();
}

/// To the deque, where thieves may take it; what does not fit goes to everybody.
template <class Lazy>
inline void basic_thread_pool<Lazy>::push(worker& self, runnable& r) noexcept {
  if (!self.deque.push(&r)) injected_.push(r);
  notify();
}

template <class Lazy>
inline void basic_thread_pool<Lazy>::post(runnable& r) noexcept {
  worker* const self = this_worker();
  if (self == nullptr) return yield(r);
  // acq_rel: the observer that takes it sees what `r` points to, and the other way round.
  if (runnable* const older = self->slot.exchange(&r, detail::order::acq_rel)) push(*self, *older);
}

template <class Lazy>
inline void basic_thread_pool<Lazy>::fork(runnable& r) noexcept {
  worker* const self = this_worker();
  if (self == nullptr) return yield(r);
  push(*self, r);
}

template <class Lazy>
inline void basic_thread_pool<Lazy>::yield(runnable& r) noexcept {
  // What an outsider makes ready may run, and the pool come to its end, before this has returned.
  const bool outside = this_worker() == nullptr;
  if (outside) posting_.fetch_add(1, detail::order::relaxed);
  injected_.push(r);
  notify();
  if (outside) posting_.fetch_sub(1, detail::order::release);  // pairs with the destructor's load
}

template <class Lazy>
inline bool basic_thread_pool<Lazy>::others_wait() const noexcept {
  const worker* const self = this_worker();
  if (self == nullptr) return true;
  return detail::this_thread_state().next_first != nullptr ||
         self->slot.load(detail::order::relaxed) != nullptr || !self->deque.empty_hint() ||
         !injected_.empty_hint();
}

template <class Lazy>
inline std::uint64_t basic_thread_pool<Lazy>::random() noexcept {
  std::uint64_t drawn = 0;
  if (worker* const self = this_worker()) {
    drawn = splitmix64(self->random);
  } else {
    std::uint64_t state = seed_.fetch_add(0x9e3779b97f4a7c15u, detail::order::relaxed);
    drawn = splitmix64(state);
  }
  return hash_combine(chance_, drawn);
}

template <class Lazy>
inline void basic_thread_pool<Lazy>::wake_at(time_point t) noexcept {
  const std::uint32_t keeper = keeper_.load(detail::order::seq_cst);
  if (keeper == detail::sleepers::nobody) return;  // whoever sleeps next looks at the timers
  if (t.time_since_epoch().count() >= keeper_until_.load(detail::order::seq_cst)) return;
  workers_[keeper]->sleep.unpark();
}

// --- a thread of the pool ---------------------------------------------------------------------

template <class Lazy>
inline void basic_thread_pool<Lazy>::work(worker& self) noexcept {
  detail::thread_state& state = detail::this_thread_state();
  state.loop = this;
  state.pool_worker = &self;
  state.record.pool.store(this);
  state.record.pool_index.store(self.index);
  detail::begin_activity(state);
  for (;;) {
    detail::safepoint(state);
    if (runnable* const r = next(self)) {
      self.steps.store(self.steps.load(detail::order::relaxed) + 1, detail::order::relaxed);
      detail::run_step(state, *r);
      if (state.record.stalled.load() || self.stalled.load(detail::order::relaxed)) {
        come_back(self);
      }
    } else if (!sleep(self)) {
      break;
    }
  }
  detail::end_activity(state);
  state.record.pool.store(nullptr);
  state.loop = nullptr;
  state.pool_worker = nullptr;
}

template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::next(worker& self) noexcept {
  runnable* r = nullptr;
  if (++self.tick % fair_interval == 0) r = take_fair(self);
  if (r == nullptr && self.streak < streak_limit) {
    if ((r = take_slot(self)) != nullptr) ++self.streak;
  }
  if (r == nullptr) {
    self.streak = 0;
    if (!self.deque.empty_hint()) r = self.deque.pop();
  }
  if (r == nullptr) r = take_injected(self);
  if (r == nullptr) r = take_slot(self);
  if (r == nullptr) return search(self);
  found_work(self);
  return r;
}

/// What the order of the other queues would let starve: timers, outsiders, the oldest of our own,
/// and of another thread, which may be stuck in a step while all others always have work.
template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::take_fair(worker& self) noexcept {
  fire_timers();
  switch (self.tick / fair_interval % 4) {
    case 0:
      return self.deque.steal().get();
    case 2:
      return steal_once(self);
    default:
      return injected_.pop();
  }
}

template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::take_slot(worker& self) noexcept {
  if (self.slot.load(detail::order::relaxed) == nullptr) return nullptr;
  return self.slot.exchange(nullptr, detail::order::acq_rel);
}

template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::take_injected(worker& self) noexcept {
  runnable* taken[grab_limit];
  const std::size_t count = injected_.pop_some(taken, (grab_limit - 1) / threads_ + 1);
  if (count == 0) return nullptr;
  // The deque hands out its newest first: fill it backwards, to keep the order. It is empty here,
  // so all of it fits.
  for (std::size_t i = count; i > 1; --i) {
    if (!self.deque.push(taken[i - 1])) injected_.push(*taken[i - 1]);
  }
  if (count > 1) notify();
  return taken[0];
}

template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::search(worker& self) noexcept {
  if (in_use_.load(detail::order::relaxed) == 1) return nullptr;
  if (!self.searching) {
    if (!sleepers_.begin_search()) return nullptr;
    self.searching = true;
  }
  runnable* const r = steal(self);
  if (r != nullptr) found_work(self);
  return r;
}

template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::steal(worker& self) noexcept {
  constexpr int rounds = 4;
  for (int round = 0; round < rounds; ++round) {
    if (runnable* const r = steal_once(self)) return r;
    if (runnable* const r = injected_.pop()) return r;
    detail::cpu_relax();
  }
  return nullptr;
}

/// From each of the others in turn, beginning with any.
template <class Lazy>
inline runnable* basic_thread_pool<Lazy>::steal_once(worker& self) noexcept {
  const std::size_t count = in_use_.load(detail::order::relaxed);
  const std::size_t first = static_cast<std::size_t>(splitmix64(self.random)) % count;
  for (std::size_t i = 0; i < count; ++i) {
    worker& victim = *workers_[(first + i) % count];
    if (&victim == &self) continue;
    if (runnable* const r = victim.deque.steal().get()) {
      self.steals.store(self.steals.load(detail::order::relaxed) + 1, detail::order::relaxed);
      return r;
    }
  }
  return nullptr;
}

/// A searcher that has found something hands the search on: there may be more.
template <class Lazy>
inline void basic_thread_pool<Lazy>::found_work(worker& self) noexcept {
  if (!self.searching) return;
  self.searching = false;
  sleepers_.end_search();
  if (anything_ready()) notify();
}

/// True if some queue that thieves may use holds something.
template <class Lazy>
inline bool basic_thread_pool<Lazy>::anything_ready() const noexcept {
  if (!injected_.empty_hint()) return true;
  const std::size_t count = in_use_.load(detail::order::relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    if (!workers_[i]->deque.empty_hint()) return true;
  }
  return false;
}

/// Sleeps until there may be work. False if the thread is to end.
template <class Lazy>
inline bool basic_thread_pool<Lazy>::sleep(worker& self) noexcept {
  sleepers_.enter(self.index, std::exchange(self.searching, false));
  const bool stopping = stopping_.load(detail::order::seq_cst);
  if (stopping || anything_ready()) {
    self.searching = !sleepers_.leave(self.index);
    wake_observer();  // it may have seen all of the threads asleep in between
    return !stopping || self.searching || anything_ready();
  }
  if (self.index >= threads_ &&
      replacements_.load(detail::order::relaxed) > stalled_.load(detail::order::relaxed)) {
    self.searching = !sleepers_.leave(self.index);
    return self.searching || !retire();
  }
  detail::thread_state& state = detail::this_thread_state();
  detail::end_activity(state);
  park(self);
  detail::begin_activity(state);
  self.searching = !sleepers_.leave(self.index);
  wake_observer();
  return true;
}

/// A replacement that is awake, is not searching and has nothing to do: true if it is to end.
template <class Lazy>
inline bool basic_thread_pool<Lazy>::retire() noexcept {
  std::uint32_t count = replacements_.load(detail::order::relaxed);
  while (count > stalled_.load(detail::order::relaxed)) {
    if (replacements_.compare_exchange_weak(count, count - 1, detail::order::relaxed,
                                            detail::order::relaxed)) {
      notify();         // this one may have kept the time: another one is to take that over
      wake_observer();  // all others may be asleep
      return true;
    }
  }
  return false;
}

/// This thread was stuck in a step, which has ended: a replacement may go.
template <class Lazy>
inline void basic_thread_pool<Lazy>::come_back(worker& self) noexcept {
  detail::this_thread_state().record.stalled.store(false);
  if (!self.stalled.exchange(false, detail::order::relaxed)) return;
  stalled_.fetch_sub(1, detail::order::relaxed);
  for (std::uint32_t i = threads_; i < in_use_.load(detail::order::relaxed); ++i) {
    workers_[i]->sleep.unpark();
  }
}

/// Parks; the first to do so keeps the time.
template <class Lazy>
inline void basic_thread_pool<Lazy>::park(worker& self) noexcept {
  self.parks.store(self.parks.load(detail::order::relaxed) + 1, detail::order::relaxed);
  std::uint32_t expected = detail::sleepers::nobody;
  if (!keeper_.compare_exchange_strong(expected, self.index, detail::order::seq_cst,
                                       detail::order::relaxed)) {
    return self.sleep.park();
  }
  // Seq_cst, with wake_at: either it sees this time, or `fire_timers` sees its timer.
  keeper_until_.store(never.time_since_epoch().count(), detail::order::seq_cst);
  const time_point due = fire_timers();
  keeper_until_.store(due.time_since_epoch().count(), detail::order::seq_cst);
  // What a timer made ready is in this thread's own slot, where only this thread looks.
  const bool woken_meanwhile =
      self.slot.load(detail::order::relaxed) != nullptr || anything_ready();
  if (!woken_meanwhile) {
    if (due == never) {
      self.sleep.park();
    } else {
      self.sleep.park_until(due);
      fire_timers();
    }
  }
  keeper_.store(detail::sleepers::nobody, detail::order::seq_cst);
}

// --- the observer -----------------------------------------------------------------------------

template <class Lazy>
inline void basic_thread_pool<Lazy>::wake_observer() noexcept {
  if (!observer_sleeps_.load(detail::order::seq_cst)) return;
  if (observer_sleeps_.exchange(false, detail::order::seq_cst)) observer_parker_.unpark();
}

/// Looks every 10 ms while some thread is awake; sleeps while all do.
template <class Lazy>
inline void basic_thread_pool<Lazy>::observe() noexcept {
  detail::name_this_thread(options_.name, "-watch");
  std::vector<std::pair<runnable*, std::uint64_t>> seen(workers_.size());
  while (!observer_stop_.load(detail::order::seq_cst)) {
    const auto all_sleep = [this]() noexcept {
      return sleepers_.count() == threads_ + replacements_.load(detail::order::relaxed);
    };
    if (all_sleep()) {
      observer_sleeps_.store(true, detail::order::seq_cst);
      if (all_sleep()) observer_parker_.park();
      observer_sleeps_.store(false, detail::order::seq_cst);
      continue;
    }
    observer_parker_.park_until(saturating_add(steady_now(), observer_interval));
    fire_timers();
    rescue_slots(seen);
    if (detail::thread_list::instance().stalled() != 0) replace_stalled();
  }
}

/// Counts the threads that the watcher has found stuck, and sees to it that as many stand in. One
/// that comes back while it is being counted finds that after its next step.
template <class Lazy>
inline void basic_thread_pool<Lazy>::replace_stalled() noexcept {
  detail::thread_list::instance().for_each([this](const detail::listed_thread& t) noexcept {
    if (!t.record.stalled.load() || t.record.pool.load() != this) return;
    worker& w = *workers_[t.record.pool_index.load()];
    if (!w.stalled.exchange(true, detail::order::relaxed)) {
      stalled_.fetch_add(1, detail::order::relaxed);
    }
  });
  const std::uint32_t wanted = (std::min)(stalled_.load(detail::order::relaxed), threads_);
  while (replacements_.load(detail::order::relaxed) < wanted) {
    if (!start_replacement()) return;
  }
}

/// In a place that was never used, or whose thread has ended. False if no thread can be had: the
/// next look tries again.
template <class Lazy>
inline bool basic_thread_pool<Lazy>::start_replacement() noexcept {
  for (std::uint32_t i = threads_; i < workers_.size(); ++i) {
    worker& w = *workers_[i];
    const bool was_used = w.thread.joinable();
    if (was_used && !w.ended.load(detail::order::acquire)) continue;
    if (was_used) w.thread.join();
    w.ended.store(false, detail::order::relaxed);
    replacements_.fetch_add(1, detail::order::relaxed);
    if (in_use_.load(detail::order::relaxed) <= i) in_use_.store(i + 1, detail::order::relaxed);
    try {
      w.thread = detail::start_thread<&worker::run>(w);
      return true;
    } catch (...) {
      replacements_.fetch_sub(1, detail::order::relaxed);
      return false;
    }
  }
  return false;
}

/// Gives away what has waited in a slot since the last look, while its thread was at one step.
template <class Lazy>
inline void basic_thread_pool<Lazy>::rescue_slots(
    std::vector<std::pair<runnable*, std::uint64_t>>& seen) noexcept {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    worker& w = *workers_[i];
    runnable* waiting = w.slot.load(detail::order::relaxed);
    const std::uint64_t steps = w.steps.load(detail::order::relaxed);
    const bool stuck = waiting != nullptr && seen[i] == std::pair(waiting, steps);
    seen[i] = {waiting, steps};
    if (!stuck) continue;
    if (runnable* const r = w.slot.exchange(nullptr, detail::order::acq_rel)) yield(*r);
  }
}

/// The one instance that programs use; docs/compilers.md says why it is one of a template.
using thread_pool = basic_thread_pool<void>;

}  // namespace troupe

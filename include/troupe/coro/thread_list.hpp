// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The threads that run coroutines, for those who look at them from outside: a watcher that wants
/// to know which turns take too long, and `broker::dump`, for which they pause.
///
/// Layer: coro. A thread is in the list from its first loop to its end.

#include <cstdint>
#include <string_view>

#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>
#include <troupe/sync/parker.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What somebody has seen a thread run. Equal at two moments: the same turn, all the time between,
/// since its number and the thread's serial change with every turn.
struct glimpse {
  const cell* worker = nullptr;  // nullptr: nothing. Not to be followed
  const std::string_view* method = nullptr;
  std::uint64_t number = 0;

  friend bool operator==(const glimpse&, const glimpse&) = default;

  static glimpse of_call(const turn_record& r) noexcept {
    const cell* const worker = r.called.load();
    return seen(worker, r.called_method.load(), r.called_turn.load());
  }
  static glimpse of_served(const turn_record& r) noexcept {
    const cell* const worker = r.served.load();
    return seen(worker, r.served_method.load(), r.serial.load());
  }

private:
  /// What is published of a turn that begins may be seen in any order: half of one is nothing.
  static glimpse seen(const cell* worker, const std::string_view* method,
                      std::uint64_t number) noexcept {
    if (worker == nullptr || method == nullptr) return {};
    return {worker, method, number};
  }
};

/// One look after the other at one of the two places of a record. The watcher's.
struct turn_sighting {
  glimpse seen;
  duration lasted = duration::zero();  // at least
  bool reported = false;               // or nobody is to be told
  bool stalled = false;
  std::uint64_t dealt_with = 0;  // the number of the look in which it last was

  /// `elapsed` has gone by since the look before.
  void look(const glimpse& now, duration elapsed) noexcept {
    if (now == seen) {
      lasted += elapsed;
    } else {
      *this = turn_sighting{.seen = now};
    }
  }
};

/// A thread in the list.
struct listed_thread {
  explicit listed_thread(turn_record& r) noexcept : record(r) {}

  turn_record& record;
  turn_sighting call;    // guarded by the list's lock
  turn_sighting served;  // likewise
  listed_thread* next = nullptr;
  listed_thread** link = nullptr;
};

/// The list. One per process.
///
/// Thread safety: all members from any thread, unless they say otherwise.
class thread_list {
public:
  static thread_list& instance() noexcept {
    static constinit thread_list list;
    return list;
  }

  void add(listed_thread& t) noexcept {
    const spin_guard guard(lock_);
    t.next = first_;
    t.link = &first_;
    if (first_ != nullptr) first_->link = &t.next;
    first_ = &t;
  }
  void remove(listed_thread& t) noexcept {
    const spin_guard guard(lock_);
    *t.link = t.next;
    if (t.next != nullptr) t.next->link = t.link;
  }

  /// Calls `f(listed_thread&)` for each, which stays there for as long as `f` runs. `f` is short.
  template <class F>
  void for_each(F f) noexcept {
    const spin_guard guard(lock_);
    for (listed_thread* t = first_; t != nullptr; t = t->next) f(*t);
  }

  // --- the watcher ------------------------------------------------------------------------------

  /// The calling thread has begun to run something.
  ///
  /// It first shows that it is active, then looks whether the watcher sleeps; the watcher first
  /// says that it will sleep, then looks for active threads for one interval more. All relaxed: a
  /// store that is not to be seen after an interval would be needed for them to miss each other.
  void wake_watcher() noexcept {
    if (watcher_sleeps_.load()) wake_sleeping_watcher();
  }

  /// The watcher alone: it will sleep. False if it was woken meanwhile, or did not announce it.
  void announce_sleep(bool sleeps) noexcept { watcher_sleeps_.store(sleeps); }
  bool sleep_announced() const noexcept { return watcher_sleeps_.load(); }
  parker& watcher() noexcept { return watcher_; }

  /// How many threads the watcher has marked as stalled, for their pools to look for them.
  void announce_stalled(unsigned threads) noexcept { stalled_.store(threads); }
  unsigned stalled() const noexcept { return stalled_.load(); }

  // --- pauses -----------------------------------------------------------------------------------

  /// No thread pauses for longer than this.
  static constexpr duration longest_pause = std::chrono::milliseconds(100);

  bool pause_wanted() const noexcept { return is_wanted(pause_.load(order::relaxed)); }

  /// Pauses the calling thread, between two steps, for as long as somebody wants that, and no
  /// longer than a pause may last; once for each.
  void pause(turn_record& own) noexcept;

  /// Asks all others to pause, and waits for those that run something until they do, or most of a
  /// pause is over. One at a time; who waits for another counts as paused.
  void begin_pause(turn_record& own) noexcept;
  void end_pause() noexcept {
    pause_.fetch_add(1, order::release);
    futex_wake_all(&pause_);
  }

private:
  constexpr thread_list() = default;

  TROUPE_NOINLINE void wake_sleeping_watcher() noexcept {
    watcher_sleeps_.store(false);
    watcher_.unpark();
  }
  bool all_paused(const turn_record& but) noexcept;

  spin_lock lock_;                  // guards the list
  listed_thread* first_ = nullptr;  // linked in no order

  published<bool> watcher_sleeps_;  // it does, or will after an interval
  parker watcher_;
  published<unsigned> stalled_;  // of the watcher's last look

  static bool is_wanted(std::uint32_t word) noexcept { return word % 2 != 0; }
  void stand_still(turn_record& own, std::uint32_t word, time_point until) noexcept;

  // Even: nobody wants a pause; odd: somebody does, who owns it, and this is its number. Only
  // grows. Release of its end pairs with acquire of the next beginning. Who pauses learns of both
  // by looking: nothing else depends on it, since what is looked at meanwhile has its own locks.
  atomic<std::uint32_t> pause_{0};
  atomic<std::uint32_t> arrivals_{0};  // grows with every thread that pauses, to wake who waits
};

TROUPE_NOINLINE inline void thread_list::pause(turn_record& own) noexcept {
  const std::uint32_t word = pause_.load(order::acquire);
  if (!is_wanted(word) || word == own.last_pause) return;
  own.last_pause = word;
  stand_still(own, word, steady_now() + longest_pause);
}

/// Until the pause of that number has ended, or the time has come.
inline void thread_list::stand_still(turn_record& own, std::uint32_t word,
                                     time_point until) noexcept {
  own.paused.store(true);
  arrivals_.fetch_add(1, order::release);
  futex_wake_all(&arrivals_);
  while (pause_.load(order::acquire) == word && futex_wait_until(pause_, word, until)) {
  }
  own.paused.store(false);
}

inline bool thread_list::all_paused(const turn_record& but) noexcept {
  bool all = true;
  for_each([&](const listed_thread& t) noexcept {
    const turn_record& r = t.record;
    all = all && (&r == &but || !r.active.load() || r.paused.load());
  });
  return all;
}

inline void thread_list::begin_pause(turn_record& own) noexcept {
  std::uint32_t word = pause_.load(order::relaxed);
  while (is_wanted(word) ||
         !pause_.compare_exchange_weak(word, word + 1, order::acquire, order::relaxed)) {
    if (is_wanted(word)) stand_still(own, word, never);
    word = pause_.load(order::relaxed);
  }
  own.last_pause = word + 1;
  const time_point until = steady_now() + longest_pause * 9 / 10;
  for (;;) {
    const std::uint32_t seen = arrivals_.load(order::acquire);
    if (all_paused(own) || !futex_wait_until(arrivals_, seen, until)) return;
  }
}

/// Owns the entry of this thread; its destructor runs when the thread ends.
struct thread_list_entry {
  listed_thread thread{this_thread_state().record};

  thread_list_entry() noexcept { thread_list::instance().add(thread); }
  thread_list_entry(const thread_list_entry&) = delete;
  thread_list_entry& operator=(const thread_list_entry&) = delete;
  ~thread_list_entry() { thread_list::instance().remove(thread); }
};

#if defined(TROUPE_ATOMIC_HEADER)

// A checker has threads of its own, at which nobody looks.
inline bool begin_activity(thread_state&) noexcept { return false; }
inline void end_activity(thread_state&) noexcept {}
inline void safepoint(thread_state&) noexcept {}

#else

/// Before the first loop of a thread.
TROUPE_NOINLINE inline void list_this_thread(thread_state& state) noexcept {
  state.listed = true;  // for good: what runs while the thread is torn down is seen by nobody
  static_cast<void>(thread_owned<thread_list_entry>());
}

/// The thread runs something from now on. True if it did already.
inline bool begin_activity(thread_state& state) noexcept {
  const bool was_active = state.record.active.load();
  if (!state.listed) list_this_thread(state);
  state.record.active.store(true);
  thread_list::instance().wake_watcher();
  return was_active;
}
/// It sleeps, or leaves the library.
inline void end_activity(thread_state& state) noexcept { state.record.active.store(false); }

/// Between two steps of a loop: pauses the thread if somebody wants that.
inline void safepoint(thread_state& state) noexcept {
  thread_list& list = thread_list::instance();
  if (list.pause_wanted()) list.pause(state.record);
}

#endif

}  // namespace troupe::detail

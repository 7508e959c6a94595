// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The watch over turns that do not come to an end: one thread of the process, outside of all
/// pools.
///
/// Layer: broker. It is there while some broker wants it, looks ten times within the shortest limit
/// but no more often than every millisecond, and sleeps while no thread runs anything.
///
/// What it sees of a thread is an address and a number (coro/turn_record.hpp). It follows the
/// address only after a registry has found a cell there, with a reference, and the thread still
/// shows the same: then that turn has been running all the time, and has kept its cell where it is.

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/actor/owned_call.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/exec/thread_setup.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// A broker, as the watch sees it.
class watched_broker {
public:
  watched_broker(duration slow_turn, duration stall_limit) noexcept
      : slow_turn_(slow_turn), stall_limit_(stall_limit) {}
  watched_broker(const watched_broker&) = delete;
  watched_broker& operator=(const watched_broker&) = delete;

  /// The cell at this address, if it is one of this broker's.
  virtual intrusive_ptr<cell> cell_at(const cell* address) const noexcept = 0;

  /// Tells the user. On the watching thread, without a lock.
  virtual void report_slow(const cell& c, std::string_view method, duration lasted) noexcept = 0;

  /// Gives the cell up, which is stuck, for a new one.
  virtual void abandon(cell& c) noexcept = 0;

  duration slow_turn() const noexcept { return slow_turn_; }
  duration stall_limit() const noexcept { return stall_limit_; }
  bool wants_watch() const noexcept { return slow_turn_ != endless || stall_limit_ != endless; }

  watched_broker* next_watched = nullptr;  // the watch's

protected:
  ~watched_broker() = default;

private:
  const duration slow_turn_;    // endless: nobody is told
  const duration stall_limit_;  // endless: nothing is done about it
};

/// The watch. Static functions from any thread.
template <class Lazy = void>
class turn_watch {
public:
  /// Watches the turns of `b` until `remove`. Throws `std::system_error` if there is no thread.
  static void add(watched_broker& b) {
    shared& s = all();
    const std::lock_guard guard(s.starting);
    if (s.watch == nullptr) s.watch = new turn_watch;
    const std::lock_guard listing(s.listing);
    b.next_watched = std::exchange(s.first, &b);
  }

  /// When it returns, the watch does not touch `b`. Not from `report_slow`.
  static void remove(watched_broker& b) noexcept {
    shared& s = all();
    {
      const std::lock_guard listing(s.listing);
      watched_broker** link = &s.first;
      while (*link != &b) link = &(*link)->next_watched;
      *link = b.next_watched;
    }
    wait_for_use_of(b);
    const std::lock_guard guard(s.starting);
    if (!wanted()) delete std::exchange(s.watch, nullptr);
  }

  turn_watch() : thread_(start_thread<&turn_watch::run>(*this)) {}
  turn_watch(const turn_watch&) = delete;
  turn_watch& operator=(const turn_watch&) = delete;
  ~turn_watch() {
    stopping_.store(true, order::seq_cst);
    thread_list::instance().watcher().unpark();
    thread_.join();
  }

private:
  struct shared {
    std::mutex starting;  // taken before the other; guards `watch`
    std::mutex listing;   // guards the next two
    watched_broker* first = nullptr;
    watched_broker* in_use = nullptr;  // by the watch, which holds no lock meanwhile
    atomic<std::uint32_t> uses{0};     // grows when in_use changes, to wake who waits for that
    turn_watch* watch = nullptr;
  };
  static shared& all() noexcept {
    static constinit shared s;
    return s;
  }

  /// One turn that has gone on for too long.
  struct finding {
    turn_record* record = nullptr;  // for comparison; nullptr: nothing found
    bool is_call = false;           // in which of the record's two places
    glimpse seen;
    duration lasted{};
    bool reported = false;
  };

  /// The limits of all brokers.
  struct limits {
    duration slow = endless;
    duration stall = endless;
    duration interval() const noexcept {
      const duration tenth = (std::min)(slow, stall) / 10;
      return std::clamp<duration>(tenth, std::chrono::milliseconds(1),
                                  std::chrono::milliseconds(100));
    }
  };

  static bool wanted() noexcept {
    const std::lock_guard listing(all().listing);
    return all().first != nullptr;
  }
  void run() noexcept;
  bool look(duration elapsed) noexcept;
  finding next_finding() noexcept;
  /// What is now in the place where it was found.
  static glimpse now_at(const listed_thread& t, const finding& f) noexcept {
    return f.is_call ? glimpse::of_call(t.record) : glimpse::of_served(t.record);
  }
  static bool still_runs(const finding& f) noexcept;
  void deal_with(const finding& f) noexcept;
  void deal_with(const finding& f, watched_broker& b, cell& c) noexcept;
  template <class F>
  static void update(const finding& f, F change) noexcept;
  static void drop(const finding& f) noexcept;
  static limits shortest_limits() noexcept;
  static watched_broker* next_broker(const watched_broker* after) noexcept;
  static void use(shared& s, watched_broker* b) noexcept;
  static void wait_for_use_of(const watched_broker& b) noexcept;

  limits limits_;
  std::uint64_t look_ = 0;
  atomic<bool> stopping_{false};
  std::thread thread_;  // last: starts when all the rest is there
};

template <class Lazy>
inline typename turn_watch<Lazy>::limits turn_watch<Lazy>::shortest_limits() noexcept {
  limits shortest;
  shared& s = all();
  const std::lock_guard listing(s.listing);
  for (const watched_broker* b = s.first; b != nullptr; b = b->next_watched) {
    shortest.slow = (std::min)(shortest.slow, b->slow_turn());
    shortest.stall = (std::min)(shortest.stall, b->stall_limit());
  }
  return shortest;
}

/// Where nothing is active, it says that it will sleep, and does after one look more.
template <class Lazy>
inline void turn_watch<Lazy>::run() noexcept {
  name_this_thread("troupe", "-turns");
  thread_list& threads = thread_list::instance();
  time_point last = steady_now();
  bool was_active = true;
  while (!stopping_.load(order::seq_cst)) {
    limits_ = shortest_limits();
    const time_point now = steady_now();
    // A process that was stopped, or a machine that is overloaded, is not the turn's fault.
    const bool is_active = look((std::min)(now - last, 2 * limits_.interval()));
    last = now;
    if (!is_active && !was_active && threads.sleep_announced()) {
      threads.watcher().park();
      was_active = true;
      continue;
    }
    threads.announce_sleep(!is_active);
    was_active = is_active;
    threads.watcher().park_until(now + limits_.interval());
  }
  threads.announce_sleep(false);
}

/// True if some thread runs something.
template <class Lazy>
inline bool turn_watch<Lazy>::look(duration elapsed) noexcept {
  bool is_active = false;
  unsigned stalled = 0;
  ++look_;
  thread_list::instance().for_each([&](listed_thread& t) noexcept {
    is_active = is_active || t.record.active.load();
    t.call.look(glimpse::of_call(t.record), elapsed);
    t.served.look(glimpse::of_served(t.record), elapsed);
  });
  for (finding f = next_finding(); f.record != nullptr; f = next_finding()) deal_with(f);
  thread_list::instance().for_each([&](const listed_thread& t) noexcept {
    if (t.call.stalled || t.served.stalled) ++stalled;
  });
  thread_list::instance().announce_stalled(stalled);
  return is_active;
}

/// The innermost turn of some thread that is beyond a limit, and was not dealt with in this look.
template <class Lazy>
inline typename turn_watch<Lazy>::finding turn_watch<Lazy>::next_finding() noexcept {
  finding found;
  const auto consider = [&](listed_thread& t, turn_sighting& s) noexcept {
    if (s.seen.worker == nullptr || s.dealt_with == look_) return false;
    const bool is_slow = !s.reported && s.lasted >= limits_.slow;
    if (!is_slow && s.lasted < limits_.stall) return false;
    s.dealt_with = look_;
    found = {&t.record, &s == &t.call, s.seen, s.lasted, s.reported};
    return true;
  };
  thread_list::instance().for_each([&](listed_thread& t) noexcept {
    if (found.record != nullptr) return;
    // Beyond a limit, dealt with or not, it is what holds up the turn around it.
    const bool is_known =
        t.call.seen.worker != nullptr && t.call.lasted >= (std::min)(limits_.slow, limits_.stall);
    if (!consider(t, t.call) && !is_known) consider(t, t.served);
  });
  return found;
}

template <class Lazy>
inline bool turn_watch<Lazy>::still_runs(const finding& f) noexcept {
  bool runs = false;
  thread_list::instance().for_each([&](const listed_thread& t) noexcept {
    if (&t.record != f.record) return;
    runs = now_at(t, f) == f.seen;
  });
  return runs;
}

/// Changes what is noted of it, if that is still noted: the thread may have ended, and another one
/// have its record.
template <class Lazy>
template <class F>
void turn_watch<Lazy>::update(const finding& f, F change) noexcept {
  thread_list::instance().for_each([&](listed_thread& t) noexcept {
    turn_sighting& s = f.is_call ? t.call : t.served;
    if (&t.record == f.record && s.seen == f.seen) change(t, s);
  });
}

/// Nobody is to be told of it.
template <class Lazy>
inline void turn_watch<Lazy>::drop(const finding& f) noexcept {
  update(f, [](listed_thread&, turn_sighting& s) noexcept { s.reported = true; });
}

/// The broker behind that one in the list, in use until this is called again; `nullptr`: the first,
/// or none.
template <class Lazy>
inline watched_broker* turn_watch<Lazy>::next_broker(const watched_broker* after) noexcept {
  shared& s = all();
  const std::lock_guard listing(s.listing);
  watched_broker* next = s.first;
  if (after != nullptr) {
    while (next != nullptr && next != after) next = next->next_watched;
    if (next != nullptr) next = next->next_watched;  // else it is gone: the next look sees the rest
  }
  use(s, next);
  return next;
}

/// Under the lock of the list.
template <class Lazy>
inline void turn_watch<Lazy>::use(shared& s, watched_broker* b) noexcept {
  s.in_use = b;
  s.uses.fetch_add(1, order::release);
  futex_wake_all(&s.uses);
}

template <class Lazy>
inline void turn_watch<Lazy>::wait_for_use_of(const watched_broker& b) noexcept {
  shared& s = all();
  for (;;) {
    const std::uint32_t seen = s.uses.load(order::acquire);
    {
      const std::lock_guard listing(s.listing);
      if (s.in_use != &b) return;
    }
    futex_wait(s.uses, seen);
  }
}

template <class Lazy>
inline void turn_watch<Lazy>::deal_with(const finding& f) noexcept {
  bool found = false;
  for (watched_broker* b = next_broker(nullptr); b != nullptr && !found; b = next_broker(b)) {
    const intrusive_ptr<cell> c = b->cell_at(f.seen.worker);
    if (!c) continue;
    found = true;
    if (still_runs(f)) deal_with(f, *b, *c);
  }
  shared& s = all();
  const std::lock_guard listing(s.listing);
  use(s, nullptr);
  if (!found) drop(f);
}

/// The turn runs, or did a moment ago; the references of cell and broker keep what is touched.
template <class Lazy>
inline void turn_watch<Lazy>::deal_with(const finding& f, watched_broker& b, cell& c) noexcept {
  if (c.options().placement == placement::own_thread) return drop(f);  // it may block
  if (!f.reported && f.lasted >= b.slow_turn()) {
    update(f, [](listed_thread&, turn_sighting& s) noexcept { s.reported = true; });
    b.report_slow(c, *f.seen.method, f.lasted);
  }
  if (f.lasted < b.stall_limit() || !still_runs(f)) return;
  update(f, [&f](listed_thread& t, turn_sighting& s) noexcept {
    if (now_at(t, f) != f.seen) return;
    if (!std::exchange(s.stalled, true)) t.record.stalled.store(true);
  });
  c.refuse_waiting(errc::worker_stalled, &is_owned);
  owned_call::settle_stalled(c);
  const actor_options& options = c.options();
  if (options.abandon_stalled && options.reentrancy != reentrancy::interleaved) b.abandon(c);
}

}  // namespace troupe::detail

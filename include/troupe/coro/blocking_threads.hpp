// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A growable set of threads for code that blocks (`offload`).
///
/// Layer: coro. `run` may allocate and may start a thread.

#include <cstddef>
#include <list>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/parker.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Threads that are started as work comes, up to a limit, and end after a time without any.
/// Beyond the limit work waits, in order.
///
/// Thread safety: `run` from any thread. The destructor waits for work that runs or waits.
class blocking_threads {
public:
  static constexpr std::size_t max_threads = 512;
  static constexpr duration idle_time = std::chrono::seconds(5);

  blocking_threads() = default;
  /// A member without work for as long as `idle` ends.
  explicit blocking_threads(duration idle, std::size_t most = max_threads)
      : idle_limit_(idle), most_(most) {}
  blocking_threads(const blocking_threads&) = delete;
  blocking_threads& operator=(const blocking_threads&) = delete;
  ~blocking_threads() { stop(); }

  /// Runs `r` on one of the threads. Throws `std::system_error` if none exists nor can be started.
  void run(runnable& r);

private:
  struct member {
    parker idle;
    runnable* work = nullptr;  // given by `run` to an idle member
    bool waiting = false;      // idle, and in idle_
    bool counted = false;      // in count_, or it was
    bool ended = false;        // its function has returned, or is about to
    bool known = false;        // `thread` is written, or there is none: it may be joined
    blocking_threads* owner = nullptr;
    std::thread thread;

    void run() noexcept { owner->loop(*this, std::exchange(work, nullptr)); }
  };

  void start(runnable& r);
  /// Its thread is there, and runs for certain: whoever of the two sees that first, the one that
  /// has started it or itself. The lock is held.
  void count(member& m) noexcept {
    if (std::exchange(m.counted, true)) return;
    --starting_;
    ++count_;
  }
  void give(member& m, runnable& r) noexcept {  // to the last of idle_; the lock is held
    idle_.pop_back();
    m.waiting = false;
    m.work = &r;
  }
  void loop(member& self, runnable* work) noexcept;
  runnable* next_work(member& self) noexcept;
  void join_ended();
  void stop() noexcept;

  const duration idle_limit_ = idle_time;
  const std::size_t most_ = max_threads;  // threads; not zero
  spin_lock lock_;                        // guards all below
  std::list<member> members_;             // addresses stay
  std::vector<member*> idle_;             // room for all members is kept
  forward_queue<runnable, &runnable::next> waiting_;
  std::size_t count_ = 0;     // threads that were started and have not ended
  std::size_t starting_ = 0;  // calls of `start` whose thread is not there yet
  bool stopping_ = false;
};

inline void blocking_threads::run(runnable& r) {
  lock_.lock();
  // As many as there may be are just being started, and each of them may fail: nobody is there yet
  // to leave work to. Soon one is, or none is started.
  while (count_ == 0 && starting_ >= most_) {
    lock_.unlock();
    std::this_thread::yield();
    lock_.lock();
  }
  if (!idle_.empty()) {
    member* const m = idle_.back();
    give(*m, r);
    lock_.unlock();
    m->idle.unpark();
    return;
  }
  if (count_ + starting_ >= most_) {
    waiting_.push_back(r);
    lock_.unlock();
    return;
  }
  ++starting_;
  lock_.unlock();
  start(r);
}

inline void blocking_threads::start(runnable& r) {
  join_ended();
  std::list<member> fresh;
  try {
    fresh.emplace_back();
    lock_.lock();
    try {
      idle_.reserve(members_.size() + 1);
    } catch (...) {
      lock_.unlock();
      throw;
    }
    members_.splice(members_.end(), fresh);
    member& m = members_.back();
    m.waiting = false;
    lock_.unlock();
    try {
      m.owner = this;
      m.work = &r;
      m.thread = start_thread<&member::run>(m);
    } catch (...) {
      const spin_guard guard(lock_);
      m.ended = m.known = true;
      throw;
    }
    // The thread may have come to its end before its handle is written: nobody joins it until then.
    const spin_guard guard(lock_);
    m.known = true;
    count(m);
  } catch (...) {
    lock_.lock();
    --starting_;
    // Others that start a thread now may fail as well: they are nobody to leave work to. They soon
    // know.
    while (count_ == 0 && starting_ != 0) {
      lock_.unlock();
      std::this_thread::yield();
      lock_.lock();
    }
    const bool somebody = count_ != 0;
    member* const idle = idle_.empty() ? nullptr : idle_.back();
    if (idle != nullptr) {
      give(*idle, r);
    } else if (somebody) {
      waiting_.push_back(r);  // one of the others takes it when it is done
    }
    lock_.unlock();
    if (idle != nullptr) idle->idle.unpark();
    if (!somebody) throw;
  }
}

inline void blocking_threads::loop(member& self, runnable* work) noexcept {
  lock_.lock();
  count(self);
  lock_.unlock();
  while (work != nullptr) {
    run_step(this_thread_state(), *work);
    work = next_work(self);
  }
}

/// The next work for this thread; `nullptr` ends it.
inline runnable* blocking_threads::next_work(member& self) noexcept {
  lock_.lock();
  if (!waiting_.empty()) {
    runnable* const r = waiting_.pop_front();
    lock_.unlock();
    return r;
  }
  if (!stopping_) {
    self.waiting = true;
    idle_.push_back(&self);
    lock_.unlock();
    const time_point until = saturating_add(steady_now(), idle_limit_);
    for (;;) {
      const bool was_woken = self.idle.park_until(until);
      lock_.lock();
      if (!self.waiting) {  // `run` took it out of idle_, or `stop` did
        // By its time, and just now: whoever took it out is about to wake it. That is waited for,
        // because nothing else keeps the parker until then.
        if (!was_woken) {
          lock_.unlock();
          self.idle.park();
          lock_.lock();
        }
        if (runnable* const r = self.work) {
          self.work = nullptr;
          lock_.unlock();
          return r;
        }
        break;
      }
      if (steady_now() >= until) {
        std::erase(idle_, &self);
        break;
      }
      lock_.unlock();
    }
  }
  self.ended = true;
  --count_;
  lock_.unlock();
  return nullptr;
}

/// Joins the threads that have ended by themselves.
inline void blocking_threads::join_ended() {
  std::list<member> ended;
  lock_.lock();
  for (auto m = members_.begin(); m != members_.end();) {
    const auto current = m++;
    if (current->ended && current->known) ended.splice(ended.end(), members_, current);
  }
  lock_.unlock();
  for (member& m : ended) {
    if (m.thread.joinable()) m.thread.join();
  }
}

inline void blocking_threads::stop() noexcept {
  lock_.lock();
  stopping_ = true;
  for (member* m : idle_) {
    m->waiting = false;
    m->idle.unpark();
  }
  idle_.clear();
  lock_.unlock();
  for (member& m : members_) {
    if (m.thread.joinable()) m.thread.join();
  }
}

}  // namespace troupe::detail

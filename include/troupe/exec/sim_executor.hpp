// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sim_executor`: the executor for tests. One thread, virtual time, and an order that is drawn
/// from a seed: a run is a function of its seed, bit for bit.
///
/// Layer: exec. The list of what is ready grows as needed; `post` ends the program where that
/// fails. Nothing depends on addresses, on the real clock or on other threads.
///
/// What is ready at one moment may run in any order, all orders equally likely, so that many seeds
/// show what many schedules of real threads would. Time stands still while anything is ready, and
/// jumps to the next timer when nothing is.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How a simulation is made.
struct sim_options {
  std::uint64_t seed = 1;  ///< Every choice and every random number follows from it.
  /// Virtual threads. With one, a coroutine goes on as soon as what it awaited has ended, as on a
  /// thread that is not held up; with more, others may run in between.
  unsigned threads = 1;
  bool buggify = false;  ///< The virtual threads are held up now and then: timers fire late.
};

static_assert(std::is_trivially_destructible_v<sim_options>,
              "it may stand in an awaited expression (docs/compilers.md)");

namespace detail {

/// What is ready, and where it runs.
struct sim_step {
  runnable* what;
  bool may_block;  // it stands for a thread of its own, not for a step of the loop
};

class sim_thread;

/// The root of one `run`. It outlives a run that ended in a deadlock: coroutines that have started
/// cannot be destroyed.
class sim_root : public pooled {
public:
  explicit sim_root(executor& e) noexcept : link(e), set_done(done) { link.make_stoppable(); }
  sim_root(const sim_root&) = delete;
  sim_root& operator=(const sim_root&) = delete;
  virtual ~sim_root() = default;

  /// Leaves a root that is stuck to the end of the program, where leak checkers find it.
  static void abandon(sim_root& root) noexcept {
    static constinit atomic<sim_root*> newest{nullptr};
    root.next_ = newest.load(order::relaxed);
    while (!newest.compare_exchange_weak(root.next_, &root, order::release, order::relaxed)) {
    }
  }

  bool done = false;
  root_link link;
  root_done set_done;

private:
  sim_root* next_ = nullptr;  // abandoned before this one
};

template <class T>
class sim_root_of final : public sim_root {
public:
  sim_root_of(executor& e, task<T> t) : sim_root(e), task_(t.release()) {
    frame& f = task_.promise();
    task_.promise().result = &result;
    f.where = &e;
    f.chain = &link;
    f.then = &set_done;
  }

  frame& coroutine() noexcept { return task_.promise(); }

  result_slot<T> result;

private:
  started_task<T> task_;
};

}  // namespace detail

/// Runs coroutines on the thread that made it, while that thread is inside `run`, `advance`,
/// `sync_wait` or a destructor that waits.
///
/// `offload` and the threads of `own_thread` workers are simulated too: what they run are further
/// steps of the loop. Such a step may block in `sync_wait`; the loop then runs on top of it, so it
/// goes on only after what was started on top of it and blocks as well.
///
/// While it lives, this thread's `sync_wait`s drive it. One per thread at a time.
///
/// Thread safety: none; all on the thread that made it (asserted).
class sim_executor final : public executor {
public:
  explicit sim_executor(sim_options options = {});
  sim_executor(const sim_executor&) = delete;
  sim_executor& operator=(const sim_executor&) = delete;

  /// Runs what is still ready, without moving time.
  ~sim_executor() override;

  /// Runs `root` to its end and gives its result or throws its exception.
  ///
  /// Where nothing is ready, no timer is armed and `root` has not ended, it is asked to stop; then
  /// this throws `errc::deadlock`, which names the seed. Coroutines that do not heed the stop are
  /// left suspended for good.
  template <class T>
  T run(task<T> root);

  /// Moves time forward by `d`: runs what is ready, and all that becomes due on the way, in order.
  void advance(duration d);

  /// The seed it was made with.
  [[nodiscard]] std::uint64_t seed() const noexcept { return options_.seed; }

  /// A hash of all choices so far: equal runs have equal traces.
  [[nodiscard]] std::uint64_t trace_hash() const noexcept { return trace_; }

  /// How many steps have run.
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }

  /// Now and then true, where the options ask for it: for code under test that can do something
  /// rare and allowed, such as being slow.
  [[nodiscard]] bool buggify() noexcept { return options_.buggify && choose(buggify_odds) == 0; }

  void post(runnable& r) noexcept override { add(r, false); }
  void resume(runnable& r) noexcept override;
  bool others_wait() const noexcept override;

  /// Virtual; starts an hour after the epoch of the clock.
  time_point now() const noexcept override { return now_; }
  std::uint64_t random() noexcept override { return splitmix64(numbers_); }
  void wake_at(time_point) noexcept override {}  // the loop looks at the timers itself

  /// A deadlock in here ends the program, with a message that names the seed.
  void drive(waiter& w) noexcept override;
  bool driven_by_waiting() const noexcept override { return true; }

  void offload(runnable& r) override { add(r, true); }
  home& begin_thread() override;
  void end_thread(home& h) noexcept override;

private:
  friend class detail::sim_thread;
  class in_loop;

  static constexpr std::uint64_t buggify_odds = 64;
  static constexpr std::uint64_t longest_delay = 10'000'000;  // of a virtual thread held up, in ns

  void add(runnable& r, bool may_block) noexcept;
  std::uint64_t choose(std::uint64_t count) const noexcept;
  void step() noexcept;
  void run_ready() noexcept;
  void move_to(time_point t) noexcept;
  template <class Done>
  bool run_until(Done done) noexcept;
  [[noreturn]] void fail_run(detail::sim_root* root);

  const sim_options options_;
  detail::thread_state& thread_;           // of the thread that made it
  time_point now_{std::chrono::hours(1)};  // not the epoch: code may take that for "unset"
  mutable std::uint64_t choices_;          // of splitmix64, for the order ...
  std::uint64_t numbers_;                  // ... and for the users, so neither changes the other
  mutable std::uint64_t trace_;
  std::uint64_t steps_ = 0;
  std::vector<detail::sim_step> ready_;
  std::vector<std::unique_ptr<detail::sim_thread>> threads_;
};

namespace detail {

/// A thread of its own, simulated: runs what is posted to it, in order, as steps of the loop.
class sim_thread final : public home, public runnable {
public:
  explicit sim_thread(sim_executor& sim) noexcept : runnable(&sim_thread::run_one), sim_(sim) {}

  void post(runnable& r) noexcept override {
    waiting_.push_back(r);
    if (std::exchange(scheduled_, true)) return;
    sim_.add(*this, true);
  }
  executor& base() noexcept override { return sim_; }

  /// True if there is nothing left to run.
  bool end() noexcept {
    ending_ = true;
    return !scheduled_;
  }

private:
  static void run_one(runnable& r) noexcept {
    sim_thread& self = static_cast<sim_thread&>(r);
    thread_state& state = this_thread_state();
    state.loop = &self;
    state.may_block = true;
    run_step(state, *self.waiting_.pop_front());
    if (!self.waiting_.empty()) return self.sim_.add(self, true);
    self.scheduled_ = false;
    if (self.ending_) self.sim_.end_thread(self);
  }

  sim_executor& sim_;
  forward_queue<runnable, &runnable::next> waiting_;
  bool scheduled_ = false;  // ready, or running: one at a time, also where it blocks
  bool ending_ = false;     // given back; goes when it is no longer scheduled
};

}  // namespace detail

/// While it stands, this thread runs the loop; afterwards what it did before.
class sim_executor::in_loop {
public:
  explicit in_loop(sim_executor& sim) noexcept
      : state_(sim.thread_),
        loop_(std::exchange(state_.loop, &sim)),
        running_(std::exchange(state_.running, nullptr)),
        plain_turn_(std::exchange(state_.plain_turn, nullptr)),
        blocking_(std::exchange(state_.blocking, nullptr)),
        may_block_(std::exchange(state_.may_block, false)),
        first_(std::exchange(state_.next_first, nullptr)),
        last_(std::exchange(state_.next_last, nullptr)) {
    TROUPE_ASSERT(&detail::this_thread_state() == &state_,
                  "a sim_executor is driven by the thread that made it");
  }
  in_loop(const in_loop&) = delete;
  in_loop& operator=(const in_loop&) = delete;
  ~in_loop() {
    state_.loop = loop_;
    state_.running = running_;
    state_.plain_turn = plain_turn_;
    state_.blocking = blocking_;
    state_.may_block = may_block_;
    state_.next_first = first_;
    state_.next_last = last_;
  }

private:
  detail::thread_state& state_;
  home* const loop_;
  detail::frame* const running_;
  detail::cell* const plain_turn_;
  detail::chain_link* const blocking_;
  const bool may_block_;
  runnable* const first_;
  runnable* const last_;
};

inline sim_executor::sim_executor(sim_options options)
    : options_(options),
      thread_(detail::this_thread_state()),
      choices_(hash_combine(options.seed, 1)),
      numbers_(hash_combine(options.seed, 2)),
      trace_(options.seed) {
  TROUPE_ASSERT(thread_.bound == nullptr, "a thread has one sim_executor at a time");
  constexpr std::size_t usual_room = 256;
  ready_.reserve(usual_room);
  thread_.bound = this;
}

inline sim_executor::~sim_executor() {
  {
    const in_loop loop(*this);
    run_ready();
  }
  thread_.bound = nullptr;
}

inline void sim_executor::add(runnable& r, bool may_block) noexcept {
  TROUPE_ASSERT(&detail::this_thread_state() == &thread_,
                "a sim_executor is used by the thread that made it alone");
  ready_.push_back({&r, may_block});
}

/// A number below `count`, drawn from the seed.
inline std::uint64_t sim_executor::choose(std::uint64_t count) const noexcept {
  const std::uint64_t chosen = splitmix64(choices_) % count;
  trace_ = hash_combine(hash_combine(trace_, count), chosen);
  return chosen;
}

inline void sim_executor::resume(runnable& r) noexcept {
  if (options_.threads > 1) return post(r);
  home::resume(r);
}

/// A coroutine that could go on asks this now and then: a coin decides whether it is held up.
inline bool sim_executor::others_wait() const noexcept {
  if (ready_.empty() && thread_.next_first == nullptr) return false;
  return choose(2) == 0;
}

/// Runs one of those that are ready.
inline void sim_executor::step() noexcept {
  const auto chosen = static_cast<std::size_t>(choose(ready_.size()));
  const detail::sim_step next = ready_[chosen];
  ready_[chosen] = ready_.back();
  ready_.pop_back();
  ++steps_;
  if (!next.may_block) return detail::run_step(thread_, *next.what);
  thread_.loop = nullptr;
  detail::run_step(thread_, *next.what);
  thread_.loop = this;
  thread_.may_block = false;
}

inline void sim_executor::run_ready() noexcept {
  while (!ready_.empty()) {
    if (buggify()) move_to(now_ + duration(choose(longest_delay)));
    step();
  }
}

/// Time does not go back: a thread that was held up may have come past `t`.
inline void sim_executor::move_to(time_point t) noexcept {
  if (t > now_) now_ = t;
  trace_ = hash_combine(trace_, static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  fire_timers();
}

/// False if it came to a deadlock.
template <class Done>
bool sim_executor::run_until(Done done) noexcept {
  const in_loop loop(*this);
  while (!done()) {
    if (!ready_.empty()) {
      if (buggify()) move_to(now_ + duration(choose(longest_delay)));
      step();
      continue;
    }
    const time_point next = next_timer();
    if (next == never) return false;
    move_to(next);
  }
  return true;
}

template <class T>
T sim_executor::run(task<T> t) {
  detail::refuse_to_block();
  auto root = std::make_unique<detail::sim_root_of<T>>(*this, std::move(t));
  post(root->coroutine());
  if (!run_until([&done = root->done]() noexcept { return done; })) fail_run(root.release());
  return root->result.take();
}

[[noreturn]] inline void sim_executor::fail_run(detail::sim_root* root) {
  const std::string told = "nothing is ready and no timer is armed (seed " +
                           std::to_string(seed()) + ", step " + std::to_string(steps_) + ')';
  root->link.request_stop();
  if (run_until([&done = root->done]() noexcept { return done; })) {
    delete root;
  } else {
    detail::sim_root::abandon(*root);
  }
  throw error(errc::deadlock, worker_id{}, told);
}

inline void sim_executor::advance(duration d) {
  detail::refuse_to_block();
  const in_loop loop(*this);
  const time_point target = saturating_add(now_, d);
  run_ready();
  for (time_point next = next_timer(); next <= target && next != never; next = next_timer()) {
    move_to(next);
    run_ready();
  }
  move_to(target);
  run_ready();
}

inline void sim_executor::drive(waiter& w) noexcept {
  if (run_until([&w]() noexcept { return w.done(); })) return;
  std::fprintf(stderr,
               "troupe: deadlock: nothing is ready and no timer is armed (seed %llu, step %llu)\n",
               static_cast<unsigned long long>(seed()), static_cast<unsigned long long>(steps_));
  std::fflush(stderr);
  std::abort();
}

inline home& sim_executor::begin_thread() {
  threads_.push_back(std::make_unique<detail::sim_thread>(*this));
  return *threads_.back();
}

inline void sim_executor::end_thread(home& h) noexcept {
  auto& thread = static_cast<detail::sim_thread&>(h);
  if (!thread.end()) return;
  std::erase_if(threads_, [&thread](const auto& owned) { return owned.get() == &thread; });
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sim_executor`: the executor for tests. One thread, virtual time, and an order that is drawn
/// from a seed: a run is a function of its seed, bit for bit.
///
/// Layer: exec. The list of what is ready grows as needed; `post` ends the program where that
/// fails. Nothing depends on addresses, on the real clock or on other threads.
///
/// What is ready at one moment may run in any order, and every await is a place where others may
/// go first, so that many seeds show what many schedules of real threads would. Time stands still
/// while anything is ready, and jumps to the next timer when nothing is.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/exec/sim_options.hpp>
#include <troupe/exec/sim_schedule.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

namespace detail {
template <class Lazy>
class sim_thread;
}

/// Runs coroutines on the thread that made it, while that thread is inside `run`, `advance`,
/// `sync_wait` or a destructor that waits.
///
/// `offload` and the threads of `own_thread` workers are simulated too: what they run are further
/// steps of the loop. Such a step may block in `sync_wait`; the loop then runs on top of it, so it
/// goes on only after what was started on top of it and blocks as well.
///
/// Where nothing is ready, no timer is armed and somebody waits all the same, who waits is asked to
/// stop; then `run`, `sync_wait` or `broker::run` throws `errc::deadlock`, which names the seed and
/// what waits. Coroutines that do not heed the stop are left suspended for good.
///
/// While it lives, this thread's `sync_wait`s drive it. One per thread at a time.
///
/// Thread safety: none; all on the thread that made it (asserted).
template <class Lazy>
class basic_sim_executor final : public executor, private detail::simulation {
public:
  explicit basic_sim_executor(sim_options options = {});
  basic_sim_executor(const basic_sim_executor&) = delete;
  basic_sim_executor& operator=(const basic_sim_executor&) = delete;

  /// Runs what is still ready, without moving time.
  ~basic_sim_executor() override;

  /// Runs `root` to its end and gives its result or throws its exception.
  template <class T>
  T run(task<T> root) {
    detail::refuse_to_block();
    return detail::block_driven(std::move(root), *this);
  }

  /// Moves time forward by `d`: runs what is ready, and all that becomes due on the way, in order.
  void advance(duration d);

  /// The seed it was made with.
  [[nodiscard]] std::uint64_t seed() const noexcept { return options_.seed; }

  /// A hash of all choices so far: equal runs have equal traces.
  [[nodiscard]] std::uint64_t trace_hash() const noexcept { return schedule_.trace(); }

  /// How many steps have run.
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }

  /// Now and then true, where the options ask for it: for code under test that can do something
  /// rare and allowed, such as being slow. `TROUPE_BUGGIFY` needs no executor at hand.
  [[nodiscard]] bool buggify() noexcept {
    return options_.buggify && schedule_.choose(buggify_odds) == 0;
  }

  /// What failed first among the things that only `sim_expect` saw; nothing, if empty.
  [[nodiscard]] const std::exception_ptr& failure() const noexcept { return failure_; }

  void post(runnable& r) noexcept override {
    check_thread();
    schedule_.add(r);
  }
  void resume(runnable& r) noexcept override;
  void fork(runnable& r) noexcept override {
    check_thread();
    schedule_.add_apart(r);
  }
  void yield(runnable& r) noexcept override {
    check_thread();
    schedule_.add_behind(r);
  }
  bool others_wait() const noexcept override;

  /// Virtual; starts an hour after the epoch of the clock.
  time_point now() const noexcept override { return now_; }
  /// Virtual too; goes with `now`, from `sim_options::date` on.
  wall_time wall_now() const noexcept override {
    return options_.date + (now_ - first_moment) + calendar_shift_;
  }
  /// Somebody sets the calendar's clock forward, or back.
  void set_calendar_by(duration d) noexcept { calendar_shift_ += d; }
  std::uint64_t random() noexcept override { return splitmix64(numbers_); }
  void wake_at(time_point) noexcept override {}  // the loop looks at the timers itself

  void drive(waiter& w) noexcept override;
  std::exception_ptr stuck() noexcept override;
  bool driven_by_waiting() const noexcept override { return true; }
  detail::simulation* simulated() noexcept override { return this; }

  void offload(runnable& r) override {
    check_thread();
    schedule_.add_blocking(r, blocking_threads_[offloaded_++ % blocking_count]);
  }
  home& begin_thread() override;
  void end_thread(home& h) noexcept override;

private:
  friend class detail::sim_thread<Lazy>;
  class in_loop;

  /// Not the epoch: code may take that for "unset".
  static constexpr time_point first_moment{std::chrono::hours(1)};
  static constexpr std::uint64_t buggify_odds = 64;
  static constexpr std::uint64_t longest_delay = 10'000'000;  // of a virtual thread held up, in ns
  static constexpr std::size_t blocking_count = 4;            // virtual threads for `offload`

  detail::hold_up hold_up_call() noexcept override;
  bool fault_fires(std::uint64_t point) noexcept override;
  void note_failure(std::exception_ptr e) noexcept override {
    if (!failure_) failure_ = std::move(e);
  }
  void add_witness(detail::witness& w) noexcept override { witnesses_.push_back(w); }
  void remove_witness(detail::witness& w) noexcept override { witnesses_.remove(w); }

  void check_thread() const noexcept {
    TROUPE_ASSERT(&detail::this_thread_state() == &thread_,
                  "a sim_executor is used by the thread that made it alone");
  }
  void add_blocking(runnable& r, std::uint32_t thread) noexcept {
    check_thread();
    schedule_.add_blocking(r, thread);
  }
  void step() noexcept;
  void run_ready() noexcept;
  void move_to(time_point t) noexcept;
  std::string account();

  const sim_options options_;
  detail::thread_state& thread_;  // of the thread that made it
  time_point now_ = first_moment;
  duration calendar_shift_{};
  std::uint64_t numbers_;  // for the users: does not change the order
  mutable detail::sim_schedule<Lazy> schedule_;
  std::uint64_t steps_ = 0;
  std::uint64_t step_limit_;
  std::uint32_t blocking_threads_[blocking_count];
  std::size_t offloaded_ = 0;
  std::vector<std::unique_ptr<detail::sim_thread<Lazy>>> threads_;
  intrusive_list<detail::witness> witnesses_;
  std::exception_ptr failure_;
  const waiter* innermost_ = nullptr;  // that is driven for, and what was before it ...
  bool held_by_stack_ = false;         // ... could go on when nothing else could
  bool over_limit_ = false;
};

namespace detail {

/// A thread of its own, simulated: runs what is posted to it, in order, as steps of the loop.
template <class Lazy>
class sim_thread final : public home, public runnable {
public:
  sim_thread(basic_sim_executor<Lazy>& sim, std::uint32_t number) noexcept
      : runnable(&sim_thread::run_one), sim_(sim), number_(number) {}

  void post(runnable& r) noexcept override {
    waiting_.push_back(r);
    if (std::exchange(scheduled_, true)) return;
    sim_.add_blocking(*this, number_);
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
    if (!self.waiting_.empty()) return self.sim_.add_blocking(self, self.number_);
    self.scheduled_ = false;
    if (self.ending_) self.sim_.end_thread(self);
  }

  basic_sim_executor<Lazy>& sim_;
  const std::uint32_t number_;  // of its virtual thread
  forward_queue<runnable, &runnable::next> waiting_;
  bool scheduled_ = false;  // ready, or running: one at a time, also where it blocks
  bool ending_ = false;     // given back; goes when it is no longer scheduled
};

}  // namespace detail

/// While it stands, this thread runs the loop; afterwards what it did before.
template <class Lazy>
class basic_sim_executor<Lazy>::in_loop {
public:
  explicit in_loop(basic_sim_executor& sim) noexcept
      : state_(sim.thread_),
        loop_(std::exchange(state_.loop, &sim)),
        running_(std::exchange(state_.running, nullptr)),
        plain_turn_(std::exchange(state_.plain_turn, nullptr)),
        blocking_(std::exchange(state_.blocking, nullptr)),
        may_block_(std::exchange(state_.may_block, false)),
        first_(std::exchange(state_.next_first, nullptr)),
        last_(std::exchange(state_.next_last, nullptr)),
        record_(state_.record) {
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
  const detail::shelved_record record_;
};

template <class Lazy>
inline basic_sim_executor<Lazy>::basic_sim_executor(sim_options options)
    : options_(options),
      thread_(detail::this_thread_state()),
      numbers_(hash_combine(options.seed, 2)),
      schedule_(options),
      step_limit_(options.max_steps) {
  TROUPE_ASSERT(thread_.bound == nullptr, "a thread has one sim_executor at a time");
  for (std::uint32_t& thread : blocking_threads_) thread = schedule_.begin_thread();
  thread_.bound = this;
  thread_.budget = 0;  // every await asks `others_wait`
}

template <class Lazy>
inline basic_sim_executor<Lazy>::~basic_sim_executor() {
  {
    const in_loop loop(*this);
    run_ready();
  }
  thread_.budget = detail::run_budget;
  thread_.bound = nullptr;
}

template <class Lazy>
inline void basic_sim_executor<Lazy>::resume(runnable& r) noexcept {
  if (options_.threads > 1) return post(r);
  home::resume(r);
}

/// A coroutine that could go on asks this at every await.
template <class Lazy>
inline bool basic_sim_executor<Lazy>::others_wait() const noexcept {
  return schedule_.preempts(schedule_.empty() && thread_.next_first == nullptr);
}

template <class Lazy>
inline detail::hold_up basic_sim_executor<Lazy>::hold_up_call() noexcept {
  constexpr detail::hold_up ways[] = {detail::hold_up::in_line, detail::hold_up::contended,
                                      detail::hold_up::afterwards};
  return ways[schedule_.choose(3)];
}

/// Which points are enabled in a run does not depend on when they are reached.
template <class Lazy>
inline bool basic_sim_executor<Lazy>::fault_fires(std::uint64_t point) noexcept {
  constexpr std::uint64_t odds = 4;
  if (!options_.buggify) return false;
  if (hash_combine(hash_combine(options_.seed, 3), point) % odds != 0) return false;
  return schedule_.choose(odds) == 0;
}

/// Runs one of those that are ready.
template <class Lazy>
inline void basic_sim_executor<Lazy>::step() noexcept {
  const detail::sim_step next = schedule_.take();
  ++steps_;
  if (!next.may_block) return detail::run_step(thread_, *next.what);
  thread_.loop = nullptr;
  detail::run_step(thread_, *next.what);
  thread_.loop = this;
  thread_.may_block = false;
}

template <class Lazy>
inline void basic_sim_executor<Lazy>::run_ready() noexcept {
  while (!schedule_.empty()) {
    if (buggify()) move_to(now_ + duration(schedule_.choose(longest_delay)));
    step();
  }
}

/// Time does not go back: a thread that was held up may have come past `t`.
template <class Lazy>
inline void basic_sim_executor<Lazy>::move_to(time_point t) noexcept {
  if (t > now_) now_ = t;
  schedule_.note(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  fire_timers();
}

template <class Lazy>
inline void basic_sim_executor<Lazy>::advance(duration d) {
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

/// Returns too early where nothing can run any more.
template <class Lazy>
inline void basic_sim_executor<Lazy>::drive(waiter& w) noexcept {
  const in_loop loop(*this);
  const std::uint32_t below = schedule_.current();
  const waiter* const outer = std::exchange(innermost_, &w);
  while (!w.done()) {
    if (step_limit_ != 0 && steps_ >= step_limit_) {
      over_limit_ = true;
      step_limit_ += options_.max_steps;  // for what ends it
      break;
    }
    if (!schedule_.empty()) {
      if (buggify()) move_to(now_ + duration(schedule_.choose(longest_delay)));
      step();
      continue;
    }
    const time_point next = next_timer();
    if (next == never) {
      held_by_stack_ = outer != nullptr && outer->done();
      break;
    }
    move_to(next);
  }
  innermost_ = outer;
  schedule_.return_to(below);
}

template <class Lazy>
inline std::exception_ptr basic_sim_executor<Lazy>::stuck() noexcept try {
  return std::make_exception_ptr(error(errc::deadlock, worker_id{}, account()));
} catch (...) {
  return std::current_exception();
}

/// What the run has come to, for people.
template <class Lazy>
inline std::string basic_sim_executor<Lazy>::account() {
  std::string text = over_limit_ ? "the run takes more steps than its limit"
                                 : "nothing is ready and no timer is armed";
  text += " (seed " + std::to_string(seed()) + ", step " + std::to_string(steps_) + ')';
  if (held_by_stack_) {
    text +=
        "; a step that blocked before could go on, but the simulator goes on only with the one "
        "that blocked last (docs/simulation.md)";
  }
  for (const detail::witness& w : witnesses_) {
    text += '\n';
    w.testify(text);
  }
  return text;
}

template <class Lazy>
inline home& basic_sim_executor<Lazy>::begin_thread() {
  threads_.push_back(std::make_unique<detail::sim_thread<Lazy>>(*this, schedule_.begin_thread()));
  return *threads_.back();
}

template <class Lazy>
inline void basic_sim_executor<Lazy>::end_thread(home& h) noexcept {
  auto& thread = static_cast<detail::sim_thread<Lazy>&>(h);
  if (!thread.end()) return;
  std::erase_if(threads_, [&thread](const auto& owned) { return owned.get() == &thread; });
}

/// The one instance that programs use; docs/compilers.md says why it is one of a template.
using sim_executor = basic_sim_executor<void>;

}  // namespace troupe

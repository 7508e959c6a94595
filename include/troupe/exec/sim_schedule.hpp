// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The choices of a simulation: what is ready on which virtual thread, and which of it runs next.
///
/// Layer: exec. The list of what is ready grows as needed; `add` ends the program where that fails.
/// Nothing here depends on an address: two runs that make the same calls get the same answers.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/exec/sim_options.hpp>

namespace troupe::detail {

/// What is ready, and where it runs.
struct sim_step {
  runnable* what;
  std::uint32_t thread;
  bool may_block;  // it stands for a thread of its own, not for a step of the loop
};

/// Draws everything from a seed, and hashes what it has drawn.
///
/// What a step makes ready is ready on its own virtual thread, or now and then on another one, as
/// if that had stolen it; what runs beside the step, on any. Which one matters to `pct` alone.
template <class Lazy = void>
class sim_schedule {
public:
  explicit sim_schedule(const sim_options& options);

  /// A number below `count`, drawn from the seed.
  std::uint64_t choose(std::uint64_t count) noexcept {
    const std::uint64_t chosen = splitmix64(choices_) % count;
    note(hash_combine(count, chosen));
    return chosen;
  }
  /// Makes `what` part of the trace.
  void note(std::uint64_t what) noexcept { trace_ = hash_combine(trace_, what); }
  std::uint64_t trace() const noexcept { return trace_; }

  /// A further virtual thread, for what may block.
  std::uint32_t begin_thread();

  bool empty() const noexcept { return ready_.empty(); }
  std::size_t size() const noexcept { return ready_.size(); }

  void add(runnable& r) noexcept { ready_.push_back({&r, nearby(), false}); }
  void add_apart(runnable& r) noexcept { ready_.push_back({&r, any(), false}); }
  void add_blocking(runnable& r, std::uint32_t thread) noexcept {
    ready_.push_back({&r, thread, true});
  }
  /// `r` has said that others go first, unless `preempts` has made it do so.
  void add_behind(runnable& r) noexcept;

  /// The next step; there is one. Its thread is the current one from now on.
  sim_step take() noexcept;

  std::uint32_t current() const noexcept { return current_; }
  /// Goes back to a step that others have run on top of.
  void return_to(std::uint32_t thread) noexcept { current_ = thread; }

  /// True if others go first, now that the step under way could be held up. `alone`: nothing else
  /// is ready.
  bool preempts(bool alone) noexcept;

private:
  static constexpr std::uint64_t theft_odds = 4;  // one of so many lands on any thread
  static constexpr std::uint64_t alone_odds = 8;  // held up for no visible reason
  static constexpr std::uint64_t hold_odds = 4;
  static constexpr std::uint64_t falling = std::uint64_t{1} << 63;

  std::uint32_t any() noexcept { return static_cast<std::uint32_t>(choose(threads_)); }
  std::uint32_t nearby() noexcept {
    const bool stays = current_ < threads_ && (!uses_priorities() || choose(theft_odds) != 0);
    return stays ? current_ : any();
  }
  bool uses_priorities() const noexcept { return strategy_ == sim_strategy::pct; }
  std::uint64_t draw_priority() noexcept { return splitmix64(choices_) | falling; }
  /// Lower than all others, also than those that have fallen before.
  void fall(std::uint32_t thread) noexcept { priorities_[thread] = --lowest_; }
  void draw_change_points();
  bool count_event() noexcept;
  std::size_t choose_by_priority() noexcept;

  const std::uint32_t threads_;
  const unsigned change_points_;
  std::uint64_t choices_;  // state of splitmix64
  std::uint64_t trace_;
  sim_strategy strategy_;
  std::uint64_t holds_;  // a step is held up so many times in `hold_odds`
  std::uint32_t current_ = 0;
  bool preempted_ = false;
  std::vector<put_off<sim_step, Lazy>> ready_;

  // For `pct`. Events are steps, and questions whether a step is held up.
  std::vector<put_off<std::uint64_t, Lazy>>
      priorities_;  // of each virtual thread; the highest runs
  std::uint64_t lowest_ = falling;
  std::uint64_t event_ = 0;
  std::uint64_t horizon_ = 0;  // where the next change points are drawn
  std::vector<put_off<std::uint64_t, Lazy>>
      changes_;  // events to come at which the running thread falls
};

template <class Lazy>
inline sim_schedule<Lazy>::sim_schedule(const sim_options& options)
    : threads_(options.threads != 0 ? options.threads : 1),
      change_points_(options.change_points),
      choices_(hash_combine(options.seed, 1)),
      trace_(options.seed),
      strategy_(options.strategy) {
  // Each run is timid or bold for its whole length: a mixture would be neither (the observation is
  // A. Groce et al., "Swarm Testing", ISSTA 2012).
  constexpr std::uint64_t timid_to_bold[] = {1, 2, 2, 3};
  holds_ = timid_to_bold[choose(4)];
  const bool is_pct = choose(3) == 0;
  if (strategy_ == sim_strategy::by_seed) {
    strategy_ = is_pct ? sim_strategy::pct : sim_strategy::uniform;
  }
  constexpr std::size_t usual_room = 256;
  ready_.reserve(usual_room);
  changes_.reserve(change_points_);
  for (std::uint32_t i = 0; i < threads_; ++i) priorities_.push_back(draw_priority());
  if (uses_priorities()) draw_change_points();
}

template <class Lazy>
inline std::uint32_t sim_schedule<Lazy>::begin_thread() {
  priorities_.push_back(draw_priority());
  return static_cast<std::uint32_t>(priorities_.size() - 1);
}

template <class Lazy>
inline void sim_schedule<Lazy>::add_behind(runnable& r) noexcept {
  if (uses_priorities() && !preempted_) fall(current_);
  preempted_ = false;
  ready_.push_back({&r, current_ < threads_ ? current_ : any(), false});
}

template <class Lazy>
inline sim_step sim_schedule<Lazy>::take() noexcept {
  count_event();
  const std::size_t chosen =
      uses_priorities() ? choose_by_priority() : static_cast<std::size_t>(choose(ready_.size()));
  const sim_step next = ready_[chosen];
  ready_[chosen] = ready_.back();
  ready_.pop_back();
  note(next.thread);
  current_ = next.thread;
  preempted_ = false;
  return next;
}

/// Of several on the thread with the highest priority, any.
template <class Lazy>
inline std::size_t sim_schedule<Lazy>::choose_by_priority() noexcept {
  std::uint64_t highest = 0;
  std::uint64_t count = 0;
  for (const sim_step& s : ready_) {
    const std::uint64_t priority = priorities_[s.thread];
    if (priority > highest || count == 0) {
      highest = priority;
      count = 0;
    }
    if (priority == highest) ++count;
  }
  std::uint64_t left = choose(count);
  for (std::size_t i = 0;; ++i) {
    if (priorities_[ready_[i].thread] == highest && left-- == 0) return i;
  }
}

template <class Lazy>
inline bool sim_schedule<Lazy>::preempts(bool alone) noexcept {
  const bool has_fallen = count_event();
  if (alone) {
    preempted_ = choose(alone_odds) == 0;
  } else if (uses_priorities()) {
    const std::uint64_t own = priorities_[current_];
    preempted_ = has_fallen || std::ranges::any_of(ready_, [&](const sim_step& s) noexcept {
                   return priorities_[s.thread] > own;
                 });
  } else {
    preempted_ = choose(hold_odds) < holds_;
  }
  return preempted_;
}

/// How long a run is going to be is not known: a horizon is drawn, and behind it the next one. So
/// no thread stays ahead for ever, even if it only waits for another by looking again and again.
template <class Lazy>
inline void sim_schedule<Lazy>::draw_change_points() {
  constexpr std::uint64_t shortest = 8;
  constexpr std::uint64_t magnitudes = 9;
  const std::uint64_t length = shortest << choose(magnitudes);
  horizon_ = event_ + length;
  changes_.clear();
  for (unsigned i = 0; i < change_points_; ++i) changes_.push_back(event_ + 1 + choose(length));
}

/// True if the running thread has fallen behind all others.
template <class Lazy>
inline bool sim_schedule<Lazy>::count_event() noexcept {
  ++event_;
  if (!uses_priorities()) return false;
  const bool at_end = event_ >= horizon_;
  const bool falls = at_end || std::ranges::count(changes_, event_) != 0;
  if (falls) fall(current_);
  if (at_end) draw_change_points();
  return falls;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `instrument`: runs the jobs whose scripts it has.
///
/// Layer: job. A slot is a coroutine, which takes a job when it has nothing to do: more jobs than
/// slots cannot be taken, and no slot is idle while work waits. A keeper beside them renews leases,
/// on a thread of its own: also where scripts compute on all threads of the executor.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/job/job_alarm.hpp>
#include <troupe/job/job_context.hpp>
#include <troupe/job/job_failure.hpp>
#include <troupe/job/job_tasks.hpp>
#include <troupe/job/stoppable_run.hpp>
#include <troupe/job/workspace.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

struct instrument_options {
  unsigned workers = 0;   ///< So many jobs at once; 0: as many as there are cores.
  std::string name = {};  ///< Under which others see it; empty: one of chance.
  /// How long one that leaves tries to tell a network that cannot be reached what has become of a
  /// job. What it could not tell is run again elsewhere when its lease is over.
  duration give_up_after = std::chrono::seconds(5);
};

/// Takes jobs from the network and runs them on the network's executor, which outlives it.
///
/// Requests to stop come from a thread of its own: what a script does in a `stop_callback` is short
/// and does not block, since it holds up the leases of all its jobs.
///
/// Its destructor asks what runs to stop, gives it back, and waits for it, so it is destroyed on a
/// thread that may block, or after `drain`.
class instrument {
public:
  instrument(network& over, workspace scripts, const instrument_options& options = {});
  instrument(const instrument&) = delete;
  instrument& operator=(const instrument&) = delete;
  ~instrument();

  [[nodiscard]] const std::string& name() const noexcept { return taker_->name(); }

  /// How many jobs it runs, at some moment gone by.
  [[nodiscard]] std::size_t running() const noexcept {
    const spin_guard guard(lock_);
    return running_count_;
  }

  /// Takes nothing any more, and returns when what it has is done. Awaited by one coroutine at a
  /// time.
  [[nodiscard]] task<> drain() {
    taker_->close();
    leave();
    return end();
  }

private:
  enum class stop_cause : std::uint8_t { none, cancelled, timed_out, lost, going };

  /// One job that it has. In the frame of its slot.
  struct attempt : list_hook {
    attempt(const job_delivery& d, time_point now)
        : delivery(d), limit(saturating_add(now, d.request->time_limit)) {
      const duration first = d.lease > duration::zero() ? d.lease : d.request->lease;
      const time_point since = (std::min)(d.since, now);
      leased_until = saturating_add(since, first);
      renew_at = saturating_add(since, first / 3);
    }

    time_point next_look() const noexcept {
      return why == stop_cause::none ? (std::min)(renew_at, limit) : renew_at;
    }

    const job_delivery& delivery;
    stop_source asked;
    const time_point limit;
    // Guarded by the lock of the instrument:
    time_point leased_until;  // as far as this side knows
    time_point renew_at;
    stop_cause why = stop_cause::none;
  };
  struct look {
    job_claim claim;
    duration lease{};
    time_point limit{};
    time_point leased_until{};
  };

  task<> begin(unsigned workers);
  bool begin_one(unsigned which) noexcept;
  task<> slot();
  task<> run(const job_delivery& d, std::uint64_t notices);
  task<troupe::result<shared_bytes>> perform(attempt& a);
  task<> settle(attempt& a, troupe::result<shared_bytes> outcome);
  job_commit commit_of(const attempt& a, stop_cause why,
                       const troupe::result<shared_bytes>& outcome);
  duration wait_before_next(const job_delivery& d);

  task<> keep();
  task<> listen();
  task<> wait_for_look();
  task<> renew_due();
  std::vector<look> due_looks(time_point now);
  void heed(const look& at, time_point asked_at, const job_hold* hold);
  void stop(std::uint64_t fence, stop_cause why);
  void stop_all() noexcept;
  void leave() noexcept;
  bool may_still_tell(const attempt& a, time_point failed_first) noexcept;
  void look_at_all() noexcept {
    const spin_guard guard(lock_);
    look_at_all_ = true;
  }
  void enlist(attempt& a, std::uint64_t notices);
  std::uint64_t notices() const noexcept {
    const spin_guard guard(lock_);
    return notices_;
  }
  void delist(attempt& a) noexcept;
  attempt* find(std::uint64_t fence) noexcept;  // under the lock
  /// All that it needs is made when it is asked for, not when it is awaited.
  task<> end() { return end(slots_.join(), keepers_.join()); }
  task<> end(task<> slots_joined, task<> keepers_joined);

  executor& on_;
  const workspace scripts_;
  const std::unique_ptr<job_taker> taker_;
  const duration give_up_after_;
  detail::job_alarm wakes_keeper_;
  mutable spin_lock lock_;  // guards the seven below
  intrusive_list<attempt> running_;
  std::size_t running_count_ = 0;
  time_point looks_at_ = never;  // when the keeper goes on by itself
  bool look_at_all_ = false;
  std::uint64_t notices_ = 0;  // how often it was told to look at all
  bool is_going_ = false;
  time_point leaves_at_ = never;  // since when it takes nothing any more
  bool has_ended_ = false;
  detail::own_thread keepers_thread_;
  detail::job_tasks keepers_;  // on that thread
  detail::job_tasks slots_;
  task<> ending_;  // made when there is memory, for the destructor
};

namespace detail {

inline std::string fresh_instrument_name(executor& on, const std::string& wanted) {
  return wanted.empty() ? "instrument-" + std::to_string(on.random()) : wanted;
}

inline unsigned count_workers(unsigned wanted) noexcept {
  return wanted != 0 ? wanted : (std::max)(1u, std::thread::hardware_concurrency());
}

}  // namespace detail

inline instrument::instrument(network& over, workspace scripts, const instrument_options& options)
    : on_(over.runs_on()),
      scripts_(std::move(scripts)),
      taker_(over.jobs().open_taker(detail::fresh_instrument_name(on_, options.name),
                                    scripts_.list())),
      give_up_after_(options.give_up_after),
      keepers_thread_(on_),
      keepers_(keepers_thread_.where()),
      slots_(on_),
      ending_(end()) {
  // One thing that may fail, before which nothing runs.
  slots_.spawn(begin(detail::count_workers(options.workers)));
}

inline instrument::~instrument() {
  if (has_ended_) return;
  taker_->close();
  leave();
  stop_all();
  detail::block_on(std::move(ending_), &on_);
}

inline task<> instrument::end(task<> slots_joined, task<> keepers_joined) {
  co_await std::move(slots_joined);
  keepers_.stop();
  co_await std::move(keepers_joined);
  has_ended_ = true;
}

/// Starts those who look after jobs, and then the slots. What cannot be started now, for want of
/// memory, is later.
inline task<> instrument::begin(unsigned workers) {
  backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(1)});
  for (unsigned i = 0; i != workers + 2;) {
    if (begin_one(i)) {
      ++i;
      continue;
    }
    {
      const spin_guard guard(lock_);
      if (leaves_at_ != never) break;
    }
    try {
      co_await sleep_for(patience.next(on_.random()));
    } catch (...) {
    }
    co_await yield();
  }
}

inline bool instrument::begin_one(unsigned which) noexcept {
  try {
    if (which == 0) {
      keepers_.spawn(keep());
    } else if (which == 1) {
      keepers_.spawn(listen());
    } else {
      slots_.spawn(slot());
    }
    return true;
  } catch (...) {
    return false;
  }
}

/// From now on a commit that does not get through is not tried for ever.
inline void instrument::leave() noexcept {
  const time_point now = on_.now();
  const spin_guard guard(lock_);
  if (leaves_at_ == never) leaves_at_ = now;
}

// --- slots --------------------------------------------------------------------------------------

inline task<> instrument::slot() {
  backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(1)});
  for (;;) {
    bool is_well = false;
    try {
      const std::uint64_t before = notices();
      std::optional<job_delivery> next = co_await taker_->take();
      if (!next) co_return;
      co_await run(*next, before);
      is_well = true;
    } catch (...) {
      // The network cannot be reached, or there is no memory: the slot stays all the same.
    }
    if (is_well) {
      patience.reset();
      continue;
    }
    try {
      co_await sleep_for(patience.next(on_.random()));
    } catch (...) {
    }
    co_await yield();
  }
}

/// `notices`: those that came before it was taken.
inline task<> instrument::run(const job_delivery& d, std::uint64_t notices) {
  attempt a(d, on_.now());
  enlist(a, notices);
  const scope_exit leave([&]() noexcept { delist(a); });
  troupe::result<shared_bytes> outcome = co_await perform(a);
  co_await settle(a, std::move(outcome));
}

/// Runs the script where it can be asked to stop.
inline task<troupe::result<shared_bytes>> instrument::perform(attempt& a) {
  try {
    const job_request& wish = *a.delivery.request;
    const detail::script_runner runner = scripts_.find(wish.script, wish.version);
    if (!runner) throw error(errc::no_such_module, {}, wish.script);
    job_context ctx(*taker_, a.delivery, a.asked.get_token());
    detail::result_slot<shared_bytes> result;
    detail::started_task<shared_bytes> child(runner(wish.params, ctx).release());
    child.promise().result = &result;
    detail::stoppable_run running(child.promise());
    const auto ask = [&running]() noexcept { running.request_stop(); };
    const stop_callback asked(a.asked.get_token(), ask);
    co_await running.run();
    co_return troupe::result<shared_bytes>(result.take());
  } catch (...) {
    co_return troupe::result<shared_bytes>(std::current_exception());
  }
}

/// Tells the network how it has ended, as long as that may still want to know.
inline task<> instrument::settle(attempt& a, troupe::result<shared_bytes> outcome) {
  backoff patience({.first = std::chrono::milliseconds(20), .max = std::chrono::seconds(1)});
  time_point failed_first = never;
  for (;;) {
    stop_cause why = stop_cause::none;
    {
      const spin_guard guard(lock_);
      why = a.why;
    }
    if (why == stop_cause::lost) co_return;
    try {
      auto committing = taker_->commit(a.delivery.id, a.delivery.fence, commit_of(a, why, outcome));
      static_cast<void>(co_await std::move(committing));
      co_return;
    } catch (...) {
      // Whether it was told is not known: to tell it twice does no harm.
    }
    failed_first = (std::min)(failed_first, on_.now());
    if (!may_still_tell(a, failed_first)) co_return;
    co_await sleep_for(patience.next(on_.random()));
  }
}

/// Nobody waits for what cannot be told any more: the lease will be over.
inline bool instrument::may_still_tell(const attempt& a, time_point failed_first) noexcept {
  const time_point now = on_.now();
  const spin_guard guard(lock_);
  if (a.leased_until <= now) return false;
  if (leaves_at_ == never) return true;
  return now < saturating_add((std::max)(failed_first, leaves_at_), give_up_after_);
}

inline job_commit instrument::commit_of(const attempt& a, stop_cause why,
                                        const troupe::result<shared_bytes>& outcome) {
  job_commit c;
  if (outcome.has_value()) {
    c.result = *outcome;
    return c;
  }
  const job_request& wish = *a.delivery.request;
  job_error e = detail::describe_job_failure(outcome.error());
  const bool is_unreadable = e.type == detail::readable_name(typeid(detail::unreadable_params));
  if (is_unreadable) {
    c.kind = job_commit::refused;
    e.type = detail::readable_name(typeid(error));
    e.reason = "its params cannot be read";
  } else if (why == stop_cause::cancelled) {
    c.kind = job_commit::cancelled;
  } else if (why == stop_cause::going) {
    c.kind = job_commit::released;
  } else {
    c.kind = job_commit::failed;
    c.after = wait_before_next(a.delivery);
    if (why == stop_cause::timed_out) {
      e = job_error();
      e.type = detail::readable_name(typeid(error));
      e.text = "timed out: its time limit is over";
      e.code = static_cast<std::int32_t>(errc::timed_out);
    }
    if (e.code == static_cast<std::int32_t>(errc::worker_crashed)) c.kind = job_commit::crashed;
    if (a.delivery.failures + 1 >= wish.attempts) {
      e.reason = "attempt " + std::to_string(a.delivery.failures + 1) + " of " +
                 std::to_string(wish.attempts) + " has failed";
    } else if (c.kind == job_commit::crashed && a.delivery.losses + 1 >= wish.losses) {
      e.reason = "crash or loss " + std::to_string(a.delivery.losses + 1) + " of " +
                 std::to_string(wish.losses);
    }
  }
  c.error = std::make_shared<const job_error>(std::move(e));
  return c;
}

inline duration instrument::wait_before_next(const job_delivery& d) {
  constexpr std::uint32_t most = 64;  // the bound has met its cap by then
  backoff between(d.request->retry);
  for (std::uint32_t i = 0; i != (std::min)(d.failures, most); ++i) {
    static_cast<void>(between.next(0));
  }
  return between.next(on_.random());
}

// --- what runs ----------------------------------------------------------------------------------

/// A notice that came since it was taken may have been about it: it is looked at right away.
inline void instrument::enlist(attempt& a, std::uint64_t notices) {
  bool is_going = false;
  bool is_sooner = false;
  const time_point now = on_.now();
  {
    const spin_guard guard(lock_);
    running_.push_back(a);
    ++running_count_;
    is_going = is_going_;
    if (is_going) a.why = stop_cause::going;
    if (notices_ != notices) a.renew_at = now;
    is_sooner = a.next_look() < looks_at_;
    if (is_sooner) looks_at_ = a.next_look();
  }
  if (is_going) a.asked.request_stop();
  if (is_sooner) wakes_keeper_.ring();
}

inline void instrument::delist(attempt& a) noexcept {
  const spin_guard guard(lock_);
  intrusive_list<attempt>::remove(a);
  --running_count_;
}

inline instrument::attempt* instrument::find(std::uint64_t fence) noexcept {
  for (attempt& a : running_) {
    if (a.delivery.fence == fence) return &a;
  }
  return nullptr;
}

/// The first cause counts, but that it is lost.
inline void instrument::stop(std::uint64_t fence, stop_cause why) {
  stop_source asked{nostopstate};
  {
    const spin_guard guard(lock_);
    attempt* const a = find(fence);
    if (a == nullptr) return;
    if (a->why == stop_cause::none || why == stop_cause::lost) a->why = why;
    asked = a->asked;
  }
  asked.request_stop();
}

/// Without memory. What is taken after this asks itself (`enlist`).
inline void instrument::stop_all() noexcept {
  std::size_t left = 0;
  {
    const spin_guard guard(lock_);
    is_going_ = true;
    left = running_count_;
  }
  for (; left != 0; --left) {
    stop_source asked{nostopstate};
    {
      const spin_guard guard(lock_);
      attempt* const a = running_.pop_front();
      if (a == nullptr) return;
      running_.push_back(*a);  // the next one is another one
      if (a->why == stop_cause::none) a->why = stop_cause::going;
      asked = a->asked;
    }
    asked.request_stop();
  }
}

// --- leases -------------------------------------------------------------------------------------

/// Somebody wants something of a job that runs here.
inline task<> instrument::listen() {
  backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(1)});
  while (!keepers_.is_stopping()) {
    bool is_well = false;
    try {
      co_await taker_->notice();
      is_well = true;
    } catch (...) {
    }
    if (keepers_.is_stopping()) co_return;
    {
      const spin_guard guard(lock_);
      look_at_all_ = true;
      ++notices_;
    }
    wakes_keeper_.ring();
    if (is_well) {
      patience.reset();
      continue;
    }
    try {
      co_await sleep_for(patience.next(on_.random()));
    } catch (...) {
    }
    co_await yield();
  }
}

/// Whatever fails, it goes on.
inline task<> instrument::keep() {
  backoff patience({.first = std::chrono::milliseconds(10), .max = std::chrono::seconds(1)});
  while (!keepers_.is_stopping()) {
    bool is_well = false;
    try {
      co_await wait_for_look();
      co_await renew_due();
      is_well = true;
    } catch (...) {
      look_at_all();  // who wanted it looked at has said so once
    }
    if (is_well) {
      patience.reset();
      continue;
    }
    try {
      co_await sleep_for(patience.next(on_.random()));
    } catch (...) {
    }
    co_await yield();
  }
}

/// Returns when some job is to be looked after.
inline task<> instrument::wait_for_look() {
  for (;;) {
    time_point next = never;
    {
      const spin_guard guard(lock_);
      for (const attempt& a : running_) next = (std::min)(next, a.next_look());
      if (look_at_all_) next = (time_point::min)();
      looks_at_ = next;
    }
    if (next <= on_.now()) co_return;
    co_await wakes_keeper_.until(next);
  }
}

/// A job whose time is over is not renewed: where its script does not heed the request to stop, it
/// is lost when its lease is. All others are renewed at once, so that none waits for another's
/// answer.
inline task<> instrument::renew_due() {
  const time_point now = on_.now();
  const std::vector<look> due = due_looks(now);
  std::vector<job_claim> claims;
  for (const look& at : due) {
    if (at.limit > now) {
      claims.push_back(at.claim);
      continue;
    }
    stop(at.claim.fence, stop_cause::timed_out);
    if (at.leased_until <= now) stop(at.claim.fence, stop_cause::lost);
  }
  if (claims.empty()) co_return;
  auto renewing = as_result(taker_->renew_all(std::move(claims)));
  const troupe::result<std::vector<job_hold>> holds = co_await std::move(renewing);
  std::size_t answered = 0;
  for (const look& at : due) {
    if (at.limit <= now) continue;
    heed(at, now, holds.has_value() ? &(*holds)[answered++] : nullptr);
  }
}

inline std::vector<instrument::look> instrument::due_looks(time_point now) {
  bool all = false;
  return detail::gathered<look>(
      lock_, [this] { return running_count_; },
      [&](auto& found) {
        all = std::exchange(look_at_all_, false);
        for (attempt& a : running_) {
          if (!all && a.next_look() > now) continue;
          const job_request& wish = *a.delivery.request;
          a.renew_at = saturating_add(now, wish.lease / 3);
          const job_claim claim{a.delivery.id, a.delivery.fence};
          found.push_back({claim, wish.lease, a.limit, a.leased_until});
        }
      });
}

/// `hold`: what the network says; nullptr: it cannot be reached, and is asked again soon. The lease
/// counts from when it was asked.
inline void instrument::heed(const look& at, time_point asked_at, const job_hold* hold) {
  const std::uint64_t fence = at.claim.fence;
  const time_point now = on_.now();
  if (hold == nullptr && at.leased_until <= now) return stop(fence, stop_cause::lost);
  if (hold != nullptr && *hold == job_hold::lost) return stop(fence, stop_cause::lost);
  {
    const spin_guard guard(lock_);
    attempt* const a = find(fence);
    if (a == nullptr) return;
    if (hold == nullptr) {
      const duration soon = (std::min)(at.lease / 3, duration(std::chrono::seconds(1)));
      a->renew_at = saturating_add(now, soon);
    } else {
      a->leased_until = saturating_add(asked_at, at.lease);
    }
  }
  if (hold != nullptr && *hold == job_hold::stop_asked) stop(fence, stop_cause::cancelled);
}

}  // namespace troupe

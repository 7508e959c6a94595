// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `instrument`: runs the jobs whose scripts it has.
///
/// Layer: job. A slot is a coroutine, which takes a job when it has nothing to do: more jobs than
/// slots cannot be taken, and no slot is idle while work waits. A keeper beside them renews leases.

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
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/job/composer.hpp>
#include <troupe/job/job_context.hpp>
#include <troupe/job/job_failure.hpp>
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
};

/// Takes jobs from the network and runs them on the network's executor, which outlives it.
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
    return end();
  }

private:
  enum class stop_cause : std::uint8_t { none, cancelled, timed_out, lost, going };

  /// One job that it has. In the frame of its slot.
  struct attempt : list_hook {
    explicit attempt(const job_delivery& d, time_point now) noexcept
        : delivery(d),
          limit(saturating_add(now, d.request->time_limit)),
          leased_until(saturating_add(now, d.request->lease)),
          renew_at(saturating_add(now, d.request->lease / 3)) {}

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
    job_id id;
    std::uint64_t fence = 0;
    duration lease{};
    time_point limit{};
    time_point leased_until{};
  };

  task<> slot();
  task<> run(const job_delivery& d, std::uint64_t notices);
  task<troupe::result<shared_bytes>> perform(attempt& a);
  task<> settle(attempt& a, troupe::result<shared_bytes> outcome);
  job_commit commit_of(const attempt& a, stop_cause why,
                       const troupe::result<shared_bytes>& outcome);
  duration wait_before_next(const job_delivery& d);

  task<> keep();
  task<> listen();
  task<> renew_all(bool all);
  task<> look_after(look at);
  void stop(std::uint64_t fence, stop_cause why);
  void stop_all() noexcept;
  void enlist(attempt& a, std::uint64_t notices);
  std::uint64_t notices() const noexcept {
    const spin_guard guard(lock_);
    return notices_;
  }
  void delist(attempt& a) noexcept;
  attempt* find(std::uint64_t fence) noexcept;  // under the lock
  task<> end();

  executor& on_;
  const workspace scripts_;
  const std::unique_ptr<job_taker> taker_;
  async_semaphore wake_{0};  // the keeper
  mutable spin_lock lock_;   // guards the six below
  intrusive_list<attempt> running_;
  std::size_t running_count_ = 0;
  time_point looks_at_ = never;  // when the keeper goes on by itself
  bool look_at_all_ = false;
  std::uint64_t notices_ = 0;  // how often it was told to look at all
  bool is_going_ = false;
  bool has_ended_ = false;
  detail::job_tasks keepers_;
  detail::job_tasks slots_;
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
      keepers_(on_),
      slots_(on_) {
  keepers_.spawn(keep());
  keepers_.spawn(listen());
  for (unsigned i = detail::count_workers(options.workers); i != 0; --i) slots_.spawn(slot());
}

inline instrument::~instrument() {
  if (has_ended_) return;
  taker_->close();
  stop_all();
  detail::block_on(end(), &on_);
}

inline task<> instrument::end() {
  co_await slots_.join();
  keepers_.request_stop();
  co_await keepers_.join();
  has_ended_ = true;
}

// --- slots --------------------------------------------------------------------------------------

inline task<> instrument::slot() {
  backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(5)});
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
    } else {
      co_await sleep_for(patience.next(on_.random()));
    }
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
    if (runner == nullptr) throw error(errc::no_such_module, {}, wish.script);
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
  for (;;) {
    stop_cause why = stop_cause::none;
    bool is_late = false;
    {
      const time_point now = on_.now();
      const spin_guard guard(lock_);
      why = a.why;
      is_late = a.leased_until <= now;
    }
    if (why == stop_cause::lost) co_return;
    try {
      auto committing = taker_->commit(a.delivery.id, a.delivery.fence, commit_of(a, why, outcome));
      static_cast<void>(co_await std::move(committing));
      co_return;
    } catch (...) {
      // Whether it was told is not known: to tell it twice does no harm.
    }
    if (is_late) co_return;
    co_await sleep_for(patience.next(on_.random()));
  }
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
    e.reason = "attempt " + std::to_string(a.delivery.failures + 1) + " of " +
               std::to_string(wish.attempts) + " has failed";
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
  if (is_sooner) wake_.release();
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

inline void instrument::stop_all() noexcept {
  {
    const spin_guard guard(lock_);
    is_going_ = true;
  }
  const std::vector<std::uint64_t> fences = detail::gathered<std::uint64_t>(
      lock_, [this] { return running_count_; },
      [this](auto& found) {
        for (const attempt& a : running_) found.push_back(a.delivery.fence);
      });
  for (const std::uint64_t fence : fences) stop(fence, stop_cause::going);
}

// --- leases -------------------------------------------------------------------------------------

/// Somebody wants something of a job that runs here.
inline task<> instrument::listen() {
  for (;;) {
    auto listening = as_result(taker_->notice());
    const troupe::result<void> heard = co_await std::move(listening);
    if (heard.code() == make_error_code(errc::cancelled)) co_return;
    if (!heard.has_value()) co_await sleep_for(std::chrono::seconds(1));
    {
      const spin_guard guard(lock_);
      look_at_all_ = true;
      ++notices_;
    }
    wake_.release();
  }
}

inline task<> instrument::keep() {
  for (;;) {
    time_point next = never;
    bool all = false;
    {
      const spin_guard guard(lock_);
      for (const attempt& a : running_) next = (std::min)(next, a.next_look());
      looks_at_ = next;
      all = std::exchange(look_at_all_, false);
    }
    const duration left = next == never ? endless : next - on_.now();
    if (!all && left > duration::zero()) {
      auto sleeping = as_result(within(wake_.acquire(), left));
      const troupe::result<void> slept = co_await std::move(sleeping);
      if (slept.code() == make_error_code(errc::cancelled)) co_return;
      if (slept.has_value()) continue;
    }
    co_await renew_all(all);
  }
}

inline task<> instrument::renew_all(bool all) {
  const time_point now = on_.now();
  const std::vector<look> due = detail::gathered<look>(
      lock_, [this] { return running_count_; },
      [&](auto& found) {
        for (attempt& a : running_) {
          if (!all && a.next_look() > now) continue;
          const job_request& wish = *a.delivery.request;
          a.renew_at = saturating_add(now, wish.lease / 3);
          found.push_back({a.delivery.id, a.delivery.fence, wish.lease, a.limit, a.leased_until});
        }
      });
  for (const look& at : due) co_await look_after(at);
}

/// A job whose time is over is not renewed: where its script does not heed the request to stop, it
/// is lost when its lease is.
inline task<> instrument::look_after(look at) {
  const time_point asked_at = on_.now();
  if (at.limit <= asked_at) {
    stop(at.fence, stop_cause::timed_out);
    if (at.leased_until <= asked_at) stop(at.fence, stop_cause::lost);
    co_return;
  }
  auto renewing = as_result(taker_->renew(at.id, at.fence));
  const troupe::result<job_hold> hold = co_await std::move(renewing);
  if (!hold.has_value()) {
    if (at.leased_until <= on_.now()) stop(at.fence, stop_cause::lost);
    co_return;
  }
  if (*hold == job_hold::lost) co_return stop(at.fence, stop_cause::lost);
  {
    const spin_guard guard(lock_);
    attempt* const a = find(at.fence);
    if (a != nullptr) a->leased_until = saturating_add(asked_at, at.lease);
  }
  if (*hold == job_hold::stop_asked) stop(at.fence, stop_cause::cancelled);
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Schedules: jobs that begin when the calendar says so, again and again.
///
/// Layer: job. A schedule is one job of its own, its tick, which waits for the next occurrence and
/// is taken by a composer. Whoever takes it adds the job that is wanted and the tick that comes
/// after it, each under a key that names its time: done twice, that is done once. So the chain does
/// not break wherever who takes it dies, and what any number of composers do is one chain.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/job/cron.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// A schedule, as `client::schedules` shows it.
struct job_schedule {
  std::string name;
  std::string cron;
  std::string script;
  std::uint32_t version = 1;
  wall_time next{};  ///< Its next occurrence.
  job_id last;       ///< The job of the one before; `epoch` 0: there was none yet.
};

namespace detail {

/// That of ticks. Instruments do not take it.
inline constexpr std::string_view schedule_script = "troupe.schedule";

/// The jobs that are added, but for what each occurrence has of its own. Apart from `job_request`,
/// which may change: this one lies in networks for months.
struct scheduled_work {
  std::string script;
  std::uint32_t version = 1;
  shared_bytes params;
  std::int32_t priority = 0;
  std::uint32_t attempts = 1;
  backoff_options retry;
  std::uint32_t losses = 3;
  duration time_limit{};
  duration lease{};
  duration keep{};
  std::string key;
  std::uint32_t together = 0;
};

/// What a tick knows: its params.
struct schedule_plan {
  std::string name;
  std::string cron;
  std::uint64_t chain = 0;  // drawn by who made the schedule; ticks of another one are not its
  wall_time at{};           // the occurrence
  job_id last;              // the job of the one before
  scheduled_work work;
};

inline scheduled_work to_scheduled_work(job_request r) {
  return {std::move(r.script),
          r.version,
          std::move(r.params),
          r.priority,
          r.attempts,
          r.retry,
          r.losses,
          r.time_limit,
          r.lease,
          r.keep,
          std::move(r.key),
          r.together};
}

/// One schedule is not made anew where it is the same.
inline bool is_same_schedule(const schedule_plan& a, const schedule_plan& b) {
  return std::tie(a.name, a.cron) == std::tie(b.name, b.cron) && encode(a.work) == encode(b.work);
}

inline std::string schedule_moment(const schedule_plan& p) {
  const auto since = std::chrono::floor<std::chrono::seconds>(p.at).time_since_epoch();
  return p.name + ':' + std::to_string(since.count());
}

/// The tick sleeps in short naps: its delay passes by the network's clock, and the calendar may be
/// set meanwhile.
inline duration schedule_nap(wall_time until, wall_time now) noexcept {
  constexpr duration longest = std::chrono::minutes(10);
  if (until <= now) return duration::zero();
  return until > now + longest ? longest : until - now;
}

/// The job of this occurrence; never two while it is known.
inline job_request scheduled_job(const schedule_plan& p) {
  const scheduled_work& w = p.work;
  job_request r;
  r.script = w.script;
  r.version = w.version;
  r.params = w.params;
  r.priority = w.priority;
  r.attempts = w.attempts;
  r.retry = w.retry;
  r.losses = w.losses;
  r.time_limit = w.time_limit;
  r.lease = w.lease;
  r.keep = (std::max)(w.keep, duration(std::chrono::minutes(1)));
  r.key = w.key;
  r.together = w.together;
  r.once = "cron:" + schedule_moment(p);
  return r;
}

/// It is never dead: not by errors of the network, nor by the deaths of who has it.
inline job_request schedule_tick(const schedule_plan& p, wall_time now) {
  job_request r;
  r.script = schedule_script;
  r.params = shared_bytes(encode(p));
  r.delay = schedule_nap(p.at, now);
  r.attempts = (std::numeric_limits<std::uint32_t>::max)();
  r.losses = r.attempts;
  r.time_limit = std::chrono::minutes(1);
  r.lease = std::chrono::seconds(15);
  r.keep = std::chrono::minutes(10);
  r.once = schedule_moment(p) + ':' + std::to_string(p.chain);
  return r;
}

/// Takes ticks, one at a time. Runs in a composer.
class schedule_keeper {
public:
  schedule_keeper(job_store& store, executor& on)
      : store_(store),
        on_(on),
        taker_(store.open_taker("composer-" + std::to_string(on.random()),
                                {job_script{std::string(schedule_script), 1}})) {}

  /// Until it is closed, whatever fails.
  task<> run() {
    backoff patience({.first = std::chrono::milliseconds(50), .max = std::chrono::seconds(5)});
    while (!closed_.load(order::acquire)) {
      bool is_well = false;
      try {
        const std::optional<job_delivery> tick = co_await taker_->take();
        if (!tick) co_return;
        co_await handle(*tick);
        is_well = true;
      } catch (...) {
        // The network cannot be reached, or there is no memory: the lease of the tick lapses.
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

  /// Takes nothing any more. Said before `run` is asked to stop, or that might not end.
  void close() noexcept {
    closed_.store(true, order::release);
    taker_->close();
  }

private:
  task<> handle(const job_delivery& tick) {
    const job_hold hold = co_await taker_->renew(tick.id, tick.fence);  // it may have come late
    if (hold == job_hold::lost) co_return;
    result<schedule_plan> plan = decode<schedule_plan>(tick.request->params);
    const wall_time now = on_.wall_now();
    job_commit end;
    if (hold == job_hold::stop_asked) {
      end.kind = job_commit::cancelled;
    } else if (!plan.has_value()) {
      end = put_back(job_commit::refused, "its plan cannot be read", {});
    } else if (plan->at > now) {
      end = put_back(job_commit::failed, "its time has not come yet", schedule_nap(plan->at, now));
    } else {
      auto happening = as_result(happen(tick, std::move(plan.value()), now));
      const result<void> happened = co_await std::move(happening);
      if (!happened.has_value()) {
        end = put_back(job_commit::failed, "the network did not take what comes next",
                       std::chrono::seconds(1));
      }
    }
    auto ending = taker_->commit(tick.id, tick.fence, std::move(end));
    static_cast<void>(co_await std::move(ending));
  }

  static job_commit put_back(job_commit::kind_of how, const char* why, duration after) {
    job_error e;
    e.text = why;
    job_commit c;
    c.kind = how;
    c.error = std::make_shared<const job_error>(std::move(e));
    c.after = after;
    return c;
  }

  /// The occurrence. Any part of it may happen twice. Those that were missed are left out, and so
  /// is this one where the job of the one before has not got its turn yet.
  task<> happen(const job_delivery& tick, schedule_plan p, wall_time now) {
    const bool is_held_up = co_await still_waits(p.last);
    if (!is_held_up) {
      auto adding = store_.add(scheduled_job(p));
      p.last = co_await std::move(adding);
    }
    const std::optional<wall_time> next = cron(p.cron).next_after((std::max)(p.at, now));
    if (!next) co_return;
    p.at = *next;
    auto going_on = store_.add(schedule_tick(p, now));
    const job_id following = co_await std::move(going_on);
    const bool is_over = co_await was_ended(tick);
    if (is_over) static_cast<void>(co_await store_.cancel(following));
  }

  task<bool> still_waits(job_id id) {
    if (id.epoch == 0) co_return false;
    const std::optional<job_info> info = co_await store_.get(id);
    co_return info.has_value() &&
        (info->state == job_state::waiting || info->state == job_state::delayed);
  }

  /// Somebody has ended the schedule, and could not see what comes after this tick. Who has merely
  /// lost the tick, being late, leaves that to who has it now.
  task<bool> was_ended(const job_delivery& tick) {
    const job_hold hold = co_await taker_->renew(tick.id, tick.fence);
    if (hold != job_hold::lost) co_return hold == job_hold::stop_asked;
    const std::optional<job_info> info = co_await store_.get(tick.id);
    co_return info.has_value() && (info->stop_asked || info->state == job_state::cancelled);
  }

  job_store& store_;
  executor& on_;
  const std::unique_ptr<job_taker> taker_;
  atomic<bool> closed_{false};  // release: who was woken by `close`, or a stop after it, sees it
};

// --- looking for them, making and ending them ---------------------------------------------------

/// A tick that has not ended.
struct pending_tick {
  job_id id;
  bool stop_asked = false;
  schedule_plan plan;
};

/// All, or those of one schedule. A tick goes through the states in this order, and is followed by
/// a new one before it ends: who goes twice misses none.
inline task<std::vector<pending_tick>> pending_ticks(job_store& store,
                                                     std::optional<std::string> name) {
  constexpr job_state order[] = {job_state::delayed, job_state::waiting, job_state::active};
  constexpr std::size_t page_size = 1000;
  std::map<job_id, pending_tick> found;
  for (int pass = 0; pass != 2; ++pass) {
    for (const job_state state : order) {
      std::optional<job_id> from;
      do {
        const job_page page = co_await store.list(state, from, page_size);
        from = page.next;
        for (const job_info& job : page.jobs) {
          if (job.request->script != schedule_script) continue;
          result<schedule_plan> plan = decode<schedule_plan>(job.request->params);
          if (!plan.has_value() || (name && plan->name != *name)) continue;
          found[job.id] = {job.id, job.stop_asked, std::move(plan.value())};
        }
      } while (from);
    }
  }
  std::vector<pending_tick> all;
  for (auto& [id, tick] : found) all.push_back(std::move(tick));
  co_return all;
}

/// Only one at a time changes the schedule of a name, whatever process it is in.
class schedule_change {
public:
  schedule_change(network& net, std::string name)
      : net_(net),
        store_(net.jobs()),
        on_(net.runs_on()),
        name_(std::move(name)),
        lock_("troupe.schedule:" + name_),
        self_("client-" + std::to_string(on_.random())) {}

  /// Ends it but for the one that is `wanted`, which is made where it is not there. True: that was
  /// a change.
  task<bool> run(std::optional<schedule_plan> wanted) {
    auto working = as_result(run_locked(std::move(wanted)));
    result<bool> done = co_await std::move(working);
    auto releasing = as_result(net_.release(lock_, self_));
    static_cast<void>(co_await std::move(releasing));  // else it lapses
    co_return done.value();
  }

private:
  task<bool> run_locked(std::optional<schedule_plan> wanted) {
    bool is_changed = false;
    bool is_there = false;
    const time_point begun = on_.now();
    backoff patience({.first = std::chrono::milliseconds(5), .max = std::chrono::seconds(1)});
    for (;;) {
      co_await lock();
      is_there = false;
      bool is_left = false;
      std::uint64_t kept =
          0;  // the chain: a tick that has happened and the next one are both of it
      const std::vector<pending_tick> ticks = co_await pending_ticks(store_, name_);
      for (const pending_tick& t : ticks) {
        const bool is_same = wanted && !t.stop_asked && is_same_schedule(t.plan, *wanted);
        if (is_same && (!is_there || t.plan.chain == kept)) {
          is_there = true;
          kept = t.plan.chain;
          continue;
        }
        is_left = is_changed = true;
        if (!t.stop_asked) static_cast<void>(co_await store_.cancel(t.id));
      }
      // One that a composer has may still bring forth another: gone only when it is seen no more.
      if (!is_left || on_.now() - begun > longest_wait) break;
      co_await sleep_for(patience.next(on_.random()));
    }
    if (!wanted || is_there) co_return is_changed;
    const wall_time now = on_.wall_now();
    const std::optional<wall_time> first = cron(wanted->cron).next_after(now);
    if (!first) throw error(errc::refused, {}, "the schedule " + name_ + " has no time left");
    wanted->chain = on_.random();
    wanted->at = *first;
    auto adding = store_.add(schedule_tick(*wanted, now));
    static_cast<void>(co_await std::move(adding));
    co_return true;
  }

  task<> lock() {
    backoff patience({.first = std::chrono::milliseconds(5), .max = std::chrono::seconds(1)});
    for (;;) {
      const std::uint64_t fence = co_await net_.claim(lock_, self_, lock_limit);
      if (fence != 0) co_return;
      co_await sleep_for(patience.next(on_.random()));
    }
  }

  static constexpr duration lock_limit = std::chrono::seconds(10);
  static constexpr duration longest_wait = std::chrono::seconds(30);  // two leases of a tick

  network& net_;
  job_store& store_;
  executor& on_;
  const std::string name_;
  const std::string lock_;
  const std::string self_;
};

inline task<bool> put_schedule(network& net, schedule_plan wanted) {
  schedule_change change(net, wanted.name);
  std::optional<schedule_plan> wish(std::move(wanted));
  auto changing = change.run(std::move(wish));
  co_return co_await std::move(changing);
}

inline task<bool> end_schedule(network& net, std::string name) {
  schedule_change change(net, std::move(name));
  std::optional<schedule_plan> nothing;
  auto changing = change.run(std::move(nothing));
  co_return co_await std::move(changing);
}

/// By name; of each the latest tick.
inline task<std::vector<job_schedule>> list_schedules(job_store& store) {
  const std::vector<pending_tick> ticks = co_await pending_ticks(store, std::nullopt);
  std::map<std::string, job_schedule> by_name;
  for (const pending_tick& t : ticks) {
    if (t.stop_asked) continue;
    job_schedule& s = by_name[t.plan.name];
    if (!s.name.empty() && s.next > t.plan.at) continue;
    s = {t.plan.name, t.plan.cron, t.plan.work.script, t.plan.work.version, t.plan.at, t.plan.last};
  }
  std::vector<job_schedule> all;
  for (auto& [name, s] : by_name) all.push_back(std::move(s));
  co_return all;
}

}  // namespace detail
}  // namespace troupe

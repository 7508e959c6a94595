// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `client`: adds jobs to a network and waits for what becomes of them.
///
/// Layer: job.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/job/cron.hpp>
#include <troupe/job/job_failure.hpp>
#include <troupe/job/schedule.hpp>
#include <troupe/job/script.hpp>
#include <troupe/job/workspace.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/net/valid_job.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

namespace detail {

/// The first member of options that are given by name alone: a list of mere values does not begin
/// with one, and is refused.
struct options_are_given_by_name {
  explicit options_are_given_by_name() = default;
};

}  // namespace detail

/// How a job is wanted, always by name: `{.priority = 1}`. What it shows is copied when the job is
/// asked for.
struct job_options {
  detail::options_are_given_by_name by_name = detail::options_are_given_by_name();
  std::int32_t priority = 0;          ///< The higher, the sooner; among equals the older one first.
  duration delay = duration::zero();  ///< Before it may start. A composer sees to it.
  std::uint32_t attempts = 1;         ///< So often it may fail. At least 1.
  backoff_options retry = {};         ///< Waits between attempts: a random part of a rising bound.
  std::uint32_t losses = 3;           ///< So many instruments may be lost with it. At least 1.
  duration time_limit = std::chrono::minutes(10);  ///< Of an attempt, which is then asked to stop.
  duration lease = std::chrono::seconds(30);  ///< An instrument that is silent so long has lost it.
  duration result_ttl =
      std::chrono::hours(1);              ///< How long its end is known. Not that of the dead.
  std::string_view idempotency_key = {};  ///< While a job with it is known, it is that one.
  std::string_view concurrency_key = {};  ///< Whose it is: those who have keys share fairly.
  std::uint32_t concurrency = 0;  ///< So many of this key at once; 0: any number. The last counts.
};
static_assert(std::is_trivially_destructible_v<job_options>,
              "it may stand in an awaited expression (docs/compilers.md)");

/// What a job has told since the last time.
template <script_form S>
struct job_update {
  std::optional<typename detail::script_telling<S>::progress> progress;  ///< The latest, if new.
  std::vector<typename detail::script_telling<S>::output> output;
};

/// What one job tells, from its beginning on.
template <script_form S>
class job_stream {
public:
  job_stream(job_store& from, job_id id) noexcept : from_(&from), id_(id) {}

  /// What is new, as soon as there is something; nothing once the job has ended and all was read.
  /// Throws what `client::result` throws where the job is not known.
  [[nodiscard]] task<std::optional<job_update<S>>> next() {
    while (!has_ended_) {
      job_news news = co_await from_->news(id_, seen_);
      seen_ = news.number;
      has_ended_ = is_final(news.state);
      if (!news.progress && news.output.empty()) continue;
      using telling = detail::script_telling<S>;
      job_update<S> update;
      if (news.progress) {
        update.progress = decode<typename telling::progress>(*news.progress).value();
      }
      for (const job_piece& p : news.output) {
        update.output.push_back(decode<typename telling::output>(p.body).value());
      }
      co_return update;
    }
    co_return std::nullopt;
  }

private:
  job_store* from_;
  job_id id_;
  std::uint64_t seen_ = 0;
  bool has_ended_ = false;
};

/// Cheap; outlives the tasks it gives, as the network does.
///
/// What has no script in the workspace is refused with `errc::no_such_module` before it is sent.
///
/// Thread safety: all members but the destructor from any thread.
class client {
public:
  client(network& over, workspace scripts)
      : over_(over), store_(over.jobs()), scripts_(std::move(scripts)) {}

  /// Runs a job ahead of those that are queued; its result. Params are made of `args`. Throws
  /// `job_failed`, and `errc::interrupted` for one that was cancelled. It is known to nobody else,
  /// and goes on where the caller is stopped. Options that no job may have throw
  /// `std::invalid_argument`, here and below.
  template <script_form S, class... Args>
  [[nodiscard]] task<typename S::result> play(Args&&... args) {
    return play<S>(job_options(), std::forward<Args>(args)...);
  }
  template <script_form S, class... Args>
  [[nodiscard]] task<typename S::result> play(job_options o, Args&&... args) {
    if (o.idempotency_key.empty()) o.result_ttl = duration::zero();
    job_request r = request<S>(o, std::forward<Args>(args)...);
    r.ahead = true;
    return run<S>(store_, std::move(r));
  }

  /// Adds a job; its id.
  template <script_form S, class... Args>
  [[nodiscard]] task<job_id> queue(Args&&... args) {
    return queue<S>(job_options(), std::forward<Args>(args)...);
  }
  template <script_form S, class... Args>
  [[nodiscard]] task<job_id> queue(job_options o, Args&&... args) {
    return store_.add(request<S>(o, std::forward<Args>(args)...));
  }

  /// The result of an `S`, as soon as there is one, until its time to live is over. Throws
  /// `job_failed`; `errc::interrupted` for one that was cancelled; `errc::result_lost` for one that
  /// is known no more; `errc::refused` for one that never was; `errc::bad_message` for a result of
  /// another type.
  template <script_form S>
  [[nodiscard]] task<typename S::result> result(job_id id) {
    return await_result<S>(store_, id);
  }
  /// How it has ended, as soon as it has; throws only where `result` knows no job.
  [[nodiscard]] task<job_outcome> completion(job_id id) { return store_.settled(id); }

  /// Its progress and output, from the beginning.
  template <script_form S>
  [[nodiscard]] job_stream<S> stream(job_id id) {
    return job_stream<S>(store_, id);
  }

  /// Nothing: it is not known, or not any more.
  [[nodiscard]] task<std::optional<job_info>> get(job_id id) { return store_.get(id); }
  /// One that waits ends at once, one that runs is asked to. False: it had ended.
  [[nodiscard]] task<bool> cancel(job_id id) { return store_.cancel(id); }
  /// Those in `state`, in the order in which they came there; the next page from `job_page::next`.
  [[nodiscard]] task<job_page> list(job_state state, std::optional<job_id> from = {},
                                    std::size_t most = 100) {
    return store_.list(state, from, most);
  }
  [[nodiscard]] task<job_counts> counts() { return store_.counts(); }

  /// Those that have failed for good; each says why.
  [[nodiscard]] task<job_page> dead(std::optional<job_id> from = {}, std::size_t most = 100) {
    return store_.list(job_state::dead, from, most);
  }
  /// It waits again, as if it were new. False: it is not dead.
  [[nodiscard]] task<bool> requeue(job_id id) { return store_.requeue(id); }
  /// Forgets one that has ended. False: it has not.
  [[nodiscard]] task<bool> purge(job_id id) { return store_.purge(id); }

  /// From now on a job is added whenever `when`, an expression for `cron`, says so: by a composer,
  /// until `unschedule`. True: that is a change; false: the schedule of this name was the same.
  ///
  /// Occurrences that are missed are not made up for: one comes as soon as it can, then the next in
  /// its turn. While the job of one waits, no further one is added.
  ///
  /// Throws `std::invalid_argument` for what is no such expression, for one that never fires, for a
  /// name that is empty or longer than 200 bytes, and for options with a delay or an idempotency
  /// key. Those jobs have idempotency keys, one for each occurrence, and their ends are known for
  /// a minute at least.
  template <script_form S, class... Args>
  [[nodiscard]] task<bool> schedule(std::string_view name, std::string_view when, Args&&... args) {
    return schedule<S>(name, when, job_options(), std::forward<Args>(args)...);
  }
  template <script_form S, class... Args>
  [[nodiscard]] task<bool> schedule(std::string_view name, std::string_view when, job_options o,
                                    Args&&... args) {
    require(!name.empty() && name.size() <= 200, "a schedule's name has 1 to 200 bytes");
    require(o.delay == duration::zero(), "the calendar says when a scheduled job starts");
    require(o.idempotency_key.empty(), "a scheduled job has an idempotency key of its own");
    detail::schedule_plan plan;
    plan.name = name;
    plan.cron = cron(when).text();
    plan.work = detail::to_scheduled_work(request<S>(o, std::forward<Args>(args)...));
    return detail::put_schedule(over_, std::move(plan));
  }
  /// No further job of this schedule is added once it returns; those that were are left as they
  /// are. False: there was none.
  [[nodiscard]] task<bool> unschedule(std::string_view name) {
    return detail::end_schedule(over_, std::string(name));
  }
  /// All of them, by name. Looks through all jobs that have not ended, as the two above do.
  [[nodiscard]] task<std::vector<job_schedule>> schedules() {
    return detail::list_schedules(store_);
  }

private:
  static void require(bool is, const char* what) {
    if (!is) throw std::invalid_argument(what);
  }

  template <script_form S, class... Args>
  job_request request(const job_options& o, Args&&... args) {
    if (!scripts_.has<S>()) throw error(errc::no_such_module, {}, std::string(script_name<S>()));
    const typename S::params params = detail::make_params<S>(std::forward<Args>(args)...);
    job_request r;
    r.script = script_name<S>();
    r.version = script_version<S>();
    r.params = shared_bytes(encode(params));
    r.priority = o.priority;
    r.delay = o.delay;
    r.attempts = o.attempts;
    r.retry = o.retry;
    r.losses = o.losses;
    r.time_limit = o.time_limit;
    r.lease = o.lease;
    r.keep = o.result_ttl;
    r.once = o.idempotency_key;
    r.key = o.concurrency_key;
    r.together = o.concurrency;
    require_valid(r);
    return r;
  }

  template <script_form S>
  static task<typename S::result> run(job_store& store, job_request r) {
    auto running = store.run(std::move(r));
    const job_outcome end = co_await std::move(running);
    co_return value_of<S>(end);
  }
  template <script_form S>
  static task<typename S::result> await_result(job_store& store, job_id id) {
    const job_outcome end = co_await store.settled(id);
    co_return value_of<S>(end);
  }

  template <script_form S>
  static typename S::result value_of(const job_outcome& end) {
    if (end.state == job_state::cancelled) {
      throw error(errc::interrupted, {}, "the job was cancelled");
    }
    if (end.state == job_state::dead) throw job_failed(end.error);
    if constexpr (!std::is_void_v<typename S::result>) {
      return std::move(decode<typename S::result>(end.result)).value();
    }
  }

  network& over_;
  job_store& store_;
  const workspace scripts_;
};

}  // namespace troupe

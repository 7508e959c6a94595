// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `job_store`: the jobs that processes have in common, whatever keeps them.
///
/// Layer: net. Knows no script: params and results are bytes here.

#include <charconv>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// Names one job of one store, for good. Later jobs have higher numbers.
struct job_id {
  /// Of the store: one that has lost all it had has another one. 0: no job.
  std::uint64_t epoch = 0;
  std::uint64_t number = 0;

  friend auto operator<=>(const job_id&, const job_id&) = default;
};

/// As `parse_job_id` reads it.
[[nodiscard]] inline std::string to_string(const job_id& id) {
  return std::to_string(id.epoch) + '-' + std::to_string(id.number);
}

/// Nothing, if `text` is not what `to_string` writes.
[[nodiscard]] inline std::optional<job_id> parse_job_id(std::string_view text) noexcept {
  job_id id;
  const char* const end = text.data() + text.size();
  const std::from_chars_result epoch = std::from_chars(text.data(), end, id.epoch);
  if (epoch.ec != std::errc() || epoch.ptr == end || *epoch.ptr != '-') return std::nullopt;
  const std::from_chars_result number = std::from_chars(epoch.ptr + 1, end, id.number);
  if (number.ec != std::errc() || number.ptr != end) return std::nullopt;
  return id;
}

/// Where a job is. The last three are final, unless a dead one is queued again.
enum class job_state : std::uint8_t {
  waiting,    ///< For an instrument that knows its script and has room.
  delayed,    ///< For a time: its first one, or that of its next attempt.
  active,     ///< An instrument has it.
  completed,  ///< It has a result.
  dead,       ///< It has failed for good, and says why.
  cancelled   ///< Somebody wanted it no more.
};
inline constexpr std::size_t job_state_count = 6;

[[nodiscard]] constexpr bool is_final(job_state s) noexcept { return s >= job_state::completed; }

[[nodiscard]] constexpr std::string_view to_string(job_state s) noexcept {
  constexpr std::string_view names[job_state_count] = {"waiting",   "delayed", "active",
                                                       "completed", "dead",    "cancelled"};
  return names[static_cast<std::size_t>(s)];
}

/// Why a job has failed.
struct job_error {
  std::string type;       ///< The class of the exception; empty: there was none, or it has no name.
  std::string text;       ///< Its `what()`.
  std::int32_t code = 0;  ///< An `errc`; 0: another one.
  std::string reason;     ///< Why it is not tried again; empty: it is.
};

/// A job as it is wanted. What it may not be, `require_valid` says (net/valid_job.hpp).
struct job_request {
  job_request() = default;  // no aggregate: it stands in awaited expressions (docs/compilers.md)

  std::string script;
  std::uint32_t version = 1;  ///< Of the script; an instrument that has another one leaves it.
  shared_bytes params;

  bool ahead = false;                 ///< Before all that are not, whatever their priority.
  std::int32_t priority = 0;          ///< The higher, the sooner.
  duration delay = duration::zero();  ///< Before it may start.
  std::uint32_t attempts = 1;         ///< So often it may fail, until it has failed for good.
  backoff_options retry;              ///< Waits between attempts.
  std::uint32_t losses = 3;           ///< So many instruments may die of it, crashes counted in.
  duration time_limit = std::chrono::minutes(10);  ///< Of one attempt.
  duration lease = std::chrono::seconds(30);  ///< An instrument that is silent so long has lost it.
  duration keep = std::chrono::hours(1);      ///< How long its end is known; zero: to who waits.
  std::string once;  ///< While a job with this key of this script is known, it is that one.
  std::string key;   ///< Whose it is: those who have keys share fairly.
  std::uint32_t together = 0;  ///< So many of this key at once; 0: any number. The last one counts.
};

/// A job at some moment gone by. What is shared is not written to any more.
struct job_info {
  job_id id;
  job_state state = job_state::waiting;
  std::uint32_t attempt = 0;   ///< Deliveries to instruments, but those that were given back.
  std::uint32_t failures = 0;  ///< Attempts that have failed.
  std::uint32_t losses = 0;    ///< Instruments that were lost with it, and its crashes.
  bool stop_asked = false;
  /// When its delay, its lease or its time to live is over: by the clock of `network::runs_on`
  /// here. Others count by clocks of their own.
  time_point until = never;
  std::string holder;  ///< The instrument that has it.
  std::shared_ptr<const job_request> request;
  shared_bytes result;
  std::shared_ptr<const job_error> error;  ///< Of its end or its last attempt, if that has failed.
};

/// How a job has ended.
struct job_outcome {
  job_state state = job_state::completed;
  shared_bytes result;
  std::shared_ptr<const job_error> error;
};

/// What a running job has told.
struct job_piece {
  std::uint64_t number = 0;  ///< Rises within a job.
  shared_bytes body;
};

/// What has become known of a job since somebody looked.
struct job_news {
  std::uint64_t number = 0;  ///< To be asked for what comes after it.
  job_state state = job_state::waiting;
  std::optional<shared_bytes> progress;  ///< The latest, if there was any.
  std::vector<job_piece> output;
};

/// A job that was handed to an instrument.
struct job_delivery {
  job_id id;
  std::uint64_t fence = 0;  ///< Rises with each delivery of any job; names this one.
  std::uint32_t attempt = 1;
  std::uint32_t failures = 0;  ///< Attempts that have failed before.
  std::uint32_t losses = 0;    ///< Instruments that were lost with it before, and its crashes.
  std::shared_ptr<const job_request> request;

  /// Its first lease, if it is not that of the request: zero. A store from which deliveries can get
  /// lost gives a short one; who has got it renews it within, or has committed by then. What was
  /// not heard of by then goes to somebody else, and that is no loss.
  duration lease = duration::zero();
  /// From when on it counts, by the clock of `network::runs_on` here: no later than the store has
  /// it. `never`: since it was got.
  time_point since = never;
};

/// A job that an instrument has.
struct job_claim {
  job_id id;
  std::uint64_t fence = 0;
};

/// What an instrument says at the end of an attempt.
struct job_commit {
  enum kind_of : std::uint8_t {
    completed,  ///< With `result`.
    failed,     ///< With `error`: again after `after`, while it has attempts left.
    crashed,    ///< The same, but what ran it died of it: it counts as a failure and as a loss.
    refused,    ///< With `error`: no attempt can succeed.
    cancelled,  ///< It has heeded the request to stop.
    released    ///< Not its fault: it goes back as if it had not been taken.
  };

  job_commit() = default;  // no aggregate, as `job_request`

  kind_of kind = completed;
  shared_bytes result = {};
  std::shared_ptr<const job_error> error = {};
  duration after = duration::zero();
};

/// What an instrument learns of a job it has.
enum class job_hold : std::uint8_t {
  held,        ///< Its lease has begun anew.
  stop_asked,  ///< The same, but it is wanted no more.
  lost         ///< It is somebody else's, or nobody's.
};

/// What one instrument does with jobs. Closed by its destructor, when nobody awaits it any more.
///
/// Whoever waits in `take` has room for one job: as many are handed out as there are waiting.
///
/// `renew_all` and `commit` throw `errc::connection_lost` where the network cannot be reached,
/// after a while of its own at most; what has happened to the job is not known then. Both may be
/// said again. `take` and `notice` wait until it can be reached.
///
/// Thread safety: all members but the destructor from any thread.
class job_taker {
public:
  virtual ~job_taker() = default;

  [[nodiscard]] virtual const std::string& name() const noexcept = 0;

  /// The next job, as soon as there is one; nothing once it is closed.
  [[nodiscard]] virtual task<std::optional<job_delivery>> take() = 0;

  /// Waits until some job that it has should be looked after, by `renew`: a stop is asked for, or
  /// it is lost.
  [[nodiscard]] virtual task<> notice() = 0;

  /// Begins the leases of all of them anew: they count from when this is asked. What has become of
  /// each, in their order.
  [[nodiscard]] virtual task<std::vector<job_hold>> renew_all(std::vector<job_claim> jobs) = 0;
  /// The same for one.
  [[nodiscard]] inline task<job_hold> renew(job_id id, std::uint64_t fence);

  /// Ends the attempt. False: it is not this one's any more, and nothing has happened. Said again
  /// after its answer was lost it may be either. Throws what `require_valid` throws.
  [[nodiscard]] virtual task<bool> commit(job_id id, std::uint64_t fence, job_commit c) = 0;

  /// Tells what the job has come to: its progress, of which the last one counts, or a further piece
  /// of output. Does not wait: a network that has to queue it does so within a bound, sends it in
  /// order, and before the commit. False: it was not taken, since the job is known to be lost, has
  /// said as much as it may, or the queue is full.
  virtual bool write(job_id id, std::uint64_t fence, bool is_progress, shared_bytes body) = 0;

  /// Takes nothing any more. What it has can still be renewed and committed.
  virtual void close() noexcept = 0;

protected:
  job_taker() = default;
  job_taker(const job_taker&) = default;
  job_taker& operator=(const job_taker&) = default;
};

inline task<job_hold> job_taker::renew(job_id id, std::uint64_t fence) {
  auto renewing = renew_all({job_claim{id, fence}});
  const std::vector<job_hold> holds = co_await std::move(renewing);
  co_return holds.at(0);
}

/// A script that an instrument has.
struct job_script {
  std::string name;
  std::uint32_t version = 1;
};

/// A page of a list.
struct job_page {
  std::vector<job_info> jobs;
  std::optional<job_id> next;  ///< Where the next page begins; nothing: this is the last one.
};

/// How many jobs there are in each state.
struct job_counts {
  std::size_t of[job_state_count] = {};

  [[nodiscard]] std::size_t operator[](job_state s) const noexcept {
    return of[static_cast<std::size_t>(s)];
  }
};

/// Jobs held in common. Each operation is one step that happens entirely or not at all.
///
/// Waiting jobs are taken in this order: those that are `ahead`; the higher priority; whose key
/// was served least recently; the older one.
///
/// All of them throw `errc::connection_lost` where the store cannot be reached, and those that are
/// given an id `errc::network_reset` for one of a store that is lost.
///
/// Thread safety: all members but the destructor from any thread.
class job_store {
public:
  virtual ~job_store() = default;

  /// Its id; or that of the job with the same `once`. Throws `errc::mailbox_full` where there are
  /// as many jobs as there may be, and what `require_valid` throws.
  [[nodiscard]] virtual task<job_id> add(job_request r) = 0;

  /// Adds it and waits for its end, in one: its `keep` may be zero. It goes on where who waits is
  /// stopped. Once it is added, a connection that is lost does not end the wait, which goes on when
  /// there is one again.
  [[nodiscard]] virtual task<job_outcome> run(job_request r) = 0;

  /// How it has ended, as soon as it has. Throws `errc::refused` for a job that never was, and
  /// `errc::result_lost` for one that is known no more.
  [[nodiscard]] virtual task<job_outcome> settled(job_id id) = 0;

  /// What came after `number`, as soon as there is something, or it has ended. Throws as `settled`.
  [[nodiscard]] virtual task<job_news> news(job_id id, std::uint64_t number) = 0;

  /// Nothing: it is not known, or not any more.
  [[nodiscard]] virtual task<std::optional<job_info>> get(job_id id) = 0;

  /// Those in `state` in the order in which they came there, at most `most` of them (1000 at most),
  /// from `from` on. Where that one has left its place meanwhile, from about there.
  [[nodiscard]] virtual task<job_page> list(job_state state, std::optional<job_id> from,
                                            std::size_t most) = 0;
  [[nodiscard]] virtual task<job_counts> counts() = 0;

  /// It is wanted no more: one that waits ends now, one that runs is asked to. False: it had ended.
  [[nodiscard]] virtual task<bool> cancel(job_id id) = 0;
  /// A dead one waits again, as if it were new: nothing is left of its attempts, its error, its
  /// progress and its output. False: it is not dead.
  [[nodiscard]] virtual task<bool> requeue(job_id id) = 0;
  /// Forgets one that has ended. False: it has not.
  [[nodiscard]] virtual task<bool> purge(job_id id) = 0;

  [[nodiscard]] virtual std::unique_ptr<job_taker> open_taker(std::string name,
                                                              std::vector<job_script> scripts) = 0;

  /// Does what is due: delays, leases and times to live that are over; only so much of it at once
  /// that nobody is held up. When to come again: a time gone by, where there is more already;
  /// `never`, where nothing is under way. Like all times here by the clock of `network::runs_on`.
  [[nodiscard]] virtual task<time_point> sweep() = 0;
  /// Returns when something is due before `t`, which a sweep has given.
  [[nodiscard]] virtual task<> due_before(time_point t) = 0;

protected:
  job_store() = default;
  job_store(const job_store&) = default;
  job_store& operator=(const job_store&) = default;
};

}  // namespace troupe

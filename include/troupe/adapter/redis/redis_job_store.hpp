// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_store`: the jobs of a `redis_network`.
///
/// Layer: adapter. What happens to jobs is a matter of `redis_job_library`; here is who asks, and
/// who waits. Two coroutines make the calls: one adds jobs, the other does all that finishes some,
/// which a server whose memory is full still does. Each has one call under way at most. A call
/// whose answer was lost is made again with the same number, and gets the answer that it had: what
/// it asked happens once.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_job_ask.hpp>
#include <troupe/adapter/redis/redis_job_calls.hpp>
#include <troupe/adapter/redis/redis_job_queue.hpp>
#include <troupe/adapter/redis/redis_job_taker.hpp>
#include <troupe/adapter/redis/redis_job_waits.hpp>
#include <troupe/adapter/redis/redis_job_wire.hpp>
#include <troupe/adapter/redis/redis_link.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/valid_job.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The coroutines that make the calls. They handle what they throw themselves.
class redis_job_loops final : public task_scope {
public:
  explicit redis_job_loops(executor& on) noexcept : task_scope(on, &redis_job_loops::forget) {}

private:
  static void forget(task_scope&, std::exception_ptr) noexcept {}
};

/// Outlives its takers, and whoever waits for something in it. Its destructor waits, so it is
/// destroyed on a thread that may block.
class redis_job_store final : public job_store, private redis_job_desk {
public:
  redis_job_store(executor& on, redis_link& link, const redis_job_limits& limits = {});
  redis_job_store(const redis_job_store&) = delete;
  redis_job_store& operator=(const redis_job_store&) = delete;
  ~redis_job_store() override;

  inline task<job_id> add(job_request r) override;
  inline task<job_outcome> run(job_request r) override;
  inline task<job_outcome> settled(job_id id) override;
  inline task<job_news> news(job_id id, std::uint64_t number) override;
  inline task<std::optional<job_info>> get(job_id id) override;
  inline task<job_page> list(job_state state, std::optional<job_id> from,
                             std::size_t most) override;
  inline task<job_counts> counts() override;
  task<bool> cancel(job_id id) override { return change('x', id); }
  task<bool> requeue(job_id id) override { return change('q', id); }
  task<bool> purge(job_id id) override { return change('d', id); }
  inline std::unique_ptr<job_taker> open_taker(std::string name,
                                               std::vector<job_script> scripts) override;
  inline task<time_point> sweep() override;
  inline task<> due_before(time_point t) override;

private:
  /// A taker that asks with a call.
  struct order_of {
    redis_job_taker_ptr taker;
    std::uint32_t wanted = 0;
    bool was_hungry = false;
    bool is_done = false;  // what it got was handed out
  };
  /// What goes out with one call.
  struct batch {
    redis_job_asks asks;
    std::vector<order_of> orders;
    redis_job_header header;
    time_point since{};  // when it was asked first

    [[nodiscard]] bool empty() const noexcept { return asks.empty() && orders.empty(); }
  };
  struct failure {
    errc code{};
    std::string why;
    [[nodiscard]] bool may_pass() const noexcept {
      return code == errc::connection_lost || code == errc::timed_out;
    }
  };

  static constexpr std::size_t longest_page = 1000;
  static constexpr std::size_t page_bytes = std::size_t{8} << 20;
  static constexpr std::size_t most_queued = std::size_t{64} << 20;  // bytes of what jobs tell
  static constexpr std::size_t most_ends = 128;                      // as the library gives at once
  static constexpr duration heartbeat = std::chrono::seconds(1);
  // Two clocks are never quite the same.
  static constexpr duration due_slack = std::chrono::milliseconds(5);

  // The desk of the takers.
  spin_lock& lock() noexcept override { return lock_; }
  void ring() noexcept override { work_bell_.ring(); }
  inline task<char> ask(redis_job_ask_ptr a) override;
  inline task<std::string> ask_all(std::vector<redis_job_ask_ptr> all) override;
  bool tell(const redis_job_ask_ptr& a) noexcept override {
    if (works_.bytes() > most_queued) return false;
    works_.push(*a);
    return true;
  }
  void resized(std::size_t before, std::size_t after) noexcept override {
    works_.resized(before, after);
  }
  const redis_job_limits& bounds() const noexcept override { return calls_.limits(); }
  inline void remove(redis_job_taker_state& t) noexcept override;

  // Calls.
  task<> repeat(task<> (redis_job_store::*step)());
  task<> add_some();
  task<> work_some();
  task<> hear_first();
  task<> wait_for_work();
  task<> exchange_adds(batch& b);
  task<> exchange_work(batch& b);
  template <class Fill>
  task<redis_shared_reply> look(const std::string& function, const Fill& fill);
  task<> know_epoch();
  task<> check(job_id id);
  task<bool> change(char letter, job_id id);
  void gather_adds(batch& b);
  bool gather_work(batch& b);
  void gather_orders(batch& b);
  task<> trouble(batch& b, redis_job_queue& queue, const failure& f, backoff& patience);
  void fail_batch(batch& b, const failure& f);
  bool is_abandoned(const batch& b);
  static failure described(const std::exception_ptr& e);

  // Answers.
  void settle_adds(const batch& b, const redis_shared_reply& reply);
  task<> settle_work(batch& b, redis_shared_reply reply);
  void settle_asks(const batch& b, const redis_view& answers, bool has_all_ends);
  task<> hand_out(order_of& o, redis_shared_reply reply, redis_view list, time_point since);
  task<redis_shared_reply> fetch_value(std::string key);
  void hand(const order_of& o, job_delivery d, const redis_held_job& told);
  void refuse(const order_of& o, std::uint64_t number, std::uint64_t fence);
  task<> settle_ends(const batch& b, redis_shared_reply reply);
  void settle_end(const redis_job_end& end);
  void learn_due(std::uint64_t microseconds);
  job_info info_from(const redis_shared_reply& reply, redis_view parts, std::size_t at);
  void throw_unknown(char letter, job_id id);

  // What is heard, on the link's thread.
  void heard(std::string_view word) noexcept;
  void heard_of_taker(std::uint32_t serial, bool is_notice, served_queue& served) noexcept;
  void heard_of_connection() noexcept;
  void reset() noexcept;
  void wait_again();
  [[nodiscard]] bool anybody_waits() const noexcept;

  executor& on_;
  const shared_bytes lost_;           // what is said of a job that is lost ...
  const shared_bytes lost_for_good_;  // ... and of one that is lost too often
  redis_job_bell add_bell_;
  redis_job_bell work_bell_;

  mutable spin_lock lock_;  // guards all below, up to the calls
  redis_job_queue adds_;
  redis_job_queue works_;
  redis_job_waits waits_;                                 // for ends
  redis_job_waits watches_;                               // for news
  std::unordered_map<std::uint64_t, job_outcome> early_;  // ends of jobs whose adding is under way
  bool runs_are_added_ = false;                           // so that `early_` is of use
  std::vector<redis_job_taker_ptr> takers_;
  std::uint32_t serials_ = 0;
  std::uint32_t ack_ = 0;  // ends that were had
  std::uint64_t acked_ = 0;
  bool should_fetch_ = false;
  bool should_wait_again_ = false;  // who waits is to be made known to Redis once more
  bool has_beaten_ = false;
  bool is_closing_ = false;
  time_point due_at_ = never;
  std::vector<std::pair<time_point, redis_job_ask_ptr>> dues_;

  std::uint64_t add_seq_ = 0;   // of `add_some` alone
  std::uint64_t work_seq_ = 0;  // like the next one of `work_some` alone
  bool has_heard_ = false;      // Redis knows of the channels, or could not be asked

  redis_job_calls calls_;
  redis_listening words_;
  redis_listening due_words_;
  redis_listening events_;
  redis_job_loops loops_;
};

inline job_error redis_job_loss(std::string reason) {
  job_error e;
  e.text = "the instrument that had it was lost";
  e.code = static_cast<std::int32_t>(errc::worker_crashed);
  e.reason = std::move(reason);
  return e;
}

inline redis_job_store::redis_job_store(executor& on, redis_link& link,
                                        const redis_job_limits& limits)
    : on_(on),
      lost_(redis_encoded(std::make_shared<const job_error>(redis_job_loss({})))),
      lost_for_good_(redis_encoded(std::make_shared<const job_error>(
          redis_job_loss("too many instruments were lost with it")))),
      calls_(link, limits, [this] { reset(); }),
      loops_(on) {
  words_ = link.subscribe(calls_.key() + ":c:" + calls_.process(),
                          [this](std::string_view word) { heard(word); });
  due_words_ = link.subscribe(calls_.key() + ":due", [this](std::string_view word) {
    std::uint64_t left = 0;
    std::from_chars(word.data(), word.data() + word.size(), left);
    learn_due(left);
  });
  events_ = link.on_event([this](redis_event) { heard_of_connection(); });
  loops_.spawn(repeat(&redis_job_store::add_some));
  loops_.spawn(repeat(&redis_job_store::work_some));
}

inline redis_job_store::~redis_job_store() {
  {
    const spin_guard guard(lock_);
    is_closing_ = true;
  }
  loops_.request_stop();
  block_on(loops_.join(), &on_);
}

// --- what is heard ------------------------------------------------------------------------------

/// `e`: an end is there; `t` and `n`: a taker has something to take, or to look after; `w`: there
/// are news of a job.
inline void redis_job_store::heard(std::string_view word) noexcept {
  if (word.empty()) return;
  std::uint64_t number = 0;
  std::from_chars(word.data() + 1, word.data() + word.size(), number);
  served_queue served;
  {
    const spin_guard guard(lock_);
    if (word[0] == 'e') should_fetch_ = true;
    if (word[0] == 'w') {
      watches_.settle(number, [&](redis_job_ask& a) { a.settle('w', 0, served); });
    }
    const bool is_of_taker = word[0] == 't' || word[0] == 'n';
    if (is_of_taker) heard_of_taker(static_cast<std::uint32_t>(number), word[0] == 'n', served);
  }
  make_ready(served);
  if (word[0] == 'e' || word[0] == 't') work_bell_.ring();
}

inline void redis_job_store::heard_of_taker(std::uint32_t serial, bool is_notice,
                                            served_queue& served) noexcept {
  for (const redis_job_taker_ptr& t : takers_) {
    if (t->serial != serial) continue;
    if (is_notice) {
      t->is_noticed = true;
      while (wait_node* const w = t->looks.pop_front()) served.push_back(w->coroutine());
    } else {
      t->should_ask = true;
    }
  }
}

/// What was published meanwhile was not heard: everybody looks.
inline void redis_job_store::heard_of_connection() noexcept {
  served_queue served;
  {
    const spin_guard guard(lock_);
    should_fetch_ = true;
    should_wait_again_ = should_wait_again_ || !waits_.empty();
    watches_.settle_all(served);
    for (const redis_job_taker_ptr& t : takers_) {
      t->should_ask = true;
      if (t->held.empty()) continue;
      t->is_noticed = true;
      while (wait_node* const w = t->looks.pop_front()) served.push_back(w->coroutine());
    }
  }
  make_ready(served);
  work_bell_.ring();
}

/// All jobs are gone. What is queued and not asked yet is asked of the new store, if it makes sense
/// there.
inline void redis_job_store::reset() noexcept {
  const std::string why = "Redis has lost all jobs";
  served_queue served;
  {
    const spin_guard guard(lock_);
    waits_.fail_all(errc::network_reset, why, served);
    watches_.fail_all(errc::network_reset, why, served);
    works_.fail({}, true, errc::network_reset, why, served);
    early_.clear();
    for (const redis_job_taker_ptr& t : takers_) {
      t->should_ask = true;
      t->is_noticed = true;
      while (wait_node* const w = t->looks.pop_front()) served.push_back(w->coroutine());
    }
  }
  make_ready(served);
  work_bell_.ring();
}

/// Under the lock.
inline bool redis_job_store::anybody_waits() const noexcept {
  if (!waits_.empty() || !watches_.empty() || !dues_.empty() || ack_ != 0) return true;
  return std::any_of(takers_.begin(), takers_.end(),
                     [](const redis_job_taker_ptr& t) { return !t->takes.empty(); });
}

// --- calls --------------------------------------------------------------------------------------

/// What is awaited at a call, with the answer to be had from `a`.
inline task<char> redis_job_store::ask(redis_job_ask_ptr a) {
  a->asked_at = on_.now();
  const scope_exit leave([&a]() noexcept { a->leave(); });
  {
    const spin_guard guard(lock_);
    works_.push(*a);
  }
  work_bell_.ring();
  co_await a->settled();
  co_return a->take().first;
}

inline task<std::string> redis_job_store::ask_all(std::vector<redis_job_ask_ptr> all) {
  const time_point now = on_.now();
  const scope_exit leave([&all]() noexcept {
    for (const redis_job_ask_ptr& a : all) a->leave();
  });
  {
    const spin_guard guard(lock_);
    for (const redis_job_ask_ptr& a : all) {
      a->asked_at = now;
      works_.push(*a);
    }
  }
  work_bell_.ring();
  std::string letters;
  for (const redis_job_ask_ptr& a : all) {
    co_await a->settled();
    letters += a->take().first;
  }
  co_return letters;
}

inline redis_job_store::failure redis_job_store::described(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const error& known) {
    const bool is_ours = known.code().category() == error_category();
    return {is_ours ? static_cast<errc>(known.code().value()) : errc::interrupted, known.what()};
  } catch (const std::exception& other) {
    return {errc::interrupted, other.what()};
  }
}

/// For as long as the store lives: what cannot be done for lack of memory is tried again.
inline task<> redis_job_store::repeat(task<> (redis_job_store::*step)()) {
  for (;;) {
    bool is_well = false;
    try {
      co_await (this->*step)();
      is_well = true;
    } catch (...) {
      const spin_guard guard(lock_);
      if (is_closing_) co_return;
    }
    if (!is_well) co_await sleep_for(std::chrono::milliseconds(50));
  }
}

inline task<> redis_job_store::add_some() {
  co_await add_bell_.heard();
  for (;;) {
    add_bell_.clear();
    batch b;
    gather_adds(b);
    if (b.empty()) co_return;
    co_await exchange_adds(b);
  }
}

inline void redis_job_store::gather_adds(batch& b) {
  b.asks.reserve(redis_job_queue::most);
  b.since = on_.now();
  b.header.seq = ++add_seq_;
  const spin_guard guard(lock_);
  adds_.take(b.asks);
  early_.clear();
  runs_are_added_ = std::any_of(b.asks.begin(), b.asks.end(),
                                [](const redis_job_ask_ptr& a) { return a->awaits_end; });
}

inline task<> redis_job_store::exchange_adds(batch& b) {
  backoff patience({std::chrono::milliseconds(10), std::chrono::seconds(1), 2.0});
  const std::string function = redis_job_function("add");
  const auto fill = [&b](redis_command& c) {
    for (const redis_job_ask_ptr& a : b.asks) c.add(a->head).add(a->first);
  };
  for (;;) {
    failure f;
    try {
      const redis_shared_reply reply = co_await calls_.call(function, b.header, fill);
      settle_adds(b, reply);
      co_return;
    } catch (...) {
      f = described(std::current_exception());
    }
    if (!f.may_pass()) {
      fail_batch(b, f);
      const spin_guard guard(lock_);
      runs_are_added_ = false;
      co_return;
    }
    co_await trouble(b, adds_, f, patience);
    if (is_abandoned(b)) co_return;
  }
}

inline task<> redis_job_store::work_some() {
  if (!has_heard_) co_await hear_first();
  co_await wait_for_work();
  work_bell_.clear();
  batch b;
  if (gather_work(b)) co_await exchange_work(b);
}

/// What is published before Redis knows of the channels would not be heard; where it cannot be
/// reached, that is found again with each call.
inline task<> redis_job_store::hear_first() {
  auto subscribing = as_result(calls_.link().subscribed());
  const result<void> done = co_await std::move(subscribing);
  if (done.code() == make_error_code(errc::cancelled)) throw error(errc::cancelled);
  has_heard_ = true;
}

inline task<> redis_job_store::wait_for_work() {
  bool beats = false;
  {
    const spin_guard guard(lock_);
    beats = anybody_waits();
  }
  if (!beats) co_return co_await work_bell_.heard();
  auto waiting = as_result(within(work_bell_.heard(), heartbeat));
  const result<void> rung = co_await std::move(waiting);
  if (rung.has_value()) co_return;
  if (rung.code() != make_error_code(errc::timed_out)) throw error(errc::cancelled);
  const spin_guard guard(lock_);
  has_beaten_ = true;
}

/// False: there is nothing to be asked.
inline bool redis_job_store::gather_work(batch& b) {
  wait_again();
  b.asks.reserve(redis_job_queue::most);
  b.since = on_.now();
  const spin_guard guard(lock_);
  const bool beats = std::exchange(has_beaten_, false);
  if (beats) {
    for (const redis_job_taker_ptr& t : takers_) t->should_ask = true;
  }
  gather_orders(b);
  works_.take(b.asks);
  const bool fetches = std::exchange(should_fetch_, false);
  b.header.ack = ack_;
  b.header.acked = acked_;
  b.header.wants_ends = fetches || ack_ != 0 || runs_are_added_ || !waits_.empty();
  if (!works_.empty()) work_bell_.ring();
  if (b.empty() && !fetches && !beats) return false;
  b.header.seq = ++work_seq_;
  return true;
}

/// Under the lock. Whoever was told of something and has no room for it lets others have it.
inline void redis_job_store::gather_orders(batch& b) {
  for (const redis_job_taker_ptr& t : takers_) {
    std::uint32_t wanted = 0;
    for (auto at = t->takes.begin(); at != t->takes.end() && wanted != 128; ++at) ++wanted;
    const bool asks = t->should_ask;
    if (wanted != 0 && asks) {
      b.orders.push_back({t, wanted, t->is_hungry, false});
    } else if (wanted == 0 && t->is_hungry && (asks || t->is_closed)) {
      works_.push(*redis_pass_on_ask(*t));
      t->is_hungry = false;
    }
    t->should_ask = false;
  }
}

inline task<> redis_job_store::exchange_work(batch& b) {
  backoff patience({std::chrono::milliseconds(10), std::chrono::seconds(1), 2.0});
  const std::string function = redis_job_function("work");
  const auto fill = [&b](redis_command& c) {
    for (const redis_job_ask_ptr& a : b.asks) {
      c.add(a->head);
      if (a->width > 1) c.add(a->first);
      if (a->width > 2) c.add(a->second);
    }
    for (const order_of& o : b.orders) {
      redis_packer head;
      head.u8('t').u32(o.taker->serial).u32(o.wanted).u8(o.was_hungry ? 1 : 0);
      c.add(head.take()).add(o.taker->name).add(o.taker->scripts);
    }
  };
  for (;;) {
    failure f;
    try {
      redis_shared_reply reply = co_await calls_.call(function, b.header, fill);
      co_await settle_work(b, std::move(reply));
      co_return;
    } catch (...) {
      f = described(std::current_exception());
    }
    if (!f.may_pass()) fail_batch(b, f);
    co_await trouble(b, works_, f, patience);
    if (!f.may_pass() || is_abandoned(b)) co_return;
  }
}

/// Nobody waits for longer than a command may take, but who has said that he does. Ends with an
/// exception when the store is closed.
inline task<> redis_job_store::trouble(batch& b, redis_job_queue& queue, const failure& f,
                                       backoff& patience) {
  served_queue served;
  {
    const time_point now = on_.now();
    const time_point oldest = now - calls_.link().options().command_limit;
    const spin_guard guard(lock_);
    if (is_closing_) throw error(errc::cancelled);
    queue.fail(oldest, false, errc::connection_lost, f.why, served);
    for (const redis_job_ask_ptr& a : b.asks) {
      if (!a->is_patient && a->asked_at <= oldest) a->fail(errc::connection_lost, f.why, served);
    }
  }
  make_ready(served);
  co_await sleep_for(patience.next(on_.random()));
}

/// Nothing of it has happened; or it is not known what.
inline void redis_job_store::fail_batch(batch& b, const failure& f) {
  served_queue served;
  {
    const spin_guard guard(lock_);
    for (const redis_job_ask_ptr& a : b.asks) a->fail(f.code, f.why, served);
    for (const order_of& o : b.orders) o.taker->should_ask = true;
    should_fetch_ = should_fetch_ || b.header.wants_ends;
  }
  make_ready(served);
  work_bell_.ring();
}

/// Nobody is interested in its answers any more.
inline bool redis_job_store::is_abandoned(const batch& b) {
  if (!b.orders.empty() || b.header.wants_ends) return false;
  return std::all_of(b.asks.begin(), b.asks.end(),
                     [](const redis_job_ask_ptr& a) { return a->is_settled() || a->is_left(); });
}

/// What changes nothing, or may be done twice: asked again until the limit of a command has passed.
template <class Fill>
task<redis_shared_reply> redis_job_store::look(const std::string& function, const Fill& fill) {
  const time_point until = on_.now() + calls_.link().options().command_limit;
  backoff patience({std::chrono::milliseconds(10), std::chrono::seconds(1), 2.0});
  for (;;) {
    failure f;
    try {
      redis_job_header none;
      redis_shared_reply reply = co_await calls_.call(function, none, fill);
      co_return reply;
    } catch (...) {
      f = described(std::current_exception());
    }
    if (!f.may_pass() || on_.now() >= until) throw error(f.code, {}, f.why);
    co_await sleep_for(patience.next(on_.random()));
  }
}

// --- answers ------------------------------------------------------------------------------------

inline void redis_job_store::settle_adds(const batch& b, const redis_shared_reply& reply) {
  const redis_view answers = (*reply)[1];
  served_queue served;
  {
    const spin_guard guard(lock_);
    for (std::size_t i = 0; i != b.asks.size(); ++i) {
      const redis_job_ask_ptr& a = b.asks[i];
      const std::string_view text = answers[i].text();
      if (text == "F") {
        a->fail(errc::mailbox_full, "the network has as many jobs as it may", served);
        continue;
      }
      const std::uint64_t number = redis_job_number(text);
      if (!a->awaits_end) {
        a->settle('1', number, served);
        continue;
      }
      const auto ended = early_.find(number);
      if (ended != early_.end()) {
        a->settle(ended->second, served);
      } else if (!a->is_left()) {
        waits_.add(number, a);
      }
    }
    early_.clear();
    runs_are_added_ = false;
  }
  make_ready(served);
  work_bell_.ring();
}

inline task<> redis_job_store::settle_work(batch& b, redis_shared_reply reply) {
  const redis_view answers = (*reply)[1];
  redis_unpacker about((*reply)[0].text());
  about.u64();
  learn_due(about.u64());
  co_await settle_ends(b, reply);
  settle_asks(b, answers, (*reply)[2].size() < most_ends);
  for (std::size_t i = 0; i != b.orders.size(); ++i) {
    order_of& o = b.orders[i];
    if (o.is_done) continue;  // the answer has come again
    co_await hand_out(o, reply, answers[b.asks.size() + i], b.since);
  }
}

/// Who waits for an end is settled by that.
inline void redis_job_store::settle_asks(const batch& b, const redis_view& answers,
                                         bool has_all_ends) {
  served_queue served;
  {
    const spin_guard guard(lock_);
    for (std::size_t i = 0; i != b.asks.size(); ++i) {
      const redis_job_ask_ptr& a = b.asks[i];
      const char letter = answers[i].text().at(0);
      if (!a->awaits_end) {
        a->settle(letter, 0, served);
      } else if (letter != 'w' && !has_all_ends) {
        if (!a->is_queued) works_.push(*a);  // its end may be among those that are not had yet
      } else if (letter != 'w') {
        a->settle(letter, 0, served);
        waits_.settle(a->job, [&](redis_job_ask& one) { one.settle(letter, 0, served); });
      }
    }
  }
  make_ready(served);
}

inline task<redis_shared_reply> redis_job_store::fetch_value(std::string key) {
  redis_command c("GET", calls_.key() + std::move(key));
  redis_reply got = co_await calls_.link().ask(std::move(c));
  co_return std::make_shared<const redis_reply>(std::move(got));
}

/// The deliveries of one taker: what is known of each, and its request; a large one is fetched.
inline task<> redis_job_store::hand_out(order_of& o, redis_shared_reply reply, redis_view list,
                                        time_point since) {
  std::vector<std::pair<job_delivery, redis_held_job>> got;
  got.reserve(list.size() / 2);
  for (std::size_t i = 0; i + 1 < list.size(); i += 2) {
    redis_unpacker from(list[i].text());
    job_delivery d;
    d.id = {calls_.epoch(), from.job()};
    d.fence = from.u56();
    d.attempt = from.u32();
    d.failures = from.u32();
    d.losses = from.u32();
    d.since = since;
    redis_held_job told;
    told.output = from.u64();
    told.pieces = from.u32();
    shared_bytes request = redis_bytes(reply, list[i + 1].text());
    if (request.empty()) {
      const redis_shared_reply large = co_await fetch_value(":q:" + redis_job_text(d.id.number));
      if (large->is_null()) continue;  // it has ended meanwhile
      request = redis_bytes(large, large->text());
    }
    try {
      d.request = redis_decoded(request);
    } catch (const std::exception&) {
      d.request = nullptr;
    }
    got.emplace_back(std::move(d), told);
  }
  o.is_done = true;
  for (auto& [d, told] : got) {
    if (d.request) {
      hand(o, std::move(d), told);
    } else {
      refuse(o, d.id.number, d.fence);
    }
  }
  const spin_guard guard(lock_);
  redis_job_taker_state& t = *o.taker;
  t.is_hungry = list.size() / 2 < o.wanted;
  const bool asks_on = !t.is_hungry && !t.takes.empty();
  if (asks_on) t.should_ask = true;
  if (t.should_ask || t.is_closed) work_bell_.ring();
}

/// To who has waited longest; back, if nobody waits any more.
inline void redis_job_store::hand(const order_of& o, job_delivery d, const redis_held_job& told) {
  job_commit back;
  back.kind = job_commit::released;
  const redis_job_ask_ptr released = redis_commit_ask(o.taker->serial, d.id.number, d.fence, back);
  released->is_patient = true;
  served_queue served;
  {
    const spin_guard guard(lock_);
    if (wait_node* const w = o.taker->takes.pop_front()) {
      o.taker->held.emplace(d.fence, told);
      static_cast<job_take_wait&>(*w).got = std::move(d);
      served.push_back(w->coroutine());
    } else {
      works_.push(*released);
    }
  }
  if (served.empty()) work_bell_.ring();
  make_ready(served);
}

/// Nobody here can read it, and so nobody of this build.
inline void redis_job_store::refuse(const order_of& o, std::uint64_t number, std::uint64_t fence) {
  job_error e;
  e.code = static_cast<std::int32_t>(errc::bad_message);
  e.text = "an instrument cannot read the request";
  e.reason = "it was made by another version of troupe";
  job_commit c;
  c.kind = job_commit::refused;
  c.error = std::make_shared<const job_error>(std::move(e));
  const redis_job_ask_ptr refused = redis_commit_ask(o.taker->serial, number, fence, c);
  refused->is_patient = true;
  {
    const spin_guard guard(lock_);
    works_.push(*refused);
  }
  work_bell_.ring();
}

inline task<> redis_job_store::settle_ends(const batch& b, redis_shared_reply reply) {
  const redis_view ends = (*reply)[2];
  std::uint64_t last = 0;
  for (std::size_t i = 0; i != ends.size(); ++i) {
    redis_job_end end = redis_unpacked_end(ends[i].text());
    last = end.number;
    if (!end.outcome) {
      const redis_shared_reply large =
          co_await fetch_value(":b:" + calls_.process() + redis_job_text(end.number));
      if (large->is_null()) continue;
      end = redis_unpacked_end(large->text());
    }
    settle_end(end);
  }
  if (!b.header.wants_ends) co_return;
  const spin_guard guard(lock_);
  ack_ = static_cast<std::uint32_t>(ends.size());
  acked_ = last;
  if (ends.size() == most_ends) should_fetch_ = true;
  if (should_fetch_ || should_wait_again_) work_bell_.ring();
}

inline void redis_job_store::settle_end(const redis_job_end& end) {
  served_queue served;
  {
    const spin_guard guard(lock_);
    const auto settle = [&](redis_job_ask& a) { a.settle(*end.outcome, served); };
    waits_.settle(end.number, settle);
    // Another one here may just be added to those that wait for the same job.
    if (runs_are_added_) early_.insert_or_assign(end.number, *end.outcome);
  }
  make_ready(served);
}

/// Who waits is made known to Redis again, which may have lost its last second.
inline void redis_job_store::wait_again() {
  std::vector<std::uint64_t> jobs;
  {
    const spin_guard guard(lock_);
    if (!should_wait_again_ || should_fetch_) return;  // first those ends that are there
    jobs.reserve(waits_.size());
    should_wait_again_ = false;
    waits_.jobs(jobs);
  }
  for (const std::uint64_t job : jobs) {
    const redis_job_ask_ptr a = make_redis_job_ask();
    a->head = redis_packer().u8('w').job(job).take();
    a->job = job;
    a->is_patient = true;
    a->awaits_end = true;
    const spin_guard guard(lock_);
    works_.push(*a);
  }
}

inline void redis_job_store::learn_due(std::uint64_t microseconds) {
  const time_point due = redis_time_from(on_.now(), microseconds);
  served_queue served;
  {
    const spin_guard guard(lock_);
    due_at_ = due;
    std::erase_if(dues_, [&](const auto& waiting) {
      const bool is_sooner = due != never && due + due_slack < waiting.first;
      if (is_sooner) waiting.second->settle('1', 0, served);
      return is_sooner;
    });
  }
  make_ready(served);
}

// --- jobs ---------------------------------------------------------------------------------------

inline redis_job_ask_ptr redis_add_ask(const job_request& r, bool waits) {
  constexpr std::size_t largest = std::size_t{500} << 20;  // of a value of Redis: 512 MB
  const redis_job_ask_ptr a = make_redis_job_ask();
  std::string request = redis_encoded(r);
  if (request.size() > largest) throw error(errc::too_large, {}, "a job holds less than 500 MB");
  redis_packer head;
  head.u8(waits ? 1 : 0).u64(redis_microseconds(r.delay)).raw(redis_job_head(r, request));
  a->head = head.take();
  if (request.size() > redis_short_request) a->first = shared_bytes(std::move(request));
  a->width = 2;
  a->awaits_end = waits;
  a->is_patient = waits;
  return a;
}

inline task<job_id> redis_job_store::add(job_request r) {
  require_valid(r);
  const redis_job_ask_ptr a = redis_add_ask(r, false);
  a->asked_at = on_.now();
  const scope_exit leave([&a]() noexcept { a->leave(); });
  {
    const spin_guard guard(lock_);
    adds_.push(*a);
  }
  add_bell_.ring();
  co_await a->settled();
  const std::uint64_t number = a->take().second;
  co_return job_id{calls_.epoch(), number};
}

inline task<job_outcome> redis_job_store::run(job_request r) {
  require_valid(r);
  const redis_job_ask_ptr a = redis_add_ask(r, true);
  a->asked_at = on_.now();
  const scope_exit leave([&]() noexcept {
    a->leave();
    const spin_guard guard(lock_);
    waits_.remove(a);
  });
  {
    const spin_guard guard(lock_);
    adds_.push(*a);
  }
  add_bell_.ring();
  co_await a->settled();
  const std::pair<char, std::uint64_t> answer = a->take();
  if (answer.first != 0) throw_unknown(answer.first, {calls_.epoch(), a->job});
  co_return a->take_outcome();
}

inline void redis_job_store::throw_unknown(char letter, job_id id) {
  if (letter == 'l') {
    throw error(errc::result_lost, {}, "job " + to_string(id) + " is known no more");
  }
  throw error(errc::refused, {}, "there was never a job " + to_string(id));
}

inline task<> redis_job_store::know_epoch() {
  if (calls_.epoch() != 0) co_return;
  const std::string function = redis_job_function("counts");
  const auto fill = [](redis_command&) {};
  const redis_shared_reply reply = co_await look(function, fill);
}

inline task<> redis_job_store::check(job_id id) {
  co_await know_epoch();
  if (id.epoch == calls_.epoch()) co_return;
  throw error(errc::network_reset, {}, "job " + to_string(id) + " is of another store");
}

inline task<job_outcome> redis_job_store::settled(job_id id) {
  co_await check(id);
  const redis_job_ask_ptr a = make_redis_job_ask();
  a->head = redis_packer().u8('w').job(id.number).take();
  a->awaits_end = true;
  a->asked_at = on_.now();
  const scope_exit leave([&]() noexcept {
    a->leave();
    const spin_guard guard(lock_);
    waits_.remove(a);
  });
  {
    const spin_guard guard(lock_);
    waits_.add(id.number, a);
    a->job = id.number;
    works_.push(*a);
  }
  work_bell_.ring();
  co_await a->settled();
  const std::pair<char, std::uint64_t> answer = a->take();
  if (answer.first != 0) throw_unknown(answer.first, id);
  co_return a->take_outcome();
}

inline task<bool> redis_job_store::change(char letter, job_id id) {
  co_await check(id);
  redis_job_ask_ptr a = make_redis_job_ask();
  a->head = redis_packer().u8(static_cast<unsigned char>(letter)).job(id.number).take();
  const char answer = co_await ask(std::move(a));
  co_return answer == '1';
}

// --- looking ------------------------------------------------------------------------------------

/// Stands in line before it looks, so that nothing is missed between.
inline task<job_news> redis_job_store::news(job_id id, std::uint64_t number) {
  co_await check(id);
  const std::string function = redis_job_function("news");
  const auto fill = [&](redis_command& c) { c.add(redis_job_text(id.number)).add(number); };
  for (;;) {
    const redis_job_ask_ptr a = make_redis_job_ask();
    const scope_exit leave([&]() noexcept {
      a->leave();
      const spin_guard guard(lock_);
      watches_.remove(a);
    });
    {
      const spin_guard guard(lock_);
      watches_.add(id.number, a);
    }
    const redis_shared_reply reply = co_await look(function, fill);
    const redis_view found = (*reply)[1];
    if (found.size() == 1 && found[0].text() != "w") throw_unknown(found[0].text().at(0), id);
    if (found.size() == 1) {
      co_await a->settled();
      static_cast<void>(a->take());
      continue;
    }
    redis_unpacker head(found[0].text());
    job_news n;
    n.state = redis_job_state(head.u8());
    n.number = head.u64();
    if (head.u8() != 0) n.progress = redis_bytes(reply, found[1].text());
    for (const redis_view piece : (*reply)[2]) {
      redis_unpacker from(piece.text());
      const std::uint64_t at = from.u56();
      n.output.push_back({at, redis_bytes(reply, from.rest())});
    }
    co_return n;
  }
}

inline job_info redis_job_store::info_from(const redis_shared_reply& reply, redis_view parts,
                                           std::size_t at) {
  redis_unpacker from(parts[at].text());
  job_info i;
  i.id = {calls_.epoch(), from.job()};
  i.state = redis_job_state(from.u8());
  i.attempt = from.u32();
  i.failures = from.u32();
  i.losses = from.u32();
  i.stop_asked = from.u8() != 0;
  const bool is_timed = from.u8() != 0;
  const std::uint64_t left = from.u64();
  if (is_timed) i.until = redis_time_from(on_.now(), left);
  i.holder = parts[at + 1].text();
  i.request = redis_decoded(redis_bytes(reply, parts[at + 2].text()));
  i.result = redis_bytes(reply, parts[at + 3].text());
  i.error = redis_decoded_error(parts[at + 4].text());
  return i;
}

inline task<std::optional<job_info>> redis_job_store::get(job_id id) {
  co_await check(id);
  const std::string function = redis_job_function("get");
  const auto fill = [&](redis_command& c) { c.add(redis_job_text(id.number)); };
  const redis_shared_reply reply = co_await look(function, fill);
  const redis_view found = (*reply)[1];
  std::optional<job_info> is;
  if (found.size() != 0) is = info_from(reply, found, 0);
  co_return is;
}

inline task<job_page> redis_job_store::list(job_state state, std::optional<job_id> from,
                                            std::size_t most) {
  constexpr std::size_t parts = 5;
  if (from) co_await check(*from);
  const std::size_t wanted = (std::min)(most, longest_page);
  const std::string function = redis_job_function("list");
  const auto fill = [&](redis_command& c) {
    c.add(static_cast<unsigned>(state)).add(wanted).add(page_bytes);
    if (from) c.add(redis_job_text(from->number));
  };
  const redis_shared_reply reply = co_await look(function, fill);
  const redis_view found = (*reply)[1];
  job_page page;
  for (std::size_t i = 0; i + parts <= found.size(); i += parts) {
    page.jobs.push_back(info_from(reply, found, i));
  }
  const redis_view next = (*reply)[2];
  if (next.size() != 0) {
    page.next = job_id{calls_.epoch(), redis_job_number(next[0].text())};
  }
  co_return page;
}

inline task<job_counts> redis_job_store::counts() {
  const std::string function = redis_job_function("counts");
  const auto fill = [](redis_command&) {};
  const redis_shared_reply reply = co_await look(function, fill);
  redis_unpacker from((*reply)[1][0].text());
  job_counts c;
  for (std::size_t& n : c.of) n = from.u64();
  co_return c;
}

// --- time ---------------------------------------------------------------------------------------

inline task<time_point> redis_job_store::sweep() {
  const std::string function = redis_job_function("sweep");
  const auto fill = [this](redis_command& c) { c.add(lost_).add(lost_for_good_); };
  const redis_shared_reply reply = co_await look(function, fill);
  redis_unpacker about((*reply)[0].text());
  about.u64();
  const std::uint64_t left = about.u64();
  learn_due(left);
  co_return redis_time_from(on_.now(), left);
}

inline task<> redis_job_store::due_before(time_point t) {
  const redis_job_ask_ptr a = make_redis_job_ask();
  const scope_exit leave([&]() noexcept {
    const spin_guard guard(lock_);
    std::erase_if(dues_, [&](const auto& waiting) { return waiting.second.get() == a.get(); });
  });
  {
    const spin_guard guard(lock_);
    if (due_at_ != never && due_at_ + due_slack < t) co_return;
    dues_.emplace_back(t, a);
  }
  work_bell_.ring();
  co_await a->settled();
}

// --- instruments --------------------------------------------------------------------------------

inline std::unique_ptr<job_taker> redis_job_store::open_taker(std::string name,
                                                              std::vector<job_script> scripts) {
  auto t = std::make_shared<redis_job_taker_state>();
  t->name = std::move(name);
  redis_packer packed;
  for (const job_script& s : scripts) packed.text(redis_script_key(s.name, s.version));
  t->scripts = packed.take();
  auto taker = std::make_unique<redis_job_taker>(static_cast<redis_job_desk&>(*this), t);
  const spin_guard guard(lock_);
  t->serial = ++serials_;
  takers_.push_back(std::move(t));
  return taker;
}

inline void redis_job_store::remove(redis_job_taker_state& t) noexcept {
  redis_job_ask_ptr passing;
  try {
    passing = redis_pass_on_ask(t);
  } catch (const std::bad_alloc&) {
    // Others ask by themselves, a second later.
  }
  const spin_guard guard(lock_);
  if (t.is_hungry && passing) works_.push(*passing);
  std::erase_if(takers_, [&](const redis_job_taker_ptr& one) { return one.get() == &t; });
}

}  // namespace troupe::detail

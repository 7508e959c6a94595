// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_taker`: what one instrument of this process does with jobs in Redis.
///
/// Layer: adapter. Asks for as many jobs as there are slots waiting, all with one call. Where it
/// gets fewer, Redis has it among the hungry, and publishes a word when there is something for it.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_job_ask.hpp>
#include <troupe/adapter/redis/redis_job_calls.hpp>
#include <troupe/adapter/redis/redis_job_wire.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/net/job_record.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/valid_job.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A job that the taker has, and what it has told so far.
struct redis_held_job {
  std::size_t output = 0;
  std::size_t pieces = 0;
  redis_job_ask_ptr progress;  // the last one: it is replaced while it is not on its way
};

/// Shared by the taker and the calls that are under way for it. Guarded by the lock of the store.
struct redis_job_taker_state {
  std::uint32_t serial = 0;  // names it within the process
  std::string name;
  std::string scripts;                           // as the library reads them
  wait_list takes;                               // of `job_take_wait`
  wait_list looks;                               // of `wait_node`: for a notice
  std::map<std::uint64_t, redis_held_job> held;  // by fence
  bool should_ask = false;
  bool is_hungry = false;  // Redis will tell when there is something
  bool is_noticed = false;
  bool is_closed = false;
};

using redis_job_taker_ptr = std::shared_ptr<redis_job_taker_state>;

/// What a taker needs of its store, which outlives it.
class redis_job_desk {
public:
  virtual spin_lock& lock() noexcept = 0;
  virtual void ring() noexcept = 0;
  /// Asks with the next call, and waits for the answer.
  virtual task<char> ask(redis_job_ask_ptr a) = 0;
  /// Asks all of them. In their order.
  virtual task<std::string> ask_all(std::vector<redis_job_ask_ptr> all) = 0;
  /// Queues it and goes on. Under the lock. False: too much is queued already.
  virtual bool tell(const redis_job_ask_ptr& a) noexcept = 0;
  /// The body of one that is queued has become another one. Under the lock.
  virtual void resized(std::size_t before, std::size_t after) noexcept = 0;
  virtual const redis_job_limits& bounds() const noexcept = 0;
  virtual void remove(redis_job_taker_state& t) noexcept = 0;

protected:
  ~redis_job_desk() = default;
};

/// What is asked about one delivery: the letter, who has it, and which it is.
inline redis_packer redis_about_delivery(char letter, std::uint32_t serial, std::uint64_t number,
                                         std::uint64_t fence) {
  redis_packer p;
  p.u8(static_cast<unsigned char>(letter)).u32(serial).job(number).u56(fence);
  return p;
}

inline redis_job_ask_ptr redis_commit_ask(std::uint32_t serial, std::uint64_t number,
                                          std::uint64_t fence, const job_commit& c) {
  const redis_job_ask_ptr a = make_redis_job_ask();
  redis_packer head = redis_about_delivery('c', serial, number, fence);
  a->head = head.u8(c.kind).u64(redis_microseconds(c.after)).take();
  a->first = c.result;
  a->second = shared_bytes(redis_encoded(c.error));
  a->width = 3;
  return a;
}

/// Lets others have what is there for the scripts of a taker that has no room any more.
inline redis_job_ask_ptr redis_pass_on_ask(const redis_job_taker_state& t) {
  const redis_job_ask_ptr a = make_redis_job_ask();
  a->head = redis_packer().u8('s').u32(t.serial).take();
  a->first = shared_bytes(std::string_view(t.scripts));
  a->width = 2;
  return a;
}

class redis_job_taker final : public job_taker {
public:
  redis_job_taker(redis_job_desk& desk, redis_job_taker_ptr state)
      : desk_(desk), state_(std::move(state)) {}
  redis_job_taker(const redis_job_taker&) = delete;
  redis_job_taker& operator=(const redis_job_taker&) = delete;
  ~redis_job_taker() override {
    close();
    desk_.remove(*state_);
  }

  const std::string& name() const noexcept override { return state_->name; }

  inline task<std::optional<job_delivery>> take() override;
  inline task<> notice() override;
  inline task<std::vector<job_hold>> renew_all(std::vector<job_claim> jobs) override;
  inline task<bool> commit(job_id id, std::uint64_t fence, job_commit c) override;
  inline bool write(job_id id, std::uint64_t fence, bool is_progress, shared_bytes body) override;
  inline void close() noexcept override;

private:
  class take_operation;
  class look_operation;

  static inline void refuse_too_large(job_commit& c);
  bool write_progress(redis_held_job& j, const redis_job_ask_ptr& fresh) noexcept;
  void lose(std::uint64_t fence) noexcept {
    const spin_guard guard(desk_.lock());
    state_->held.erase(fence);
  }

  redis_job_desk& desk_;
  const redis_job_taker_ptr state_;
};

// --- waiting ------------------------------------------------------------------------------------

/// Awaited in `take`.
class redis_job_taker::take_operation {
public:
  explicit take_operation(redis_job_taker& t) noexcept : taker_(t) {}

  class awaiter : private job_take_wait {
  public:
    awaiter(take_operation& o, frame& f) noexcept
        : job_take_wait(o.taker_.desk_.lock(), f), taker_(o.taker_) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      redis_job_desk& desk = taker_.desk_;  // this may go on, and be gone, at once
      redis_job_taker_state& t = *taker_.state_;
      bool rings = false;
      const bool is_suspended = wait(*this, t.takes, [&]() noexcept {
        if (t.is_closed) return true;
        rings = !t.is_hungry && !std::exchange(t.should_ask, true);
        return false;
      });
      if (rings) desk.ring();
      return is_suspended;
    }
    std::optional<job_delivery> await_resume() {
      end_wait();
      return std::move(got);
    }

  private:
    redis_job_taker& taker_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  redis_job_taker& taker_;
};

/// Awaited in `notice`.
class redis_job_taker::look_operation {
public:
  explicit look_operation(redis_job_taker& t) noexcept : taker_(t) {}

  class awaiter : private wait_node {
  public:
    awaiter(look_operation& o, frame& f) noexcept
        : wait_node(o.taker_.desk_.lock(), f), state_(*o.taker_.state_) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      return wait(*this, state_.looks, [&s = state_]() noexcept { return s.is_noticed; });
    }
    void await_resume() { end_wait(); }

  private:
    redis_job_taker_state& state_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  redis_job_taker& taker_;
};

inline task<std::optional<job_delivery>> redis_job_taker::take() {
  take_operation next(*this);
  co_return co_await std::move(next);
}

inline task<> redis_job_taker::notice() {
  look_operation waiting(*this);
  co_await std::move(waiting);
  const spin_guard guard(desk_.lock());
  state_->is_noticed = false;
}

// --- what it has --------------------------------------------------------------------------------

inline task<std::vector<job_hold>> redis_job_taker::renew_all(std::vector<job_claim> jobs) {
  std::vector<redis_job_ask_ptr> asks;
  asks.reserve(jobs.size());
  for (const job_claim& j : jobs) {
    const redis_job_ask_ptr a = make_redis_job_ask();
    a->head = redis_about_delivery('r', state_->serial, j.id.number, j.fence).take();
    asks.push_back(a);
  }
  const std::string letters = co_await desk_.ask_all(std::move(asks));
  std::vector<job_hold> holds(jobs.size(), job_hold::held);
  for (std::size_t i = 0; i != holds.size(); ++i) {
    if (letters[i] == 's') holds[i] = job_hold::stop_asked;
    if (letters[i] != 'l') continue;
    holds[i] = job_hold::lost;
    lose(jobs[i].fence);
  }
  co_return holds;
}

/// What Redis would not take: it never will.
inline void redis_job_taker::refuse_too_large(job_commit& c) {
  constexpr std::size_t largest = std::size_t{500} << 20;  // of a value of Redis: 512 MB
  if (c.result.size() <= largest) return;
  job_error e;
  e.text = "a result holds less than 500 MB";
  e.code = static_cast<std::int32_t>(errc::too_large);
  e.reason = "its result is too large";
  c.kind = job_commit::refused;
  c.result = {};
  c.error = std::make_shared<const job_error>(std::move(e));
}

inline task<bool> redis_job_taker::commit(job_id id, std::uint64_t fence, job_commit c) {
  require_valid(c);
  if (c.kind != job_commit::completed) c.result = {};
  if (c.kind == job_commit::completed) c.error = {};
  refuse_too_large(c);
  redis_job_ask_ptr a = redis_commit_ask(state_->serial, id.number, fence, c);
  lose(fence);  // it tells nothing more
  const char answer = co_await desk_.ask(std::move(a));
  co_return answer == '1';
}

/// Limits are kept here, so that it need not wait; the library keeps to them as well.
inline bool redis_job_taker::write(job_id id, std::uint64_t fence, bool is_progress,
                                   shared_bytes body) {
  const redis_job_ask_ptr a = make_redis_job_ask();
  redis_packer head = redis_about_delivery('p', state_->serial, id.number, fence);
  a->head = head.u8(is_progress ? 1 : 0).take();
  a->first = std::move(body);
  a->width = 2;
  a->is_patient = true;
  bool is_taken = false;
  {
    const spin_guard guard(desk_.lock());
    const auto at = state_->held.find(fence);
    if (at == state_->held.end()) return false;
    redis_held_job& j = at->second;
    const redis_job_limits& most = desk_.bounds();
    const std::size_t size = a->first.size();
    if (is_progress) {
      is_taken = size <= most.output && write_progress(j, a);
    } else {
      const bool fits =
          j.pieces < most.pieces && j.output <= most.output && size <= most.output - j.output;
      is_taken = fits && desk_.tell(a);
      if (is_taken) j.output += size;
      if (is_taken) ++j.pieces;
    }
  }
  if (is_taken) desk_.ring();
  return is_taken;
}

/// Of progress only the last one counts. Under the lock.
inline bool redis_job_taker::write_progress(redis_held_job& j,
                                            const redis_job_ask_ptr& fresh) noexcept {
  if (j.progress && j.progress->is_queued) {
    desk_.resized(j.progress->first.size(), fresh->first.size());
    std::swap(j.progress->first, fresh->first);
    return true;
  }
  if (!desk_.tell(fresh)) return false;
  j.progress = fresh;
  return true;
}

inline void redis_job_taker::close() noexcept {
  served_queue served;
  {
    const spin_guard guard(desk_.lock());
    if (state_->is_closed) return;
    state_->is_closed = true;
    while (wait_node* const w = state_->takes.pop_front()) served.push_back(w->coroutine());
  }
  make_ready(served);
  desk_.ring();
}

}  // namespace troupe::detail

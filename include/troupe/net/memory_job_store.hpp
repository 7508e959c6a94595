// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `memory_job_store`: the jobs of a `memory_network`.
///
/// Layer: net. A table behind one lock; who waits stands in line in its own frame. What is to be
/// allocated is so before the lock is taken, and what is to be freed after it is released.

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/net/job_record.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/job_table.hpp>
#include <troupe/net/valid_job.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Outlives its takers, and whoever waits for something in it.
class memory_job_store final : public job_store {
public:
  memory_job_store(executor& on, const job_table_limits& limits)
      : on_(on), table_(on.random() | 1, limits) {}

  inline task<job_id> add(job_request r) override;
  inline task<job_outcome> run(job_request r) override;
  inline task<job_outcome> settled(job_id id) override;
  inline task<job_news> news(job_id id, std::uint64_t number) override;
  inline task<std::optional<job_info>> get(job_id id) override;
  inline task<job_page> list(job_state state, std::optional<job_id> from,
                             std::size_t most) override;
  inline task<job_counts> counts() override;
  inline task<bool> cancel(job_id id) override;
  inline task<bool> requeue(job_id id) override;
  inline task<bool> purge(job_id id) override;
  inline std::unique_ptr<job_taker> open_taker(std::string name,
                                               std::vector<job_script> scripts) override;
  inline task<time_point> sweep() override;
  inline task<> due_before(time_point t) override;

  /// The instruments of this name cannot be reached, nor reach anything; or can again.
  inline void cut(std::string_view name, bool is_cut) noexcept;

private:
  class taker;
  class step;
  class take_operation;
  class end_operation;
  template <class Ready>
  class line_operation;
  class due_operation;

  static constexpr std::size_t longest_page = 1000;
  static constexpr int most_looked_at = 64;  // of a list while the lock is held
  static constexpr int most_swept = 256;
  static constexpr std::size_t most_renewed = 32;  // while the lock is held
  static constexpr std::size_t most_scripts = 65536;

  job_id insert(const std::shared_ptr<const job_request>& r, bool holds);
  void prepare(job_need missing, job_spare& spare, const job_request& r);
  job_script_state& script_of(const job_script& s);
  job_record* find(job_id id) const noexcept {
    return id.epoch == table_.epoch ? table_.find(id.number) : nullptr;
  }
  void require_own(job_id id) const {
    if (id.epoch != table_.epoch) {
      throw error(errc::network_reset, {}, "job " + to_string(id) + " is of another store");
    }
  }
  [[noreturn]] void throw_unknown(job_id id);
  bool news_of(job_id id, std::uint64_t after, job_news& to, std::size_t& needed);

  /// A page on its way.
  struct listing {
    job_state state;
    std::size_t most;
    std::uint64_t at = 0;     // the job to go on with; 0: the first
    std::uint64_t about = 0;  // not found: what has a lower number is passed over until one has not
    job_page page = {};
    std::vector<std::shared_ptr<const std::string>> holders = {};
  };
  bool list_some(listing& l);

  executor& on_;
  spin_lock lock_;  // guards all below
  job_table table_;
};

/// One step at the table: made before the lock is taken, and what it leaves is done after that is
/// released.
class memory_job_store::step {
public:
  explicit step(memory_job_store& store) noexcept : is(store.on_.now()), store_(store) {}
  step(const step&) = delete;
  step& operator=(const step&) = delete;
  ~step() {
    make_ready(is.served);
    while (job_record* const r = is.dropped) {
      is.dropped = r->next_free;
      r->body = job_body();
      const spin_guard guard(store_.lock_);
      store_.table_.give_back(*r);
    }
  }

  job_step is;

private:
  memory_job_store& store_;
};

// --- waiting ------------------------------------------------------------------------------------

/// Awaited in `take`.
class memory_job_store::take_operation {
public:
  take_operation(memory_job_store& store, job_taker_state& t) noexcept : store_(store), taker_(t) {}

  class awaiter : private job_take_wait {
  public:
    awaiter(take_operation& o, frame& f) noexcept : job_take_wait(o.store_.lock_, f), of_(o) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      job_step s(of_.store_.on_.now());
      job_table& table = of_.store_.table_;
      job_taker_state& t = of_.taker_;
      job_take_wait& self = *this;
      const bool is_suspended =
          wait(*this, t.takes, [&]() noexcept { return table.take(t, self, s); });
      make_ready(s.served);  // who waits for news of what was taken; this one may go on already
      return is_suspended;
    }
    std::optional<job_delivery> await_resume() {
      end_wait();
      return std::move(got);
    }

  private:
    take_operation& of_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  memory_job_store& store_;
  job_taker_state& taker_;
};

/// Awaited for a job's end.
class memory_job_store::end_operation {
public:
  end_operation(memory_job_store& store, job_id id, bool holds) noexcept
      : store_(store), id_(id), holds_(holds) {}

  class awaiter : private job_end_wait {
  public:
    awaiter(end_operation& o, frame& f) noexcept : job_end_wait(o.store_.lock_, f), of_(o) {
      holds = o.holds_;
    }
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) { return start(); }
    /// Nothing: there is no such job.
    std::optional<job_outcome> await_resume() {
      const scope_exit leave([this]() noexcept { let_go(); });
      end_wait();
      if (is_lost) return std::nullopt;
      return std::move(outcome);
    }

  private:
    bool start() {
      job_record* const r = locate();
      if (r == nullptr) {
        is_lost = true;
        return false;
      }
      try {
        return wait(*this, r->settling, [this, r]() noexcept { return has_ended(r); });
      } catch (...) {
        let_go();
        throw;
      }
    }
    job_record* locate() noexcept {
      const spin_guard guard(of_.store_.lock_);
      return of_.store_.find(of_.id_);
    }
    /// Under the lock. The place may have become another job's since.
    bool has_ended(job_record* r) noexcept {
      if (r->number != of_.id_.number) {
        is_lost = true;
        return true;
      }
      if (!is_final(r->state)) return false;
      outcome = {r->state, r->body.result, r->body.error};
      return true;
    }
    void let_go() noexcept {
      if (!holds) return;
      step s(of_.store_);
      const spin_guard guard(of_.store_.lock_);
      if (job_record* const r = of_.store_.find(of_.id_)) of_.store_.table_.let_go(*r, s.is);
    }

    end_operation& of_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  memory_job_store& store_;
  const job_id id_;
  const bool holds_;
};

/// Awaited in a line until somebody serves it, unless `Ready` says, under the lock, that it need
/// not wait.
template <class Ready>
class memory_job_store::line_operation {
public:
  line_operation(spin_lock& lock, wait_list& line, Ready ready) noexcept
      : lock_(lock), line_(line), ready_(std::move(ready)) {}

  class awaiter : private wait_node {
  public:
    awaiter(line_operation& o, frame& f) noexcept : wait_node(o.lock_, f), of_(o) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      return wait(*this, of_.line_, [this]() noexcept { return of_.ready_(); });
    }
    void await_resume() { end_wait(); }

  private:
    line_operation& of_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  spin_lock& lock_;
  wait_list& line_;
  Ready ready_;
};

class memory_job_store::due_operation {
public:
  due_operation(memory_job_store& store, time_point t) noexcept : store_(store), before_(t) {}

  class awaiter : private job_due_wait {
  public:
    awaiter(due_operation& o, frame& f) noexcept
        : job_due_wait(o.store_.lock_, f, o.before_), of_(o) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      job_table& table = of_.store_.table_;
      return wait(*this, table.sweepers(),
                  [this, &table]() noexcept { return table.next_due() < before; });
    }
    void await_resume() { end_wait(); }

  private:
    due_operation& of_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(*this, f); }

private:
  memory_job_store& store_;
  const time_point before_;
};

// --- jobs ---------------------------------------------------------------------------------------

inline void memory_job_store::prepare(job_need missing, job_spare& spare, const job_request& r) {
  switch (missing) {
    case job_need::script: {
      job_script_map fresh;
      fresh.try_emplace(job_script_key{r.script, r.version});
      spare.script = fresh.extract(fresh.begin());
      break;
    }
    case job_need::tenant: {
      job_tenant_map fresh;
      fresh.try_emplace(r.key);
      spare.tenant = fresh.extract(fresh.begin());
      break;
    }
    case job_need::lane:
      spare.lane = std::make_unique<job_lane>();
      break;
    case job_need::once: {
      job_once_map fresh;
      fresh.emplace(once_key(r), 0);
      spare.once = fresh.extract(fresh.begin());
      break;
    }
    case job_need::place: {
      auto chunk = std::make_unique<job_record[]>(job_table::chunk_size);
      const spin_guard guard(lock_);
      if (table_.has_room_for_chunk()) table_.add_chunk(chunk);
      break;
    }
    case job_need::lanes:
      throw error(errc::mailbox_full, {},
                  "key " + r.key + " has jobs of as many scripts as it may");
    case job_need::nothing:
    case job_need::room:
      break;
  }
}

inline job_id memory_job_store::insert(const std::shared_ptr<const job_request>& r, bool holds) {
  job_spare spare;
  for (;;) {
    job_need missing = job_need::nothing;
    bool is_full = false;
    {
      step s(*this);
      const spin_guard guard(lock_);
      job_record* is = nullptr;
      missing = table_.add(r, spare, s.is, is);
      if (missing == job_need::nothing) {
        if (holds) ++is->holds;
        return {table_.epoch, is->number};
      }
      is_full = missing == job_need::room && s.is.dropped == nullptr;
      is_full = is_full || (missing == job_need::script && table_.script_count() >= most_scripts);
    }
    if (is_full) throw error(errc::mailbox_full, {}, "the network has as many jobs as it may");
    prepare(missing, spare, *r);
  }
}

inline task<job_id> memory_job_store::add(job_request r) {
  require_valid(r);
  co_return insert(std::make_shared<const job_request>(std::move(r)), false);
}

inline task<job_outcome> memory_job_store::run(job_request r) {
  require_valid(r);
  const job_id id = insert(std::make_shared<const job_request>(std::move(r)), true);
  end_operation end(*this, id, true);
  std::optional<job_outcome> outcome = co_await std::move(end);
  if (!outcome) throw_unknown(id);
  co_return std::move(*outcome);
}

inline void memory_job_store::throw_unknown(job_id id) {
  bool was = false;
  {
    const spin_guard guard(lock_);
    was = table_.was(id.number);
  }
  if (was) throw error(errc::result_lost, {}, "job " + to_string(id) + " is known no more");
  throw error(errc::refused, {}, "there was never a job " + to_string(id));
}

inline task<job_outcome> memory_job_store::settled(job_id id) {
  require_own(id);
  end_operation end(*this, id, false);
  std::optional<job_outcome> outcome = co_await std::move(end);
  if (!outcome) throw_unknown(id);
  co_return std::move(*outcome);
}

/// False: there is no such job. `needed` pieces have no room yet where that is not 0.
inline bool memory_job_store::news_of(job_id id, std::uint64_t after, job_news& to,
                                      std::size_t& needed) {
  const spin_guard guard(lock_);
  const job_record* const r = find(id);
  needed = 0;
  if (r == nullptr) return false;
  to.state = r->state;
  to.number = r->news;
  if (r->body.progress && r->progress_news > after) to.progress = *r->body.progress;
  const auto is_new = [after](const job_piece& p) { return p.number > after; };
  const auto first = std::find_if(r->body.output.begin(), r->body.output.end(), is_new);
  const auto count = static_cast<std::size_t>(std::distance(first, r->body.output.end()));
  if (count > to.output.capacity()) {
    needed = count;
  } else {
    to.output.assign(first, r->body.output.end());
  }
  return true;
}

inline task<job_news> memory_job_store::news(job_id id, std::uint64_t number) {
  require_own(id);
  for (;;) {
    job_news found;
    std::size_t needed = 0;
    bool is_known = news_of(id, number, found, needed);
    while (needed != 0) {
      found.output.reserve(needed);
      is_known = news_of(id, number, found, needed);
    }
    if (!is_known) throw_unknown(id);
    if (found.number > number || is_final(found.state)) co_return found;
    job_record* r = nullptr;
    {
      const spin_guard guard(lock_);
      r = find(id);
    }
    if (r == nullptr) continue;
    const auto changed = [r, id, number]() noexcept {
      return r->number != id.number || r->news > number;
    };
    line_operation waiting(lock_, r->watching, changed);
    co_await std::move(waiting);
  }
}

inline task<std::optional<job_info>> memory_job_store::get(job_id id) {
  require_own(id);
  std::optional<job_info> found;
  std::shared_ptr<const std::string> holder;
  {
    const spin_guard guard(lock_);
    const job_record* const r = find(id);
    if (r != nullptr) found = table_.info(*r);
    if (r != nullptr && r->holder != nullptr) holder = r->holder->name;
  }
  if (holder) found->holder = *holder;
  co_return found;
}

inline task<job_page> memory_job_store::list(job_state state, std::optional<job_id> from,
                                             std::size_t most) {
  if (from) require_own(*from);
  listing l{state, (std::min)(most, longest_page)};
  if (from) l.at = from->number;
  l.page.jobs.reserve(l.most);
  l.holders.reserve(l.most);
  while (list_some(l)) {
  }
  for (std::size_t i = 0; i != l.holders.size(); ++i) {
    if (l.holders[i]) l.page.jobs[i].holder = *l.holders[i];
  }
  co_return std::move(l.page);
}

/// A part of it, so that nobody waits long for the lock. False: it is all there.
inline bool memory_job_store::list_some(listing& l) {
  const spin_guard guard(lock_);
  intrusive_list<job_record>& all = table_.in(l.state);
  auto at = all.begin();
  if (job_record* const r = table_.find(l.at); r != nullptr && r->state == l.state) {
    at = all.at(*r);
  } else if (l.about == 0) {
    l.about = l.at;
  }
  for (int looked = 0; at != all.end(); ++at) {
    l.at = at->number;
    if (l.page.jobs.size() == l.most) {
      l.page.next = job_id{table_.epoch, l.at};
      return false;
    }
    if (++looked > most_looked_at) return true;
    if (at->number < l.about) continue;
    l.about = 0;
    l.page.jobs.push_back(table_.info(*at));
    l.holders.push_back(at->holder != nullptr ? at->holder->name : nullptr);
  }
  return false;
}

inline task<job_counts> memory_job_store::counts() {
  const spin_guard guard(lock_);
  co_return table_.counts();
}

inline task<bool> memory_job_store::cancel(job_id id) {
  require_own(id);
  step s(*this);
  const spin_guard guard(lock_);
  job_record* const r = find(id);
  co_return r != nullptr&& table_.cancel(*r, s.is);
}

inline task<bool> memory_job_store::requeue(job_id id) {
  require_own(id);
  job_spare spare;
  job_body before;
  for (;;) {
    job_need missing = job_need::nothing;
    std::shared_ptr<const job_request> wish;
    {
      step s(*this);
      const spin_guard guard(lock_);
      job_record* const r = find(id);
      if (r == nullptr || r->state != job_state::dead) co_return false;
      wish = r->body.request;
      missing = table_.requeue(*r, spare, before, s.is);
    }
    if (missing == job_need::nothing) co_return true;
    prepare(missing, spare, *wish);
  }
}

inline task<bool> memory_job_store::purge(job_id id) {
  require_own(id);
  step s(*this);
  const spin_guard guard(lock_);
  job_record* const r = find(id);
  co_return r != nullptr&& table_.purge(*r, s.is);
}

// --- time ---------------------------------------------------------------------------------------

/// One thing at a time: others get at the lock in between.
inline task<time_point> memory_job_store::sweep() {
  for (int done = 0;; ++done) {
    step s(*this);
    const spin_guard guard(lock_);
    if (done == most_swept || !table_.sweep_one(s.is)) co_return table_.next_due();
  }
}

inline task<> memory_job_store::due_before(time_point t) {
  due_operation due(*this, t);
  co_await std::move(due);
}

// --- instruments --------------------------------------------------------------------------------

inline void memory_job_store::cut(std::string_view name, bool is_cut) noexcept {
  step s(*this);
  const spin_guard guard(lock_);
  table_.cut(name, is_cut, s.is);
}

class memory_job_store::taker final : public job_taker {
public:
  taker(memory_job_store& store, std::string name, std::vector<job_script_state*> scripts)
      : store_(store) {
    state_.name = std::make_shared<const std::string>(std::move(name));
    state_.scripts = std::move(scripts);
    const spin_guard guard(store_.lock_);
    store_.table_.open(state_);
  }
  taker(const taker&) = delete;
  taker& operator=(const taker&) = delete;
  ~taker() override {
    const spin_guard guard(store_.lock_);
    store_.table_.remove(state_);
  }

  const std::string& name() const noexcept override { return *state_.name; }

  task<std::optional<job_delivery>> take() override {
    take_operation next(store_, state_);
    co_return co_await std::move(next);
  }

  task<> notice() override {
    const auto is_noticed = [this]() noexcept { return state_.is_noticed && !state_.is_cut; };
    line_operation waiting(store_.lock_, state_.looks, is_noticed);
    co_await std::move(waiting);
    const spin_guard guard(store_.lock_);
    state_.is_noticed = false;
  }

  task<std::vector<job_hold>> renew_all(std::vector<job_claim> jobs) override {
    std::vector<job_hold> holds(jobs.size(), job_hold::lost);
    for (std::size_t at = 0; at < jobs.size();) {
      bool is_cut = false;
      {
        step s(store_);
        const spin_guard guard(store_.lock_);
        is_cut = state_.is_cut;
        const std::size_t end = (std::min)(jobs.size(), at + most_renewed);
        for (; at != end && !is_cut; ++at) holds[at] = renew_one(jobs[at], s.is);
      }
      require_cable(is_cut);
    }
    co_return holds;
  }

  task<bool> commit(job_id id, std::uint64_t fence, job_commit c) override {
    require_valid(c);
    if (c.kind == job_commit::completed) c.error.reset();
    bool is_cut = false;
    bool is_done = false;
    {
      step s(store_);
      const spin_guard guard(store_.lock_);
      is_cut = state_.is_cut;
      job_record* const r = is_cut ? nullptr : store_.table_.held(state_, id.number, fence);
      is_done = r != nullptr;
      if (is_done) store_.table_.commit(*r, c, s.is);
    }
    require_cable(is_cut);
    co_return is_done;
  }

  bool write(job_id id, std::uint64_t fence, bool is_progress, shared_bytes body) override {
    std::list<job_piece> piece;
    if (!is_progress) piece.emplace_back();
    step s(store_);
    const spin_guard guard(store_.lock_);
    job_record* const r = state_.is_cut ? nullptr : store_.table_.held(state_, id.number, fence);
    return r != nullptr && store_.table_.write(*r, is_progress, body, piece, s.is);
  }

  void close() noexcept override {
    step s(store_);
    const spin_guard guard(store_.lock_);
    store_.table_.close(state_, s.is);
  }

private:
  static void require_cable(bool is_cut) {
    if (is_cut) throw error(errc::connection_lost, {}, "the network cannot be reached");
  }
  job_hold renew_one(const job_claim& c, job_step& s) noexcept {
    job_record* const r = store_.table_.held(state_, c.id.number, c.fence);
    if (r == nullptr) return job_hold::lost;
    store_.table_.renew(*r, s);
    return r->stop_asked ? job_hold::stop_asked : job_hold::held;
  }

  memory_job_store& store_;
  job_taker_state state_;  // guarded by the lock of the store
};

inline job_script_state& memory_job_store::script_of(const job_script& s) {
  job_script_map fresh;
  fresh.try_emplace(job_script_key{s.name, s.version});
  auto node = fresh.extract(fresh.begin());
  const spin_guard guard(lock_);
  job_script_state* const is = table_.script(s.name, s.version);
  return is != nullptr ? *is : table_.add_script(node);
}

inline std::unique_ptr<job_taker> memory_job_store::open_taker(std::string name,
                                                               std::vector<job_script> scripts) {
  std::vector<job_script_state*> known;
  for (const job_script& s : scripts) known.push_back(&script_of(s));
  return std::make_unique<taker>(*this, std::move(name), std::move(known));
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `job_table`: what may become of jobs, step by step.
///
/// Layer: net. Not synchronised: the store calls it under its lock. It neither allocates nor frees
/// memory, and reads no clock; nothing in it depends on addresses.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/net/job_record.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// How much a table holds.
struct job_table_limits {
  std::size_t jobs = std::size_t{1} << 20;
  std::size_t ended = 100'000;  // completed or cancelled
  std::size_t dead = 100'000;
  std::size_t output = std::size_t{1} << 20;  // bytes of one job
  std::size_t pieces = 1024;                  // of one job
};

/// One step: its time, and what it leaves to be done behind the lock.
struct job_step {
  explicit job_step(time_point t) noexcept : now(t) {}

  time_point now;
  served_queue served;               // who goes on
  job_record* dropped = nullptr;     // their bodies are to be cleared, and they to be given back
  job_tenant_map::node_type tenant;  // has no more jobs
  std::shared_ptr<const job_error> error;  // of the attempt before
};

/// What a new job may need, made before.
struct job_spare {
  job_script_map::node_type script;
  job_tenant_map::node_type tenant;
  std::unique_ptr<job_lane> lane;
  job_once_map::node_type once;
};

enum class job_need : std::uint8_t { nothing, place, room, script, tenant, lane, lanes, once };

class job_table {
public:
  static constexpr std::uint32_t slot_bits = 24;
  static constexpr std::size_t chunk_size = 256;
  static constexpr std::size_t most_lanes = 256;  // scripts of which one key has jobs at once
  static constexpr int most_held = 64;            // that are passed over when one is to be dropped

  /// Throws `std::invalid_argument` for more than can be numbered.
  job_table(std::uint64_t epoch, const job_table_limits& limits);
  job_table(const job_table&) = delete;
  job_table& operator=(const job_table&) = delete;
  ~job_table();

  const std::uint64_t epoch;

  // --- jobs
  // ---------------------------------------------------------------------------------------
  /// Adds it, or finds the one that it is; or says what is missing, and has done nothing.
  job_need add(const std::shared_ptr<const job_request>& r, job_spare& spare, job_step& s,
               job_record*& is);
  job_record* find(std::uint64_t number) const noexcept;
  bool was(std::uint64_t number) const noexcept {
    return number != 0 && number >> slot_bits <= numbers_;
  }

  bool cancel(job_record& r, job_step& s) noexcept;
  /// It is dead. What it leaves is put into `before`, which is empty.
  job_need requeue(job_record& r, job_spare& spare, job_body& before, job_step& s) noexcept;
  bool purge(job_record& r, job_step& s) noexcept;
  /// One who has waited for its end waits no more.
  void let_go(job_record& r, job_step& s) noexcept;

  job_info info(const job_record& r) const;
  const job_counts& counts() const noexcept { return counts_; }
  intrusive_list<job_record>& in(job_state s) noexcept { return lists_[index(s)]; }

  // --- instruments
  // --------------------------------------------------------------------------------
  void open(job_taker_state& t) noexcept { takers_.push_back(t); }
  void close(job_taker_state& t, job_step& s) noexcept;
  /// It is gone; what it has is lost when its lease is over.
  void remove(job_taker_state& t) noexcept;
  void cut(std::string_view name, bool is_cut, job_step& s) noexcept;
  /// True if the take is over; false if it is to wait.
  bool take(job_taker_state& t, job_take_wait& to, job_step& s) noexcept;
  job_record* held(const job_taker_state& t, std::uint64_t number,
                   std::uint64_t fence) const noexcept;
  void renew(job_record& r, job_step& s) noexcept;
  void commit(job_record& r, job_commit& c, job_step& s) noexcept;
  bool write(job_record& r, bool is_progress, shared_bytes& body, std::list<job_piece>& piece,
             job_step& s) noexcept;

  // --- time
  // ---------------------------------------------------------------------------------------
  /// Does one thing that is due. False: nothing is.
  bool sweep_one(job_step& s) noexcept;
  time_point next_due() const noexcept { return timed_.empty() ? never : timed_.top().until; }
  wait_list& sweepers() noexcept { return sweepers_; }

  // --- memory
  // -------------------------------------------------------------------------------------
  bool has_room_for_chunk() const noexcept { return chunks_ * chunk_size < limits_.jobs; }
  void add_chunk(std::unique_ptr<job_record[]>& chunk) noexcept;
  void give_back(job_record& r) noexcept { r.next_free = std::exchange(free_, &r); }
  job_script_state* script(std::string_view name, std::uint32_t version) noexcept {
    const auto at = scripts_.find(job_script_view{name, version});
    return at == scripts_.end() ? nullptr : &at->second;
  }
  job_script_state& add_script(job_script_map::node_type& node) noexcept;
  std::size_t script_count() const noexcept { return scripts_.size(); }

private:
  static constexpr std::size_t index(job_state s) noexcept { return static_cast<std::size_t>(s); }

  job_need find_lane(const job_request& r, job_script_state& script, job_spare& spare,
                     job_lane*& is) noexcept;
  void limit(job_tenant& tenant, std::uint32_t together, job_step& s) noexcept;

  void enter(job_record& r, job_state to) noexcept;
  void leave(job_record& r) noexcept;
  void tell(job_record& r, job_step& s) noexcept;
  void time(job_record& r, time_point until, job_step& s) noexcept;
  void untime(job_record& r) noexcept {
    if (static_cast<heap_hook<by_job_time>&>(r).in_heap()) timed_.erase(r);
    r.until = never;
  }

  void begin(job_record& r, duration delay, job_step& s) noexcept;
  void wait(job_record& r, job_step& s) noexcept;
  void unwait(job_record& r) noexcept;
  void ready(job_lane& l) noexcept;
  void unready(job_lane& l) noexcept {
    if (l.in_heap()) l.script->ready.erase(l);
  }
  void dispatch(job_script_state& script, job_step& s) noexcept;
  job_taker_state* taker_for(const job_script_state& script) noexcept;
  void hand(job_lane& l, job_taker_state& t, job_take_wait& to, job_step& s) noexcept;
  void take_back(job_record& r, job_step& s) noexcept;
  void lose(job_record& r, job_step& s) noexcept;
  void again_or_dead(job_record& r, bool may_again, duration after, job_step& s) noexcept;
  void end(job_record& r, job_state how, job_step& s) noexcept;
  void drop(job_record& r, job_step& s) noexcept;
  bool drop_oldest(std::initializer_list<job_state> of, job_step& s) noexcept;
  void notice(job_taker_state& t, job_step& s) noexcept;
  static bool uses_once(const job_request& r) noexcept { return !r.once.empty(); }

  const job_table_limits limits_;
  const std::shared_ptr<const job_error> lost_;              // of all that are lost ...
  const std::shared_ptr<const job_error> lost_for_good_;     // ... and of those that are too often
  std::unique_ptr<std::unique_ptr<job_record[]>[]> places_;  // all chunks there can be
  std::size_t chunks_ = 0;                                   // that are there
  job_record* free_ = nullptr;
  std::uint64_t numbers_ = 0;  // so many jobs have been added
  std::uint64_t ends_ = 0;     // so often one has ended
  std::uint64_t fences_ = 0;
  std::uint64_t turns_ = 0;

  intrusive_list<job_record> lists_[job_state_count];  // in the order in which they came there
  job_counts counts_;
  leftist_heap<job_record, by_job_time, job_time_order> timed_;
  job_script_map scripts_;
  job_tenant_map tenants_;
  job_tenant nobody_;  // those without a key
  job_once_map once_;
  intrusive_list<job_taker_state> takers_;
  wait_list sweepers_;  // of `job_due_wait`
};

/// The key under which `once` of a request is known.
inline std::string once_key(const job_request& r) {
  std::string key = r.script;
  key += '\0';
  return key += r.once;
}

inline std::shared_ptr<const job_error> job_loss(std::string reason) {
  job_error e;
  e.text = "the instrument that had it was lost";
  e.code = static_cast<std::int32_t>(errc::worker_crashed);
  e.reason = std::move(reason);
  return std::make_shared<const job_error>(std::move(e));
}

/// Dead jobs make no room for others: they are never all that there may be.
inline job_table_limits sane_limits(job_table_limits l) {
  if (l.jobs >= std::size_t{1} << job_table::slot_bits) {
    throw std::invalid_argument("a network in memory holds fewer than 2^24 jobs");
  }
  l.dead = (std::min)(l.dead, l.jobs / 2);
  return l;
}

inline job_table::job_table(std::uint64_t e, const job_table_limits& limits)
    : epoch(e),
      limits_(sane_limits(limits)),
      lost_(job_loss({})),
      lost_for_good_(job_loss("too many instruments were lost with it")),
      places_(std::make_unique<std::unique_ptr<job_record[]>[]>(limits.jobs / chunk_size + 1)) {}

/// Nobody waits any more.
inline job_table::~job_table() {
  for (auto& list : lists_) {
    while (job_record* const r = list.pop_front()) {
      untime(*r);
      if (static_cast<heap_hook<by_job_order>&>(*r).in_heap()) unwait(*r);
    }
  }
}

// --- places -------------------------------------------------------------------------------------

inline void job_table::add_chunk(std::unique_ptr<job_record[]>& chunk) noexcept {
  std::unique_ptr<job_record[]>& place = places_[chunks_] = std::move(chunk);
  const std::size_t more = (std::min)(chunk_size, limits_.jobs - chunks_ * chunk_size);
  for (std::size_t i = more; i-- != 0;) {
    place[i].slot = static_cast<std::uint32_t>(chunks_ * chunk_size + i);
    give_back(place[i]);
  }
  ++chunks_;
}

inline job_record* job_table::find(std::uint64_t number) const noexcept {
  const std::size_t slot = number & ((std::uint64_t{1} << slot_bits) - 1);
  if (number == 0 || slot / chunk_size >= chunks_) return nullptr;
  job_record& r = places_[slot / chunk_size][slot % chunk_size];
  return r.number == number ? &r : nullptr;
}

inline job_script_state& job_table::add_script(job_script_map::node_type& node) noexcept {
  auto put = scripts_.insert(std::move(node));
  job_script_state& is = put.position->second;
  if (put.inserted) {
    is.own.script = &is;
    is.own.tenant = &nobody_;
  } else {
    node = std::move(put.node);  // to die behind the lock
  }
  return is;
}

// --- a job's life -------------------------------------------------------------------------------

inline job_need job_table::add(const std::shared_ptr<const job_request>& wish, job_spare& spare,
                               job_step& s, job_record*& is) {
  const job_request& r = *wish;
  if (uses_once(r)) {
    if (!spare.once) return job_need::once;
    const auto at = once_.find(spare.once.key());
    if (at != once_.end()) {
      is = find(at->second);
      return job_need::nothing;
    }
  }
  job_script_state* script = this->script(r.script, r.version);
  if (script == nullptr) {
    if (!spare.script) return job_need::script;
    script = &add_script(spare.script);
  }
  if (free_ == nullptr) {
    if (has_room_for_chunk()) return job_need::place;
    drop_oldest({job_state::completed, job_state::cancelled}, s);
    return job_need::room;
  }
  job_lane* lane = nullptr;
  const job_need missing = find_lane(r, *script, spare, lane);
  if (missing != job_need::nothing) return missing;
  job_record& fresh = *std::exchange(free_, free_->next_free);
  fresh.number = (++numbers_ << slot_bits) | fresh.slot;
  fresh.ahead = r.ahead;
  fresh.priority = r.priority;
  fresh.lane = lane;
  fresh.body.request = wish;
  if (uses_once(r)) {
    spare.once.mapped() = fresh.number;
    fresh.once_at = once_.insert(std::move(spare.once)).position;
    fresh.is_once = true;
  }
  ++lane->tenant->jobs;
  ++lane->jobs;
  is = &fresh;
  limit(*lane->tenant, r.together, s);
  begin(fresh, r.delay, s);
  return job_need::nothing;
}

/// That of a script and a key: if there is none, one that is of no use any more. Changes nothing
/// where something is missing.
inline job_need job_table::find_lane(const job_request& r, job_script_state& script,
                                     job_spare& spare, job_lane*& is) noexcept {
  is = &script.own;
  if (r.key.empty()) return job_need::nothing;
  auto at = tenants_.find(r.key);
  if (at != tenants_.end()) {
    std::size_t count = 0;
    job_lane* unused = nullptr;
    for (job_lane& l : at->second.lanes) {
      is = &l;
      if (l.script == &script) return job_need::nothing;
      if (l.jobs == 0) unused = &l;
      ++count;
    }
    if (unused != nullptr) {
      is = unused;
      is->script = &script;
      return job_need::nothing;
    }
    if (count >= most_lanes) return job_need::lanes;
  }
  if (!spare.lane) return job_need::lane;
  if (at == tenants_.end()) {
    if (!spare.tenant) return job_need::tenant;
    at = tenants_.insert(std::move(spare.tenant)).position;
    at->second.key = at->first;
    at->second.turn = turns_;  // behind those who have been served less
  }
  is = spare.lane.release();
  is->script = &script;
  is->tenant = &at->second;
  at->second.lanes.push_back(*is);
  return job_need::nothing;
}

inline void job_table::limit(job_tenant& tenant, std::uint32_t together, job_step& s) noexcept {
  if (&tenant == &nobody_ || tenant.limit == together) return;
  tenant.limit = together;
  for (job_lane& l : tenant.lanes) {
    unready(l);
    ready(l);
    dispatch(*l.script, s);
  }
}

inline void job_table::enter(job_record& r, job_state to) noexcept {
  r.state = to;
  lists_[index(to)].push_back(r);
  ++counts_.of[index(to)];
}

inline void job_table::leave(job_record& r) noexcept {
  intrusive_list<job_record>::remove(r);
  --counts_.of[index(r.state)];
}

/// Something has become known of it.
inline void job_table::tell(job_record& r, job_step& s) noexcept {
  ++r.news;
  while (wait_node* const w = r.watching.pop_front()) s.served.push_back(w->coroutine());
}

inline void job_table::time(job_record& r, time_point until, job_step& s) noexcept {
  r.until = until;
  timed_.push(r);
  for (auto at = sweepers_.begin(); at != sweepers_.end();) {
    auto& w = static_cast<job_due_wait&>(*at);
    ++at;
    if (until >= w.before) continue;
    wait_list::remove(w);
    s.served.push_back(w.coroutine());
  }
}

/// It is in no list.
inline void job_table::begin(job_record& r, duration delay, job_step& s) noexcept {
  if (delay > duration::zero()) {
    enter(r, job_state::delayed);
    time(r, saturating_add(s.now, delay), s);
    return tell(r, s);
  }
  wait(r, s);
}

inline void job_table::wait(job_record& r, job_step& s) noexcept {
  enter(r, job_state::waiting);
  job_lane& l = *r.lane;
  unready(l);
  l.waiting.push(r);
  ready(l);
  tell(r, s);
  dispatch(*l.script, s);
}

inline void job_table::unwait(job_record& r) noexcept {
  unready(*r.lane);
  r.lane->waiting.erase(r);
  ready(*r.lane);
}

/// Those without a key are found without.
inline void job_table::ready(job_lane& l) noexcept {
  if (l.tenant == &nobody_ || l.in_heap()) return;
  if (!l.waiting.empty() && !l.tenant->is_full()) l.script->ready.push(l);
}

/// As many as there are takers for.
inline void job_table::dispatch(job_script_state& script, job_step& s) noexcept {
  while (job_lane* const l = script.first()) {
    job_taker_state* const t = taker_for(script);
    if (t == nullptr) return;
    auto& to = static_cast<job_take_wait&>(*t->takes.pop_front());
    s.served.push_back(to.coroutine());
    hand(*l, *t, to, s);
  }
}

/// Who is served goes to the end, so that all have something to do.
inline job_taker_state* job_table::taker_for(const job_script_state& script) noexcept {
  for (job_taker_state& t : takers_) {
    if (t.is_cut || t.takes.empty()) continue;
    if (std::find(t.scripts.begin(), t.scripts.end(), &script) == t.scripts.end()) continue;
    intrusive_list<job_taker_state>::remove(t);
    takers_.push_back(t);
    return &t;
  }
  return nullptr;
}

inline bool job_table::take(job_taker_state& t, job_take_wait& to, job_step& s) noexcept {
  if (t.is_closed) return true;
  if (t.is_cut) return false;
  job_lane* best = nullptr;
  for (job_script_state* const script : t.scripts) {
    job_lane* const l = script->first();
    if (l == nullptr) continue;
    if (best == nullptr || job_lane_order()(*l, *best)) best = l;
  }
  if (best == nullptr) return false;
  hand(*best, t, to, s);
  return true;
}

/// The first of the lane, which is ready.
inline void job_table::hand(job_lane& l, job_taker_state& t, job_take_wait& to,
                            job_step& s) noexcept {
  job_record& r = l.waiting.top();
  job_tenant& tenant = *l.tenant;
  unready(l);
  l.waiting.erase(r);
  ++tenant.active;
  if (tenant.is_full() || !tenants_.empty()) {
    for (job_lane& other : tenant.lanes) unready(other);
    tenant.turn = ++turns_;
    for (job_lane& other : tenant.lanes) ready(other);
  } else {
    ready(l);
  }
  leave(r);
  enter(r, job_state::active);
  r.fence = ++fences_;
  r.holder = &t;
  ++r.attempt;
  time(r, saturating_add(s.now, r.body.request->lease), s);
  tell(r, s);
  job_delivery& d = to.got.emplace();
  d.id = {epoch, r.number};
  d.fence = r.fence;
  d.attempt = r.attempt;
  d.failures = r.failures;
  d.losses = r.losses;
  d.request = r.body.request;
  d.since = s.now;
}

/// From its holder. It is in no list then.
inline void job_table::take_back(job_record& r, job_step& s) noexcept {
  untime(r);
  leave(r);
  r.fence = 0;
  r.holder = nullptr;
  job_tenant& tenant = *r.lane->tenant;
  const bool was_full = tenant.is_full();
  --tenant.active;
  if (!was_full) return;
  for (job_lane& l : tenant.lanes) {
    ready(l);
    dispatch(*l.script, s);
  }
}

inline job_record* job_table::held(const job_taker_state& t, std::uint64_t number,
                                   std::uint64_t fence) const noexcept {
  job_record* const r = find(number);
  const bool is =
      r != nullptr && r->state == job_state::active && r->fence == fence && r->holder == &t;
  return is ? r : nullptr;
}

inline void job_table::renew(job_record& r, job_step& s) noexcept {
  untime(r);
  time(r, saturating_add(s.now, r.body.request->lease), s);
}

/// One that is completed brings no error. A crash is both a failure and a loss: what may be tried
/// once only is not tried again because it has crashed.
inline void job_table::commit(job_record& r, job_commit& c, job_step& s) noexcept {
  take_back(r, s);
  const job_request& wish = *r.body.request;
  // What was there before dies behind the lock, with `c`.
  if (c.kind != job_commit::released) r.body.error.swap(c.error);
  switch (c.kind) {
    case job_commit::completed:
      std::swap(r.body.result, c.result);
      return end(r, job_state::completed, s);
    case job_commit::failed:
      ++r.failures;
      return again_or_dead(r, r.failures < wish.attempts, c.after, s);
    case job_commit::crashed:
      ++r.failures;
      ++r.losses;
      return again_or_dead(r, r.failures < wish.attempts && r.losses < wish.losses, c.after, s);
    case job_commit::cancelled:
      return end(r, job_state::cancelled, s);
    case job_commit::released:
      --r.attempt;
      return again_or_dead(r, true, duration::zero(), s);
    case job_commit::refused:
      break;
  }
  end(r, job_state::dead, s);
}

/// It is in no list. Whoever is asked to stop is not tried again.
inline void job_table::again_or_dead(job_record& r, bool may_again, duration after,
                                     job_step& s) noexcept {
  if (r.stop_asked) return end(r, job_state::cancelled, s);
  if (may_again) return begin(r, after, s);
  end(r, job_state::dead, s);
}

inline void job_table::lose(job_record& r, job_step& s) noexcept {
  if (r.holder != nullptr) notice(*r.holder, s);
  take_back(r, s);
  ++r.losses;
  const bool may_again = r.losses < r.body.request->losses;
  s.error = std::exchange(r.body.error, may_again ? lost_ : lost_for_good_);
  again_or_dead(r, may_again, duration::zero(), s);
}

/// It is in no list.
inline void job_table::end(job_record& r, job_state how, job_step& s) noexcept {
  job_tenant& tenant = *r.lane->tenant;
  --r.lane->jobs;
  if (--tenant.jobs == 0 && &tenant != &nobody_) {
    s.tenant = tenants_.extract(tenants_.find(tenant.key));
  }
  r.lane = nullptr;
  enter(r, how);
  r.ended = ++ends_;
  tell(r, s);
  while (wait_node* const w = r.settling.pop_front()) {
    auto& waiting = static_cast<job_end_wait&>(*w);
    waiting.outcome = {how, r.body.result, r.body.error};
    if (std::exchange(waiting.holds, false)) --r.holds;
    s.served.push_back(waiting.coroutine());
  }
  const bool is_dead = how == job_state::dead;
  if (!is_dead && r.body.request->keep <= duration::zero()) {
    r.until = s.now;  // forgotten as soon as nobody comes for it any more
    if (r.holds == 0) drop(r, s);
    return;
  }
  if (!is_dead) time(r, saturating_add(s.now, r.body.request->keep), s);
  for (int more = 2; more != 0; --more) {  // one that was held before may have been passed over
    if (is_dead) {
      if (counts_[how] <= limits_.dead || !drop_oldest({how}, s)) return;
    } else {
      const bool fits =
          counts_[job_state::completed] + counts_[job_state::cancelled] <= limits_.ended;
      if (fits || !drop_oldest({job_state::completed, job_state::cancelled}, s)) return;
    }
  }
}

/// Whichever of these states has ended first and is held by nobody. False: those that could be
/// looked at are held.
inline bool job_table::drop_oldest(std::initializer_list<job_state> of, job_step& s) noexcept {
  job_record* oldest = nullptr;
  for (const job_state one : of) {
    intrusive_list<job_record>& list = in(one);
    auto at = list.begin();
    for (int held = 0; at != list.end() && at->holds != 0 && held != most_held; ++held) ++at;
    if (at == list.end() || at->holds != 0) continue;
    if (oldest == nullptr || at->ended < oldest->ended) oldest = &*at;
  }
  if (oldest == nullptr) return false;
  drop(*oldest, s);
  return true;
}

/// It has ended, and nobody holds it.
inline void job_table::drop(job_record& r, job_step& s) noexcept {
  untime(r);
  leave(r);
  if (std::exchange(r.is_once, false)) r.body.once = once_.extract(r.once_at);
  tell(r, s);
  r.number = 0;
  r.stop_asked = false;
  r.attempt = r.failures = r.losses = 0;
  r.news = r.progress_news = 0;
  r.output_size = 0;
  r.next_free = std::exchange(s.dropped, &r);
}

// --- what is asked of jobs ----------------------------------------------------------------------

inline bool job_table::cancel(job_record& r, job_step& s) noexcept {
  switch (r.state) {
    case job_state::waiting:
      unwait(r);
      break;
    case job_state::delayed:
      untime(r);
      break;
    case job_state::active:
      r.stop_asked = true;
      if (r.holder != nullptr) notice(*r.holder, s);
      return true;
    default:
      return false;
  }
  leave(r);
  end(r, job_state::cancelled, s);
  return true;
}

inline bool job_table::purge(job_record& r, job_step& s) noexcept {
  if (!is_final(r.state)) return false;
  if (r.holds == 0) {
    drop(r, s);
  } else {
    untime(r);
    r.until = s.now;
  }
  return true;
}

/// As if it were new, but that who has read what it told knows what comes after.
inline job_need job_table::requeue(job_record& r, job_spare& spare, job_body& before,
                                   job_step& s) noexcept {
  const job_request& wish = *r.body.request;
  job_lane* lane = nullptr;
  const job_need missing = find_lane(wish, *script(wish.script, wish.version), spare, lane);
  if (missing != job_need::nothing) return missing;
  ++lane->tenant->jobs;
  ++lane->jobs;
  r.lane = lane;
  r.failures = r.losses = r.attempt = 0;
  r.stop_asked = false;
  r.body.error.swap(before.error);
  r.body.progress.swap(before.progress);
  r.body.output.swap(before.output);
  r.output_size = 0;
  untime(r);
  leave(r);
  limit(*lane->tenant, wish.together, s);
  wait(r, s);
  return job_need::nothing;
}

inline void job_table::let_go(job_record& r, job_step& s) noexcept {
  --r.holds;
  const bool is_over = r.until != never && !static_cast<heap_hook<by_job_time>&>(r).in_heap();
  if (is_final(r.state) && r.holds == 0 && is_over) drop(r, s);
}

inline job_info job_table::info(const job_record& r) const {
  job_info i;
  i.id = {epoch, r.number};
  i.state = r.state;
  i.attempt = r.attempt;
  i.failures = r.failures;
  i.losses = r.losses;
  i.stop_asked = r.stop_asked;
  i.until = r.until;
  i.request = r.body.request;
  i.result = r.body.result;
  i.error = r.body.error;
  return i;
}

// --- instruments --------------------------------------------------------------------------------

inline void job_table::notice(job_taker_state& t, job_step& s) noexcept {
  t.is_noticed = true;
  if (t.is_cut) return;
  while (wait_node* const w = t.looks.pop_front()) s.served.push_back(w->coroutine());
}

inline void job_table::close(job_taker_state& t, job_step& s) noexcept {
  t.is_closed = true;
  while (wait_node* const w = t.takes.pop_front()) s.served.push_back(w->coroutine());
}

inline void job_table::remove(job_taker_state& t) noexcept {
  intrusive_list<job_taker_state>::remove(t);
  for (job_record& r : in(job_state::active)) {
    if (r.holder == &t) r.holder = nullptr;
  }
}

inline void job_table::cut(std::string_view name, bool is_cut, job_step& s) noexcept {
  for (job_taker_state& t : takers_) {
    if (*t.name == name) t.is_cut = is_cut;
  }
  if (is_cut) return;
  for (job_taker_state& t : takers_) {
    if (*t.name == name && t.is_noticed) notice(t, s);
  }
  for (auto& [key, script] : scripts_) dispatch(script, s);
}

/// `piece` is one that is empty. What was there before is left in the arguments.
inline bool job_table::write(job_record& r, bool is_progress, shared_bytes& body,
                             std::list<job_piece>& piece, job_step& s) noexcept {
  if (is_progress) {
    if (body.size() > limits_.output) return false;
    if (!r.body.progress) r.body.progress.emplace();
    std::swap(*r.body.progress, body);
    r.progress_news = r.news + 1;
  } else {
    const bool is_too_much =
        r.body.output.size() >= limits_.pieces || body.size() > limits_.output - r.output_size;
    if (is_too_much) return false;
    r.output_size += body.size();
    piece.front().number = r.news + 1;
    piece.front().body = std::move(body);
    r.body.output.splice(r.body.output.end(), piece);
  }
  tell(r, s);
  return true;
}

// --- time ---------------------------------------------------------------------------------------

inline bool job_table::sweep_one(job_step& s) noexcept {
  if (timed_.empty() || timed_.top().until > s.now) return false;
  job_record& r = timed_.top();
  switch (r.state) {
    case job_state::delayed:
      untime(r);
      leave(r);
      wait(r, s);
      break;
    case job_state::active:
      lose(r, s);
      break;
    default: {
      const time_point over = r.until;
      untime(r);
      if (r.holds == 0) {
        drop(r, s);
      } else {
        r.until = over;
      }
      break;
    }
  }
  return true;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a table of jobs consists of: jobs, scripts, those whose jobs they are, and who waits.
///
/// Layer: net. All of it is guarded by the lock of the store.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/leftist_heap.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

struct job_lane;
struct job_taker_state;

/// The ids of jobs by the keys that make them one.
using job_once_map = std::map<std::string, std::uint64_t, std::less<>>;

/// What of a job has memory of its own; it is freed outside of the lock.
struct job_body {
  std::shared_ptr<const job_request> request;
  shared_bytes result;
  std::shared_ptr<const job_error> error;
  std::optional<shared_bytes> progress;
  std::list<job_piece> output;
  job_once_map::node_type once;  // once it is in the map no more
};

struct by_job_order;
struct by_job_time;

/// One job, or a free place for one.
struct job_record : list_hook, heap_hook<by_job_order>, heap_hook<by_job_time> {
  std::uint64_t number = 0;  // 0: the place is free
  std::uint32_t slot = 0;    // which place it is
  job_state state = job_state::waiting;
  bool ahead = false;
  bool stop_asked = false;
  bool is_once = false;  // `once` of its request is in the map
  std::int32_t priority = 0;
  std::uint32_t holds = 0;     // who waits for its end and has not come yet: it is not forgotten
  std::uint32_t attempt = 0;   // deliveries that were not given back
  std::uint32_t failures = 0;  // attempts that have failed
  std::uint32_t losses = 0;    // instruments that were lost with it
  std::uint64_t fence = 0;     // of the delivery, while it is active
  std::uint64_t news = 0;      // counts all that has become known of it
  std::uint64_t progress_news = 0;  // that of its progress
  std::uint64_t ended = 0;          // the how manieth to end
  std::size_t output_size = 0;      // bytes of `output`
  time_point until = never;         // in the heap of times; else `never`, or it is to be forgotten
  job_lane* lane = nullptr;         // while it has not ended
  job_once_map::iterator once_at;   // if `is_once`
  job_taker_state* holder = nullptr;  // while it is active; nullptr then: that is gone
  job_record* next_free = nullptr;
  job_body body;
  wait_list settling;  // of `job_end_wait`: for its end
  wait_list watching;  // of `wait_node`: for news
};

/// Who goes first among those of a lane.
struct job_order {
  bool operator()(const job_record& a, const job_record& b) const noexcept {
    if (a.ahead != b.ahead) return a.ahead;
    if (a.priority != b.priority) return a.priority > b.priority;
    return a.number < b.number;
  }
};
struct job_time_order {
  bool operator()(const job_record& a, const job_record& b) const noexcept {
    return a.until != b.until ? a.until < b.until : a.number < b.number;
  }
};

struct job_tenant;
struct job_script_state;
struct by_lane;

/// The waiting jobs of one script and one key.
struct job_lane : list_hook, heap_hook<by_lane> {
  job_script_state* script = nullptr;
  job_tenant* tenant = nullptr;
  std::size_t jobs = 0;  // that have not ended, waiting or not; 0: it may become another script's
  leftist_heap<job_record, by_job_order, job_order> waiting;
};

/// One key, while it has jobs that have not ended.
struct job_tenant {
  job_tenant() = default;
  job_tenant(const job_tenant&) = delete;
  job_tenant& operator=(const job_tenant&) = delete;
  ~job_tenant() {
    while (job_lane* const l = lanes.pop_front()) delete l;
  }

  bool is_full() const noexcept { return limit != 0 && active >= limit; }

  std::string_view key;            // in the map
  std::uint64_t turn = 0;          // rises when it is served: the lowest goes first
  std::uint32_t limit = 0;         // 0: none
  std::size_t active = 0;          // jobs that instruments have
  std::size_t jobs = 0;            // that have not ended
  intrusive_list<job_lane> lanes;  // owned; those without a key are their scripts' own
};

/// Among lanes that have jobs which may start.
struct job_lane_order {
  bool operator()(const job_lane& a, const job_lane& b) const noexcept {
    const job_record& one = a.waiting.top();
    const job_record& other = b.waiting.top();
    if (one.ahead != other.ahead) return one.ahead;
    if (one.priority != other.priority) return one.priority > other.priority;
    if (a.tenant->turn != b.tenant->turn) return a.tenant->turn < b.tenant->turn;
    return one.number < other.number;
  }
};

struct job_script_state {
  /// The lane whose turn it is; nullptr: no job of this script may start.
  job_lane* first() noexcept {
    if (own.waiting.empty()) return ready.empty() ? nullptr : &ready.top();
    return ready.empty() || job_lane_order()(own, ready.top()) ? &own : &ready.top();
  }

  leftist_heap<job_lane, by_lane, job_lane_order> ready;  // with keys, and jobs that may start
  job_lane own;  // of those without a key; apart, since all scripts' change places at once
};

struct job_script_key {
  std::string name;
  std::uint32_t version = 1;
};
struct job_script_view {
  std::string_view name;
  std::uint32_t version = 1;
};
struct job_script_less {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const noexcept {
    const int names = std::string_view(a.name).compare(b.name);
    return names != 0 ? names < 0 : a.version < b.version;
  }
};
using job_script_map = std::map<job_script_key, job_script_state, job_script_less>;
using job_tenant_map = std::map<std::string, job_tenant, std::less<>>;

/// Somebody who waits for a job to run.
class job_take_wait : public wait_node {
public:
  using wait_node::wait_node;
  std::optional<job_delivery> got;  // nothing: there will be none
};

/// Somebody who waits for a job's end.
class job_end_wait : public wait_node {
public:
  using wait_node::wait_node;
  job_outcome outcome;
  bool is_lost = false;  // it was forgotten
  bool holds = false;    // the job waits for this one
};

/// Somebody who waits for something to become due earlier than thought.
class job_due_wait : public wait_node {
public:
  job_due_wait(spin_lock& lock, frame& f, time_point t) noexcept : wait_node(lock, f), before(t) {}
  const time_point before;
};

/// One instrument.
struct job_taker_state : list_hook {
  std::shared_ptr<const std::string> name;
  std::vector<job_script_state*> scripts;
  wait_list takes;  // of `job_take_wait`
  wait_list looks;  // of `wait_node`: for a notice
  bool is_noticed = false;
  bool is_closed = false;
  bool is_cut = false;
};

}  // namespace troupe::detail

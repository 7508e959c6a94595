// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What is true of every run, whatever the workload: the monitors of the simulation tests.
///
/// A call is issued, maybe started, maybe ended, and settled; the workload says so at each of these
/// moments, and what must not be throws. The monitors know nothing of how the library works.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe.hpp>

namespace troupe::test {

/// What a method of the workload throws on purpose.
struct planned_failure : std::runtime_error {
  planned_failure() : std::runtime_error("planned") {}
};

/// How a call was made.
enum class call_kind : std::uint8_t { borrowing, limited, tell };

/// One message from its issue to its end.
struct call_record {
  std::size_t worker = 0;
  std::uint32_t caller = 0;  // the call from whose method it was made; 0: nobody
  std::uint64_t number = 0;  // among those of its caller to this worker
  call_kind kind = call_kind::borrowing;
  bool below_itself = false;  // its worker is above it: it may nest, ahead of others
  unsigned starts = 0;
  unsigned ends = 0;
  unsigned settled = 0;
  bool threw = false;
  std::uint64_t turns_then = 0;      // of its worker, when it was issued ...
  std::uint64_t unstarted_then = 0;  // ... and how many calls were ahead of it at most
};

class monitors {
public:
  explicit monitors(std::vector<bool> interleaved)
      : interleaved_(std::move(interleaved)), workers_(interleaved_.size()), calls_(1) {}

  // --- instances --------------------------------------------------------------------------------
  void constructed(std::size_t worker) {
    ++made_;
    sim_expect(++workers_[worker].living == 1, "a worker has two instances");
  }
  void destroyed(std::size_t worker) noexcept {
    ++destroyed_;
    --workers_[worker].living;
  }

  // --- calls ------------------------------------------------------------------------------------
  /// A coroutine that is no worker's method and makes calls of its own, below `caller`, if any.
  std::uint32_t begin_caller(std::uint32_t caller = 0) {
    call_record r;
    r.caller = caller;
    r.worker = workers_.size();
    r.starts = r.ends = r.settled = 1;
    calls_.push_back(r);
    return static_cast<std::uint32_t>(calls_.size() - 1);
  }

  std::uint32_t issue(std::uint32_t caller, std::size_t worker, call_kind kind) {
    worker_state& w = workers_[worker];
    call_record r;
    r.worker = worker;
    r.caller = caller;
    r.number = ++last_issued_[{caller, worker}];
    r.kind = kind;
    r.below_itself = is_above(worker, caller);
    r.turns_then = w.turns;
    r.unstarted_then = w.unstarted++;
    calls_.push_back(r);
    return static_cast<std::uint32_t>(calls_.size() - 1);
  }

  void start(std::uint32_t id) {
    call_record& r = calls_[id];
    worker_state& w = workers_[r.worker];
    sim_expect(++r.starts == 1, "a method ran twice for one call");
    sim_expect(w.living == 1, "a method runs without an instance");
    sim_expect(r.kind == call_kind::tell || r.settled == 0 || r.kind == call_kind::limited,
               "a method runs after its call has settled");
    check_order(r);
    check_patience(r, w);
    if (!interleaved_[r.worker]) {
      sim_expect(w.open.empty() || is_called_from(r.caller, w.open.back()),
                 "two turns of one worker at once");
      w.open.push_back(id);
    }
    ++w.turns;
    --w.unstarted;
  }

  /// Called by a method whenever it goes on after having waited.
  void runs(std::uint32_t id) const {
    const call_record& r = calls_[id];
    if (r.worker == workers_.size() || interleaved_[r.worker]) return;
    const worker_state& w = workers_[r.worker];
    sim_expect(w.living == 1, "a method goes on without an instance");
    sim_expect(!w.open.empty() && w.open.back() == id, "a turn goes on while one nests in it");
  }

  void end(std::uint32_t id, bool threw) noexcept {
    call_record& r = calls_[id];
    ++r.ends;
    r.threw = threw;
    worker_state& w = workers_[r.worker];
    if (!interleaved_[r.worker] && !w.open.empty()) w.open.pop_back();
  }

  void settle_value(std::uint32_t id, int value) {
    const call_record& r = settle(id);
    sim_expect(r.starts == 1 && r.ends == 1 && !r.threw, "a value of a method that has not ended");
    sim_expect(value == static_cast<int>(id), "the value of another call");
  }
  void settle_planned(std::uint32_t id) {
    sim_expect(settle(id).threw, "an exception that the method did not throw");
  }
  void settle_code(std::uint32_t id, const std::error_code& code) {
    const call_record& r = settle(id);
    ++codes_[code.message()];
    if (is_safe_to_retry(code)) {
      sim_expect(r.starts == 0, "said not to have run, and has: " + code.message());
    }
    const bool late = code == make_error_code(errc::timed_out);
    sim_expect(!late || r.kind == call_kind::limited, "a call without a limit timed out");
    const bool interrupted = code == make_error_code(errc::interrupted);
    sim_expect(!interrupted || (r.starts == 1 && r.ends == 1), "interrupted, and not ended");
    forget(r);
  }

  /// Of a call that was awaited together with others, one of which has failed.
  void settle_unknown(std::uint32_t id) {
    const call_record& r = settle(id);
    sim_expect(r.starts == r.ends, "a call has settled, and its method still runs");
    forget(r);
  }

  // --- tells ------------------------------------------------------------------------------------
  void told(std::uint32_t, bool accepted) noexcept { refused_tells_ += accepted ? 0 : 1; }
  void dead_letter_of_tell() noexcept { ++dead_tells_; }

  // --- everything else that begins and has to end
  // ---------------------------------------------------
  /// Lives in the frame of a task.
  class life_of_task {
  public:
    explicit life_of_task(monitors& m) noexcept : monitors_(&m) { ++m.tasks_begun_; }
    life_of_task(life_of_task&& other) noexcept
        : monitors_(std::exchange(other.monitors_, nullptr)) {}
    life_of_task& operator=(life_of_task&&) = delete;
    ~life_of_task() {
      if (monitors_ != nullptr) ++monitors_->tasks_ended_;
    }

  private:
    monitors* monitors_;
  };

  /// After the broker is gone.
  void check_end() const {
    sim_expect(made_ == destroyed_, "constructors and destructors do not balance");
    sim_expect(tasks_begun_ == tasks_ended_, "a task has not ended");
    std::uint64_t dead = 0;
    for (std::size_t i = 1; i < calls_.size(); ++i) {
      const call_record& r = calls_[i];
      sim_expect(r.starts == r.ends, "a method has not ended");
      if (r.kind == call_kind::tell) {
        dead += r.starts == 0 ? 1 : 0;
      } else {
        sim_expect(r.settled == 1, "a call has not settled");
      }
    }
    sim_expect(dead == dead_tells_, "tells that did not run and dead letters do not balance");
    sim_expect(refused_tells_ <= dead_tells_, "a refused tell was no dead letter");
  }

  std::size_t calls() const noexcept { return calls_.size() - 1; }
  const std::map<std::string, std::uint64_t>& codes() const noexcept { return codes_; }
  std::uint64_t instances() const noexcept { return made_; }

private:
  struct worker_state {
    int living = 0;
    std::uint64_t turns = 0;
    std::uint64_t unstarted = 0;      // issued, and neither started nor given up
    std::vector<std::uint32_t> open;  // turns, each nested in the one before
  };

  /// True if `call`, or a call above it, is a turn of `worker`.
  bool is_above(std::size_t worker, std::uint32_t call) const {
    for (; call != 0; call = calls_[call].caller) {
      if (calls_[call].worker == worker) return true;
    }
    return false;
  }
  bool is_called_from(std::uint32_t call, std::uint32_t above) const {
    for (; call != 0; call = calls_[call].caller) {
      if (call == above) return true;
    }
    return false;
  }

  /// Calls and tells of one caller to one worker. One that nests goes ahead of what is queued.
  void check_order(const call_record& r) {
    if (r.below_itself) return;
    std::uint64_t& last = last_started_[{r.caller, r.worker}];
    sim_expect(r.number > last, "a later call of one caller overtook an earlier one, at worker " +
                                    std::to_string(r.worker));
    last = r.number;
  }

  /// Those that were there before, and what nests in them, are all that may run before.
  void check_patience(const call_record& r, const worker_state& w) const {
    constexpr std::uint64_t nested = 200;
    sim_expect(w.turns - r.turns_then <= r.unstarted_then + nested, "a call was starved");
  }

  const call_record& settle(std::uint32_t id) {
    call_record& r = calls_[id];
    sim_expect(++r.settled == 1, "a call has settled twice");
    return r;
  }
  void forget(const call_record& r) noexcept {
    if (r.starts == 0) --workers_[r.worker].unstarted;
  }

  const std::vector<bool> interleaved_;
  std::vector<worker_state> workers_;
  std::deque<call_record> calls_;
  std::map<std::pair<std::uint32_t, std::size_t>, std::uint64_t> last_issued_, last_started_;
  std::map<std::string, std::uint64_t> codes_;
  std::uint64_t made_ = 0, destroyed_ = 0;
  std::uint64_t tasks_begun_ = 0, tasks_ended_ = 0;
  std::uint64_t refused_tells_ = 0, dead_tells_ = 0;
};

}  // namespace troupe::test

// SPDX-License-Identifier: MIT
// Random faults on the simulator, and what must hold of jobs all the same.

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/job.hpp>

#include "faulty_network.hpp"

namespace oracle_tests {
namespace {

using namespace std::chrono_literals;
using troupe::job_id;
using troupe::job_state;

/// What scripts have done, outside of the network.
struct record {
  std::map<std::uint64_t, int> ran;  // jobs whose script came to its end
  int running = 0;
};
record* seen = nullptr;

struct work {
  struct params {
    std::uint32_t ms = 0;
    std::uint32_t fails = 0;  // attempts that fail
  };
  using result = std::uint64_t;
  troupe::task<std::uint64_t> operator()(params p, troupe::job_context& ctx) {
    ++seen->running;
    const troupe::scope_exit leave([]() noexcept { --seen->running; });
    co_await troupe::sleep_for(std::chrono::milliseconds(p.ms));
    if (ctx.attempt() <= p.fails) throw std::runtime_error("as it was told");
    const std::uint64_t number = ctx.id().number;
    ++seen->ran[number];
    co_return number;
  }
};

constexpr unsigned workers = 3;
constexpr std::uint32_t together = 2;  // of each key

/// An instrument that is cut off at some time, and maybe comes back when its leases are over.
struct machine {
  std::string name;
  std::unique_ptr<troupe::instrument> is;
  bool is_cut = false;
};

struct town {
  record sees;
  troupe::sim_executor sim;
  troupe::memory_network net;
  faulty_network_kit::faults faults;
  faulty_network_kit::faulty_network line;  // all but the test itself reach the network by it
  troupe::workspace scripts;
  troupe::client jobs;
  std::vector<std::unique_ptr<troupe::composer>> composers;
  std::vector<machine> machines;
  int made = 0;

  explicit town(std::uint64_t seed, unsigned lost_per_mille = 0)
      : sim(troupe::sim_options{.seed = seed, .buggify = seed % 2 == 0}),
        net(sim),
        line(net, faults),
        scripts(with_work()),
        jobs(line, scripts) {
    seen = &sees;
    faults.lost_requests = faults.lost_replies = lost_per_mille;
    for (int i = 0; i != 2; ++i) composers.push_back(std::make_unique<troupe::composer>(line));
    for (int i = 0; i != 3; ++i) found();
  }
  static troupe::workspace with_work() {
    troupe::workspace w;
    w.add<work>();
    return w;
  }
  std::uint64_t chance(std::uint64_t below) { return sim.random() % below; }
  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(troupe::within(std::move(t), 10h));
  }
  void found() {
    machine m;
    m.name = std::to_string(++made);
    m.is = std::make_unique<troupe::instrument>(
        line, scripts, troupe::instrument_options{.workers = workers, .name = m.name});
    machines.push_back(std::move(m));
  }
  /// Killed, it says nothing any more; what runs there can be seen only outside of the network.
  void fault() {
    machine& m = machines[chance(machines.size())];
    switch (chance(4)) {
      case 0:
        m.is_cut = !m.is_cut;
        if (m.is_cut) {
          net.cut(m.name);
        } else {
          net.mend(m.name);
        }
        break;
      case 1:  // it goes as it should, or as a killed one does
        m.is.reset();
        if (m.is_cut) net.mend(m.name);
        machines.erase(machines.begin() + (&m - machines.data()));
        found();
        break;
      case 2: {
        composers.erase(composers.begin());
        composers.push_back(std::make_unique<troupe::composer>(line));
        break;
      }
      default:
        break;
    }
  }
  void mend_all() {
    for (machine& m : machines) {
      if (std::exchange(m.is_cut, false)) net.mend(m.name);
    }
  }
};

struct accepted {
  job_id id;
  bool cancelled = false;  // somebody has asked for it
};

/// Asks again until there is an answer.
template <class F>
auto insist(town& t, F ask) {
  for (;;) {
    try {
      return t.run(ask());
    } catch (const troupe::error& e) {
      if (e.code() != troupe::errc::connection_lost) throw;
    }
  }
}

troupe::job_options random_options(town& t) {
  troupe::job_options o;
  o.priority = static_cast<std::int32_t>(t.chance(3));
  o.attempts = 4;
  o.losses = 1000;
  o.lease = 300ms;
  o.retry = {.first = 10ms, .max = 100ms};
  if (t.chance(4) == 0) o.delay = std::chrono::milliseconds(t.chance(500));
  const char* const keys[] = {"", "", "x", "y"};
  o.concurrency_key = keys[t.chance(4)];
  if (!o.concurrency_key.empty()) o.concurrency = together;
  return o;
}

/// No machine has more than it may.
bool is_fairly_shared(town& t) {
  std::map<std::string, std::size_t> has;
  const troupe::job_page active = t.run(t.net.jobs().list(job_state::active, {}, 1000));
  for (const troupe::job_info& i : active.jobs) ++has[i.holder];
  for (const auto& [name, count] : has) {
    if (!name.empty() && count > workers) return false;
  }
  return true;
}

/// More of a key run than may, or one that can be reached is idle while a job waits that may start.
bool is_idle_with_work(town& t) {
  std::map<std::string, std::uint32_t> run;  // by key
  const troupe::job_page active = t.run(t.net.jobs().list(job_state::active, {}, 1000));
  for (const troupe::job_info& i : active.jobs) ++run[i.request->key];
  for (const auto& [key, count] : run) {
    if (!key.empty() && count > together) return true;
  }
  const troupe::job_page waiting = t.run(t.net.jobs().list(job_state::waiting, {}, 1000));
  const bool is_free =
      std::any_of(waiting.jobs.begin(), waiting.jobs.end(), [&run](const troupe::job_info& i) {
        return i.request->key.empty() || run[i.request->key] < together;
      });
  if (!is_free) return false;
  return std::any_of(t.machines.begin(), t.machines.end(),
                     [](const machine& m) { return !m.is_cut && m.is->running() < workers; });
}

/// So that a take which is under way has come to its end.
void settle_down(town& t) { t.sim.advance(1us); }

/// A thread of the simulation may be held up for 10 ms just when it was given a job.
bool stays_idle_with_work(town& t) {
  for (int look = 0; look != 4; ++look) {
    if (!is_idle_with_work(t)) return false;
    t.sim.advance(15ms);
    settle_down(t);
  }
  return true;
}

accepted add_one(town& t, std::size_t number) {
  const std::string once = std::to_string(number);
  troupe::job_options o = random_options(t);
  o.idempotency_key = once;
  const auto ms = static_cast<std::uint32_t>(t.chance(800));
  const auto fails = static_cast<std::uint32_t>(t.chance(3));
  return {insist(t, [&] { return t.jobs.queue<work>(o, ms, fails); })};
}

void live(town& t, std::vector<accepted>& all) {
  const bool is_lossless = t.faults.lost_replies == 0;
  for (int step = 0; step != 150; ++step) {
    if (t.chance(2) == 0) {
      all.push_back(add_one(t, all.size()));
    } else if (t.chance(6) == 0 && !all.empty()) {
      accepted& a = all[t.chance(all.size())];
      const bool is_wanted_no_more = insist(t, [&] { return t.jobs.cancel(a.id); });
      // An answer may have been lost to which the next one is no.
      if (is_wanted_no_more || !is_lossless) a.cancelled = true;
    } else if (t.chance(3) == 0) {
      t.fault();
    }
    t.sim.advance(std::chrono::milliseconds(t.chance(60)));
    if (is_lossless) CHECK(is_fairly_shared(t));  // a delivery that was lost counts until it is due
    settle_down(t);
    CHECK_FALSE(stays_idle_with_work(t));
  }
  t.mend_all();
}

/// Each has ended as it should, and there are no others.
void judge(town& t, const std::vector<accepted>& all) {
  for (const accepted& a : all) {
    const troupe::job_outcome end = t.run(t.net.jobs().settled(a.id));
    const std::uint64_t number = a.id.number;
    if (end.state == job_state::completed) {
      CHECK(t.sees.ran[number] >= 1);
      CHECK(insist(t, [&] { return t.jobs.result<work>(a.id); }) == number);
      CHECK(end.error == nullptr);
    } else if (end.state == job_state::cancelled) {
      CHECK(a.cancelled);
    } else {
      FAIL("job " << number << " is " << to_string(end.state) << ": " << end.error->reason);
    }
  }
  t.sim.advance(2s);
  const troupe::job_counts counts = t.run(t.net.jobs().counts());
  CHECK(counts[job_state::completed] + counts[job_state::cancelled] == all.size());
  CHECK(counts[job_state::active] + counts[job_state::waiting] + counts[job_state::delayed] == 0);
  CHECK(t.sees.running == 0);
}

}  // namespace

TEST_CASE("jobs: whatever fails, each is run, ends once, and has one result", "[job][sim]") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    town t(seed);
    std::vector<accepted> all;
    live(t, all);
    judge(t, all);
  }
}

TEST_CASE("jobs: the same where requests, deliveries and replies are lost", "[job][sim]") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    town t(seed, 100);
    std::vector<accepted> all;
    live(t, all);
    judge(t, all);
  }
}

TEST_CASE("jobs: a simulation with faults repeats itself", "[job][sim]") {
  const auto trace = [](std::uint64_t seed) {
    town t(seed, 50);
    for (std::size_t step = 0; step != 60; ++step) {
      static_cast<void>(add_one(t, step));
      t.fault();
      t.sim.advance(20ms);
    }
    return t.sim.trace_hash();
  };
  CHECK(trace(5) == trace(5));
  CHECK(trace(5) != trace(6));
}

}  // namespace oracle_tests

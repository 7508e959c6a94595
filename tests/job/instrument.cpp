// SPDX-License-Identifier: MIT
// What an instrument does with the network while its scripts run, and when it leaves.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/job.hpp>

#include "faulty_network.hpp"

namespace instrument_tests {
namespace {

using namespace std::chrono_literals;
using faulty_network_kit::faults;
using faulty_network_kit::faulty_network;
using troupe::errc;
using troupe::job_id;
using troupe::job_state;

faults* line_of_computing = nullptr;

/// Keeps its thread until its lease was renewed so often, or for 20 s.
struct computing {
  using params = int;
  using result = int;
  int operator()(int wanted, troupe::job_context& ctx) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (std::chrono::steady_clock::now() < end) {
      const int renewed = line_of_computing->renewed.load();
      if (renewed >= wanted || ctx.stop_token().stop_requested()) return renewed;
    }
    return 0;
  }
};
/// Keeps its thread until it is asked to stop, or for 20 s.
struct stubborn {
  using params = int;
  using result = bool;
  bool operator()(int, troupe::job_context& ctx) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (std::chrono::steady_clock::now() < end) {
      if (ctx.stop_token().stop_requested()) return true;
    }
    return false;
  }
};
struct napping {
  using params = std::int64_t;  // milliseconds
  using result = std::uint32_t;
  troupe::task<std::uint32_t> operator()(std::int64_t ms, troupe::job_context& ctx) {
    co_await troupe::sleep_for(std::chrono::milliseconds(ms));
    co_return ctx.attempt();
  }
};
struct crashing {
  using params = int;
  using result = int;
  int operator()(int) { throw troupe::error(errc::worker_crashed, {}, "it has crashed"); }
};

troupe::workspace all_scripts() {
  troupe::workspace w;
  w.add<computing>().add<stubborn>().add<napping>().add<crashing>();
  return w;
}

struct world {
  faults line;
  troupe::sim_executor sim;
  troupe::memory_network net;
  faulty_network bad{net, line};
  troupe::workspace scripts = all_scripts();
  troupe::client jobs{net, scripts};

  explicit world(std::uint64_t seed = 1) : sim(troupe::sim_options{.seed = seed}), net(sim) {}
  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(troupe::within(std::move(t), 24h));
  }
};

}  // namespace

TEST_CASE("instrument: leases are renewed while scripts compute on all threads", "[job]") {
  faults line;
  line_of_computing = &line;
  troupe::thread_pool pool({.threads = 1});
  troupe::memory_network net{pool};
  faulty_network counted{net, line};
  const troupe::workspace scripts = all_scripts();
  troupe::instrument i{counted, scripts, {.workers = 1}};
  troupe::client jobs{net, scripts};
  auto computed = jobs.play<computing>({.lease = 300ms}, 3);
  CHECK(troupe::sync_wait(std::move(computed)) >= 3);
  auto stopped = jobs.play<stubborn>({.time_limit = 50ms}, 0);
  CHECK(troupe::sync_wait(std::move(stopped)));  // its thread is not needed to ask it
}

TEST_CASE("instrument: a short first lease is renewed in time, and counts from when it began",
          "[job]") {
  world w;
  w.line.first_lease = 90ms;
  troupe::instrument i{w.bad, w.scripts, {.workers = 1}};
  auto queued = w.jobs.queue<napping>({.lease = 1h}, 1000);
  const job_id id = w.run(std::move(queued));
  w.sim.advance(20ms);
  CHECK(w.line.renewed == 0);
  w.sim.advance(20ms);
  CHECK(w.line.renewed == 1);
  static_cast<void>(w.run(w.jobs.result<napping>(id)));
  CHECK(w.line.renewed == 1);  // the next lease is that of the job
}

TEST_CASE("instrument: leases that are due at once are renewed by one call", "[job]") {
  world w;
  troupe::instrument i{w.bad, w.scripts, {.workers = 100}};
  std::vector<job_id> ids;
  for (int n = 0; n != 100; ++n) {
    auto queued = w.jobs.queue<napping>({.lease = 30s}, 15'000);
    ids.push_back(w.run(std::move(queued)));
  }
  for (const job_id id : ids) CHECK(w.run(w.jobs.result<napping>(id)) == 1);
  CHECK(w.line.renewed >= 1);
  CHECK(w.line.renewed < 10);
}

TEST_CASE("instrument: one that leaves while it is cut off gives up after a while", "[job]") {
  for (const bool drains : {false, true}) {
    world w;
    auto i = std::make_unique<troupe::instrument>(
        w.net, w.scripts, troupe::instrument_options{.workers = 1, .name = "one"});
    auto queued = w.jobs.queue<napping>({.lease = 10h}, 100);
    const job_id id = w.run(std::move(queued));
    w.sim.advance(50ms);
    w.net.cut("one");
    const auto begin = w.sim.now();
    if (drains) w.run(i->drain());
    i.reset();
    CHECK(w.sim.now() - begin >= 5s);
    CHECK(w.sim.now() - begin <= 8s);
    CHECK(w.run(w.jobs.get(id))->state == job_state::active);  // until its lease is over
    w.net.mend("one");
  }
}

TEST_CASE("instrument: one that is cut off and stays tells when it can be reached again", "[job]") {
  world w;
  troupe::instrument i{w.net, w.scripts, {.workers = 1, .name = "one"}};
  auto queued = w.jobs.queue<napping>({.lease = 10min}, 100);
  const job_id id = w.run(std::move(queued));
  w.sim.advance(50ms);
  w.net.cut("one");
  w.sim.advance(1min);
  CHECK(w.run(w.jobs.get(id))->state == job_state::active);
  w.net.mend("one");
  CHECK(w.run(w.jobs.result<napping>(id)) == 1);
}

TEST_CASE("instrument: what is thrown at it and at composers does not end them", "[job][sim]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    world w(seed);
    w.line.no_memory = w.line.lost_requests = 200;
    troupe::composer c{w.bad};
    troupe::instrument i{w.bad, w.scripts, {.workers = 2}};
    std::vector<job_id> ids;
    for (int n = 0; n != 10; ++n) {
      auto queued = w.jobs.queue<napping>({.delay = 1s, .losses = 1000, .lease = 2s}, 10'000);
      ids.push_back(w.run(std::move(queued)));
    }
    for (const job_id id : ids) static_cast<void>(w.run(w.jobs.result<napping>(id)));
    const job_id last = ids.back();
    auto unwanted = w.jobs.queue<napping>({.losses = 1000, .lease = 1h}, 3'600'000);
    const job_id id = w.run(std::move(unwanted));
    while (w.run(w.jobs.get(id))->state != job_state::active) w.sim.advance(100ms);
    CHECK(w.run(w.jobs.cancel(id)));
    CHECK(w.run(w.jobs.completion(id)).state == job_state::cancelled);
    CHECK(w.run(w.jobs.completion(last)).state == job_state::completed);
  }
}

TEST_CASE("composer: a network that fails at once is not asked all the time", "[job]") {
  world w;
  w.line.on_due = [] { throw troupe::error(errc::connection_lost, {}, "no line"); };
  troupe::composer c{w.bad};
  w.sim.advance(1min);
  CHECK(w.line.swept >= 10);
  CHECK(w.line.swept < 100);
}

TEST_CASE("instrument: a crash says for which reason it was the last", "[job]") {
  world w;
  troupe::instrument i{w.net, w.scripts, {.workers = 1}};
  const auto reason = [&](troupe::job_options o) {
    auto queued = w.jobs.queue<crashing>(o, 1);
    const job_id id = w.run(std::move(queued));
    const troupe::job_outcome end = w.run(w.jobs.completion(id));
    return end.state == job_state::dead ? end.error->reason : std::string();
  };
  CHECK(reason({}) == "attempt 1 of 1 has failed");
  const troupe::backoff_options at_once{.first = 0ns, .max = 0ns};
  CHECK(reason({.attempts = 10, .retry = at_once, .losses = 2}) == "crash or loss 2 of 2");
}

}  // namespace instrument_tests

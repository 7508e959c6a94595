// SPDX-License-Identifier: MIT
// Composer, instrument and client on a network in memory.

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
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/job.hpp>

namespace jobs_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::job_id;
using troupe::job_state;

/// What scripts do where the test can see it.
struct sight {
  int running = 0;
  int most = 0;
  int stopped = 0;
  std::map<int, int> ran;
  int fails = 0;
};
sight* seen = nullptr;

struct add {
  struct params {
    int a = 0;
    int b = 0;
  };
  using result = int;
  int operator()(params p) { return p.a + p.b; }
};
struct nothing {
  using params = int;
  using result = void;
  static constexpr std::string_view name = "do nothing";
  static constexpr std::uint32_t version = 3;
  void operator()(int n) { ++seen->ran[n]; }
};
struct failing {
  using params = std::string;
  using result = int;
  int operator()(const std::string& text) { throw std::runtime_error(text); }
};
struct flaky {
  using params = int;  // so often it fails
  using result = std::uint32_t;
  std::uint32_t operator()(int times, troupe::job_context& ctx) {
    if (seen->fails++ < times) throw std::logic_error("not yet");
    return ctx.attempt();
  }
};
struct sleeper {
  struct params {
    int number = 0;
    std::int64_t ms = 0;
  };
  using result = int;
  troupe::task<int> operator()(params p) {
    ++seen->running;
    seen->most = (std::max)(seen->most, seen->running);
    const troupe::scope_exit leave([]() noexcept { --seen->running; });
    try {
      co_await troupe::sleep_for(std::chrono::milliseconds(p.ms));
    } catch (const troupe::error&) {
      ++seen->stopped;
      throw;
    }
    ++seen->ran[p.number];
    co_return p.number;
  }
};
struct telling {
  using params = int;
  using result = int;
  using progress = int;
  troupe::task<int> operator()(int steps, troupe::job_context& ctx) {
    for (int i = 1; i <= steps; ++i) {
      ctx.progress(i);
      ctx.write("step " + std::to_string(i));
      co_await troupe::sleep_for(1ms);
    }
    co_return steps;
  }
};
struct blocker {
  using params = int;
  using result = int;
  static constexpr bool blocking = true;
  int operator()(int n) { return n * 2; }
};
struct unknown {
  using params = int;
  using result = int;
  int operator()(int n) { return n; }
};

troupe::workspace all_scripts() {
  troupe::workspace w;
  w.add<add>().add<nothing>().add<failing>().add<flaky>().add<sleeper>().add<telling>();
  w.add<blocker>();
  return w;
}

struct world {
  sight sees;
  troupe::sim_executor sim;
  troupe::memory_network net;
  troupe::workspace scripts = all_scripts();
  troupe::client jobs{net, scripts};

  explicit world(std::uint64_t seed = 1) : sim(troupe::sim_options{.seed = seed}), net(sim) {
    seen = &sees;
  }
  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(troupe::within(std::move(t), 1h));
  }
  template <class T>
  errc code_of(troupe::task<T> t) {
    return static_cast<errc>(run(troupe::as_result(std::move(t))).code().value());
  }
  job_state state_of(job_id id) { return run(jobs.get(id))->state; }
  std::unique_ptr<troupe::instrument> instrument(unsigned workers, std::string name = {}) {
    return std::make_unique<troupe::instrument>(
        net, scripts, troupe::instrument_options{.workers = workers, .name = std::move(name)});
  }
};

troupe::task<int> forms(troupe::client& jobs) {
  int sum = co_await jobs.play<add>(1, 2);
  const auto id = co_await jobs.queue<add>({.priority = 1}, sum, 2);
  sum = co_await jobs.result<add>(id);
  co_return sum + co_await jobs.result<add>(id);  // it is known afterwards, too
}

}  // namespace

TEST_CASE("jobs: are played, queued, and their results known", "[job]") {
  world w;
  troupe::composer c{w.net};
  troupe::instrument i{w.net, w.scripts, {.workers = 4}};
  CHECK(w.run(forms(w.jobs)) == 10);
  w.run(w.jobs.play<nothing>(7));
  CHECK(w.sees.ran[7] == 1);
  CHECK(w.run(w.jobs.play<blocker>(21)) == 42);
  CHECK(w.code_of(w.jobs.result<add>({})) == errc::network_reset);
  CHECK_THROWS_AS(w.jobs.play<unknown>(1), troupe::error);
  CHECK_THROWS_AS(w.jobs.queue<add>({.attempts = 0}, 1, 2), std::invalid_argument);
}

TEST_CASE("jobs: on a thread pool, as in a program", "[job]") {
  troupe::thread_pool pool;
  troupe::memory_network net{pool};
  troupe::workspace scripts;
  scripts.add<add>();
  troupe::composer c{net};
  troupe::instrument i{net, scripts, {.workers = 4}};
  troupe::client jobs{net, scripts};
  CHECK(troupe::sync_wait(forms(jobs)) == 10);
}

TEST_CASE("jobs: errors keep class and message; attempts end", "[job]") {
  world w;
  troupe::composer c{w.net};
  const auto i = w.instrument(2);
  try {
    w.run(w.jobs.play<failing>("the text"));
    FAIL("it has not thrown");
  } catch (const troupe::job_failed& e) {
    CHECK(e.what() == std::string("the text"));
    CHECK(e.type() == "std::runtime_error");
    CHECK(e.reason() == "attempt 1 of 1 has failed");
  }
  const troupe::backoff_options retry{.first = 10ms, .max = 1s};
  const job_id id = w.run(w.jobs.queue<flaky>({.attempts = 5, .retry = retry}, 3));
  CHECK(w.run(w.jobs.result<flaky>(id)) == 4);
  w.sees.fails = 0;
  const job_id dead = w.run(w.jobs.queue<flaky>({.attempts = 2, .retry = retry}, 3));
  CHECK_THROWS_AS(w.run(w.jobs.result<flaky>(dead)), troupe::job_failed);
  const troupe::job_page page = w.run(w.jobs.dead());
  REQUIRE(page.jobs.size() == 2);
  CHECK(page.jobs[1].id == dead);
  CHECK(page.jobs[1].error->type == "std::logic_error");
  CHECK(w.run(w.jobs.requeue(dead)));
  CHECK(w.run(w.jobs.result<flaky>(dead)) == 2);
}

TEST_CASE("jobs: params of another shape are refused at once", "[job]") {
  world w;
  const auto i = w.instrument(1);
  troupe::job_request r;
  r.script = troupe::script_name<add>();
  r.params = troupe::shared_bytes("rubbish");
  r.attempts = 5;
  const job_id id = w.run(w.net.jobs().add(std::move(r)));
  CHECK(w.run(w.jobs.completion(id)).state == job_state::dead);
  CHECK(w.run(w.jobs.get(id))->error->reason == "its params cannot be read");
}

TEST_CASE("jobs: a late instrument fills all its slots at once, and no more", "[job]") {
  world w;
  std::vector<job_id> ids;
  for (int n = 0; n != 8; ++n) ids.push_back(w.run(w.jobs.queue<sleeper>(n, 1000)));
  const auto i = w.instrument(4);
  w.sim.advance(1ms);
  CHECK(w.sees.running == 4);
  CHECK(i->running() == 4);
  for (const job_id id : ids) static_cast<void>(w.run(w.jobs.result<sleeper>(id)));
  CHECK(w.sees.most == 4);
  CHECK(w.sees.ran.size() == 8);
}

TEST_CASE("jobs: delays, time limits and cancelling", "[job]") {
  world w;
  troupe::composer c{w.net};
  const auto i = w.instrument(2);
  const auto begin = w.sim.now();
  const job_id late = w.run(w.jobs.queue<add>({.delay = 5s}, 1, 2));
  CHECK(w.run(w.jobs.result<add>(late)) == 3);
  CHECK(w.sim.now() - begin >= 5s);

  const job_id slow = w.run(w.jobs.queue<sleeper>({.time_limit = 1s}, 1, 60'000));
  try {
    static_cast<void>(w.run(w.jobs.result<sleeper>(slow)));
    FAIL("it has not thrown");
  } catch (const troupe::job_failed& e) {
    CHECK(e.code() == errc::timed_out);
  }
  CHECK(w.sees.stopped == 1);

  const job_id unwanted = w.run(w.jobs.queue<sleeper>(1, 60'000));
  w.sim.advance(10ms);
  CHECK(w.state_of(unwanted) == job_state::active);
  CHECK(w.run(w.jobs.cancel(unwanted)));
  CHECK(w.code_of(w.jobs.result<sleeper>(unwanted)) == errc::interrupted);
  CHECK(w.sees.stopped == 2);
  CHECK_FALSE(w.run(w.jobs.cancel(unwanted)));
  CHECK(w.sees.ran.empty());
}

namespace {

troupe::task<std::string> read_all(troupe::client& jobs, job_id id) {
  std::string all;
  auto stream = jobs.stream<telling>(id);
  for (;;) {
    const auto update = co_await stream.next();
    if (!update) co_return all;
    if (update->progress) all += std::to_string(*update->progress) + ":";
    for (const std::string& text : update->output) all += text + ";";
  }
}

}  // namespace

TEST_CASE("jobs: a stream gives progress and output until the end", "[job]") {
  world w;
  const auto i = w.instrument(1);
  const job_id id = w.run(w.jobs.queue<telling>(3));
  const std::string all = w.run(read_all(w.jobs, id));
  for (const char* part : {"step 1;", "step 2;", "step 3;", "3:"}) {
    CHECK(all.find(part) != std::string::npos);
  }
  CHECK(w.run(read_all(w.jobs, id)) == "3:step 1;step 2;step 3;");
}

TEST_CASE("jobs: leases are renewed while a script runs, by its instrument", "[job]") {
  world w;
  troupe::composer c{w.net};
  const auto one = w.instrument(1);
  const auto two = w.instrument(1);
  const job_id id = w.run(w.jobs.queue<sleeper>({.lease = 1s}, 1, 60'000));
  CHECK(w.run(w.jobs.result<sleeper>(id)) == 1);
  CHECK(w.sees.ran[1] == 1);
  CHECK(w.run(w.jobs.get(id))->attempt == 1);
}

TEST_CASE("jobs: those of an instrument that is lost are run by another", "[job]") {
  world w;
  troupe::composer c{w.net};
  const auto one = w.instrument(1, "one");
  const job_id id = w.run(w.jobs.queue<sleeper>({.lease = 3s}, 1, 10'000));
  w.sim.advance(100ms);
  CHECK(w.run(w.jobs.get(id))->holder == "one");
  w.net.cut("one");
  const auto two = w.instrument(1, "two");
  const auto lost = w.sim.now();
  while (w.run(w.jobs.get(id))->holder != "two" && w.sim.now() - lost < 1min) w.sim.advance(10ms);
  CHECK(w.sim.now() - lost <= 3100ms);
  CHECK(w.run(w.jobs.result<sleeper>(id)) == 1);
  CHECK(w.sees.ran[1] == 1);  // the first was stopped before its end
  CHECK(w.sees.stopped == 1);
  w.net.mend("one");
}

TEST_CASE("jobs: what kills each instrument is set aside", "[job]") {
  world w;
  troupe::composer c{w.net};
  const job_id id = w.run(w.jobs.queue<sleeper>({.losses = 2, .lease = 1s}, 1, 60'000));
  std::vector<std::unique_ptr<troupe::instrument>> killed;
  for (int n = 0; n != 2; ++n) {
    killed.push_back(w.instrument(1, std::to_string(n)));
    w.sim.advance(100ms);
    w.net.cut(std::to_string(n));
    w.sim.advance(2s);
  }
  CHECK(w.state_of(id) == job_state::dead);
  CHECK(w.run(w.jobs.get(id))->error->reason == "too many instruments were lost with it");
}

TEST_CASE("jobs: an instrument that drains ends what it has; one that goes gives it back",
          "[job]") {
  world w;
  const job_id first = w.run(w.jobs.queue<sleeper>(1, 1000));
  const job_id second = w.run(w.jobs.queue<sleeper>(2, 1000));
  auto i = w.instrument(1);
  w.sim.advance(10ms);
  w.run(i->drain());
  CHECK(w.state_of(first) == job_state::completed);
  CHECK(w.state_of(second) == job_state::waiting);
  i = w.instrument(1);
  w.sim.advance(10ms);
  CHECK(w.state_of(second) == job_state::active);
  i.reset();
  CHECK(w.state_of(second) == job_state::waiting);
  CHECK(w.sees.stopped == 1);
  i = w.instrument(1);
  CHECK(w.run(w.jobs.result<sleeper>(second)) == 2);
  CHECK(w.run(w.jobs.get(second))->attempt == 1);
}

}  // namespace jobs_tests

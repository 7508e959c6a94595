// SPDX-License-Identifier: MIT
// Schedules on a virtual calendar: days of it, with those who keep them dying at every step.

#include <catch2/catch.hpp>

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

namespace schedule_tests {
namespace {

using namespace std::chrono_literals;
using troupe::duration;
using troupe::job_id;
using troupe::job_state;
using troupe::wall_time;

struct run_of {
  int what = 0;
  wall_time at{};
  std::uint64_t number = 0;
};
std::vector<run_of>* ran = nullptr;
const troupe::executor* clock_of_town = nullptr;

struct note {
  struct params {
    int what = 0;
    std::uint32_t ms = 0;
  };
  using result = void;
  troupe::task<> operator()(params p, troupe::job_context& ctx) {
    const run_of r{p.what, clock_of_town->wall_now(), ctx.id().number};
    if (p.ms != 0) co_await troupe::sleep_for(std::chrono::milliseconds(p.ms));
    ran->push_back(r);
  }
};

troupe::workspace with_note() {
  troupe::workspace w;
  w.add<note>();
  return w;
}

constexpr wall_time new_year = std::chrono::sys_days(std::chrono::year(2027) / 1 / 1);

struct town {
  std::vector<run_of> runs;
  troupe::sim_executor sim;
  troupe::memory_network net;
  troupe::workspace scripts = with_note();
  troupe::client jobs;

  explicit town(std::uint64_t seed = 1, wall_time date = new_year)
      : sim(troupe::sim_options{.seed = seed, .date = date}), net(sim), jobs(net, scripts) {
    ran = &runs;
    clock_of_town = &sim;
  }
  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(troupe::within(std::move(t), 24h));
  }
  bool schedule(const char* name, const char* when, int what) {
    return run(jobs.schedule<note>(name, when, what));
  }
  std::vector<troupe::job_schedule> all() { return run(jobs.schedules()); }
  std::vector<wall_time> times(int what) const {
    std::vector<wall_time> t;
    for (const run_of& r : runs) {
      if (r.what == what) t.push_back(r.at);
    }
    return t;
  }
  std::size_t ticks() {
    return run(troupe::detail::pending_ticks(net.jobs(), std::nullopt)).size();
  }
};

TEST_CASE("a job is added whenever the calendar says so", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
  CHECK(t.schedule("night", "30 4 * * *", 1));
  CHECK(t.schedule("month's end", "0 0 31 * *", 2));
  CHECK(t.schedule("often", "*/20 8-9 1 * *", 3));
  t.sim.advance(24h * 60);

  const auto nights = t.times(1);
  REQUIRE(nights.size() == 60);
  for (std::size_t n = 0; n != nights.size(); ++n) {
    const duration late = nights[n] - (new_year + n * 24h + 4h + 30min);
    CHECK((late >= 0s && late < 1s));
  }
  REQUIRE(t.times(2).size() == 1);
  CHECK(t.times(2)[0] - (new_year + 30 * 24h) < 1s);
  CHECK(t.times(3).size() == 18);  // three firsts of a month

  const auto all = t.all();
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "month's end");
  CHECK(all[1].name == "night");
  CHECK(all[1].cron == "30 4 * * *");
  CHECK(all[1].script == troupe::script_name<note>());
  CHECK(all[1].next == new_year + 60 * 24h + 4h + 30min);
  CHECK(all[1].last.epoch != 0);
  CHECK(t.ticks() == 3);
}

TEST_CASE("the same schedule is made once, another one takes its place", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
  CHECK(t.schedule("it", "0 * * * *", 1));
  CHECK_FALSE(t.schedule("it", "0 * * * *", 1));
  CHECK(t.ticks() == 1);
  t.sim.advance(90min);
  CHECK_FALSE(t.schedule("it", "0 * * * *", 1));
  CHECK(t.schedule("it", "30 * * * *", 1));
  t.sim.advance(1h);  // at 2:30 now
  CHECK(t.schedule("it", "30 * * * *", 2));
  t.sim.advance(2h);
  CHECK(t.times(1).size() == 2);  // at 1:00 and 2:30, or at the change
  CHECK(t.times(2).size() == 2);
  CHECK(t.ticks() == 1);
  CHECK(t.run(t.jobs.unschedule("it")));
  CHECK_FALSE(t.run(t.jobs.unschedule("it")));
  CHECK(t.all().empty());
  t.sim.advance(5h);
  CHECK(t.runs.size() == 4);
  CHECK(t.schedule("it", "30 * * * *", 2));  // the very same again
  t.sim.advance(1h);
  CHECK(t.times(2).size() == 3);
}

TEST_CASE("who cancels the tick has ended the schedule", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  CHECK(t.schedule("it", "0 * * * *", 1));
  const auto page = t.run(t.jobs.list(job_state::delayed));
  REQUIRE(page.jobs.size() == 1);
  CHECK(t.run(t.jobs.cancel(page.jobs[0].id)));
  CHECK(t.all().empty());
  t.sim.advance(3h);
  CHECK(t.ticks() == 0);
}

TEST_CASE("what is missed is not made up for", "[schedule]") {
  town t;
  const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
  CHECK(t.schedule("it", "0 * * * *", 1));
  t.sim.advance(5h + 30min);
  CHECK(t.runs.empty());  // nobody has seen to it
  const troupe::composer c{t.net};
  t.sim.advance(1min);
  REQUIRE(t.runs.size() == 1);
  t.sim.advance(2h);
  REQUIRE(t.runs.size() == 3);
  CHECK(t.runs[1].at - (new_year + 6h) < 1s);
  CHECK(t.runs[2].at - (new_year + 7h) < 1s);
}

TEST_CASE("while the job of one occurrence waits, no further one is added", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  CHECK(t.schedule("it", "0 * * * *", 1));
  t.sim.advance(48h);
  CHECK(t.run(t.jobs.counts())[job_state::waiting] == 1);
  const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
  t.sim.advance(2h);
  CHECK(t.runs.size() == 3);
}

TEST_CASE("one that runs longer than its period runs beside itself, unless a key forbids it",
          "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  const troupe::instrument i{t.net, t.scripts, {.workers = 8}};
  const std::uint32_t ms = 150'000;
  CHECK(t.run(t.jobs.schedule<note>("beside", "* * * * *", 1, ms)));
  const troupe::job_options alone{.concurrency_key = "it", .concurrency = 1};
  CHECK(t.run(t.jobs.schedule<note>("alone", "* * * * *", alone, 2, ms)));
  t.sim.advance(30min);
  CHECK(t.times(1).size() >= 27);
  CHECK(t.times(2).size() >= 10);
  CHECK(t.times(2).size() <= 12);
}

TEST_CASE("a calendar that is set forward or back is followed", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
  CHECK(t.schedule("noon", "0 12 * * *", 1));
  t.sim.set_calendar_by(6h);  // noon is six hours from now
  t.sim.advance(6h + 11min);
  REQUIRE(t.runs.size() == 1);
  CHECK(t.runs[0].at - (new_year + 12h) < 11min);
  CHECK(t.runs[0].at >= new_year + 12h);
  t.sim.set_calendar_by(-2h);  // it is about ten again: that noon has been
  t.sim.advance(4h);
  CHECK(t.runs.size() == 1);
  t.sim.advance(24h);
  REQUIRE(t.runs.size() == 2);
  CHECK(t.runs[1].at - (new_year + 36h) < 1s);
  CHECK(t.ticks() == 1);
}

TEST_CASE("what cannot be scheduled is refused", "[schedule]") {
  town t;
  const auto schedule = [&](const std::string& name, const char* when, troupe::job_options o) {
    static_cast<void>(t.jobs.schedule<note>(name, when, o, 1));
  };
  CHECK_THROWS_WITH(schedule("it", "0 25 * * *", {}), Catch::Contains("at character 3"));
  CHECK_THROWS_WITH(schedule("it", "0 0 31 2 *", {}), Catch::Contains("never fires"));
  CHECK_THROWS_AS(schedule("", "@daily", {}), std::invalid_argument);
  CHECK_THROWS_AS(schedule(std::string(201, 'x'), "@daily", {}), std::invalid_argument);
  CHECK_THROWS_AS(schedule("it", "@daily", {.delay = 1s}), std::invalid_argument);
  CHECK_THROWS_AS(schedule("it", "@daily", {.idempotency_key = "k"}), std::invalid_argument);
  CHECK_THROWS_AS(schedule("it", "@daily", {.attempts = 0}), std::invalid_argument);
  const troupe::client stranger{t.net, troupe::workspace()};
  CHECK_THROWS_AS(static_cast<void>(troupe::client(stranger).schedule<note>("it", "@daily", 1)),
                  troupe::error);
  CHECK(t.ticks() == 0);
}

// --- those who keep it die ----------------------------------------------------------------------

/// How many more operations a process does. What it does after that never happens, or has happened
/// and is not known to it.
struct life {
  std::size_t left = 0;
  bool does_last = false;
  std::size_t used = 0;

  /// False: it is dead. The last one may still be done.
  bool begin() {
    if (left == 0) return false;
    ++used;
    return --left != 0 || does_last;
  }
  void end() const {
    if (left == 0) throw troupe::error(troupe::errc::connection_lost);
  }
};

/// The jobs of another store, for one process that dies.
class mortal_store final : public troupe::job_store {
public:
  mortal_store(troupe::job_store& on, life& of) : on_(on), life_(of) {}

  troupe::task<job_id> add(troupe::job_request r) override {
    return dying(on_.add(std::move(r)), life_);
  }
  troupe::task<troupe::job_outcome> run(troupe::job_request r) override {
    return dying(on_.run(std::move(r)), life_);
  }
  troupe::task<troupe::job_outcome> settled(job_id id) override {
    return dying(on_.settled(id), life_);
  }
  troupe::task<troupe::job_news> news(job_id id, std::uint64_t number) override {
    return dying(on_.news(id, number), life_);
  }
  troupe::task<std::optional<troupe::job_info>> get(job_id id) override {
    return dying(on_.get(id), life_);
  }
  troupe::task<troupe::job_page> list(job_state state, std::optional<job_id> from,
                                      std::size_t most) override {
    return dying(on_.list(state, from, most), life_);
  }
  troupe::task<troupe::job_counts> counts() override { return dying(on_.counts(), life_); }
  troupe::task<bool> cancel(job_id id) override { return dying(on_.cancel(id), life_); }
  troupe::task<bool> requeue(job_id id) override { return dying(on_.requeue(id), life_); }
  troupe::task<bool> purge(job_id id) override { return dying(on_.purge(id), life_); }
  std::unique_ptr<troupe::job_taker> open_taker(std::string name,
                                                std::vector<troupe::job_script> scripts) override {
    return std::make_unique<taker>(on_.open_taker(std::move(name), std::move(scripts)), life_);
  }
  troupe::task<troupe::time_point> sweep() override { return on_.sweep(); }
  troupe::task<> due_before(troupe::time_point t) override { return on_.due_before(t); }

private:
  template <class T>
  static troupe::task<T> dying(troupe::task<T> what, life& of) {
    if (!of.begin()) throw troupe::error(troupe::errc::connection_lost);
    T is = co_await std::move(what);
    of.end();
    co_return is;
  }

  class taker final : public troupe::job_taker {
  public:
    taker(std::unique_ptr<troupe::job_taker> on, life& of) : on_(std::move(on)), life_(of) {}
    const std::string& name() const noexcept override { return on_->name(); }
    troupe::task<std::optional<troupe::job_delivery>> take() override {
      if (is_closed_) return on_->take();  // gives nothing, whatever has become of the network
      return dying(on_->take(), life_);
    }
    troupe::task<> notice() override { return on_->notice(); }
    troupe::task<std::vector<troupe::job_hold>> renew_all(
        std::vector<troupe::job_claim> jobs) override {
      return dying(on_->renew_all(std::move(jobs)), life_);
    }
    troupe::task<bool> commit(job_id id, std::uint64_t fence, troupe::job_commit c) override {
      return dying(on_->commit(id, fence, std::move(c)), life_);
    }
    bool write(job_id, std::uint64_t, bool, troupe::shared_bytes) override { return false; }
    void close() noexcept override {
      is_closed_ = true;
      on_->close();
    }

  private:
    std::unique_ptr<troupe::job_taker> on_;
    life& life_;
    bool is_closed_ = false;
  };

  troupe::job_store& on_;
  life& life_;
};

class mortal_network final : public troupe::network {
public:
  mortal_network(troupe::network& on, life& of) : on_(on), store_(on.jobs(), of) {}
  std::unique_ptr<troupe::network_endpoint> open(std::string address) override {
    return on_.open(std::move(address));
  }
  troupe::task<std::uint64_t> claim(std::string name, std::string holder, duration limit) override {
    return on_.claim(std::move(name), std::move(holder), limit);
  }
  troupe::task<> release(std::string name, std::string holder) override {
    return on_.release(std::move(name), std::move(holder));
  }
  troupe::task<std::vector<troupe::network_claim>> claims(std::string prefix) override {
    return on_.claims(std::move(prefix));
  }
  troupe::job_store& jobs() override { return store_; }
  troupe::executor& runs_on() noexcept override { return on_.runs_on(); }

private:
  troupe::network& on_;
  mortal_store store_;
};

/// Each occurrence of every minute has run as one job, none is missing.
void check_minutes(const town& t, int minutes) {
  std::map<std::int64_t, int> of_minute;
  for (const run_of& r : t.runs) {
    ++of_minute[std::chrono::floor<std::chrono::minutes>(r.at - new_year).count()];
  }
  for (int m = 1; m <= minutes; ++m) {
    INFO("minute " << m);
    CHECK(of_minute[m] == 1);
  }
}

TEST_CASE("the chain does not break wherever a composer dies", "[schedule]") {
  constexpr int minutes = 4;
  std::size_t steps = 1;
  for (std::size_t at = 1; at <= steps; ++at) {
    for (const bool does_last : {false, true}) {
      INFO("dies at operation " << at << (does_last ? ", which is done" : ""));
      town t(at);
      life first{at, does_last};
      life immortal{1'000'000, true};
      mortal_network doomed(t.net, first);
      mortal_network counted(t.net, immortal);
      const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
      auto c = std::make_unique<troupe::composer>(doomed);
      CHECK(t.schedule("it", "* * * * *", 1));
      // The heir comes when the other is dead, for it must be that one who has the tick.
      while (first.left != 0 && t.runs.size() < minutes) t.sim.advance(100ms);
      const troupe::composer heir{counted};
      t.sim.advance(new_year + minutes * 1min + 30s - t.sim.wall_now());
      check_minutes(t, minutes);
      CHECK(t.ticks() == 1);
      if (at == 1) steps = 4 * 6;  // operations of a tick, and some
      CHECK(t.run(t.jobs.unschedule("it")));
      const std::size_t before = t.runs.size();
      t.sim.advance(5min);
      CHECK(t.runs.size() == before);
    }
  }
}

/// As programs do that start in the very moment in which it fires.
troupe::task<bool> say_again(town& t, wall_time at) {
  co_await troupe::sleep_for(at - t.sim.wall_now());
  co_return co_await t.jobs.schedule<note>("it", "* * * * *", 1);
}

TEST_CASE("the same schedule may be said again at any moment", "[schedule]") {
  constexpr int minutes = 6;
  for (std::uint64_t seed = 1; seed != 60; ++seed) {
    INFO("seed " << seed);
    town t(seed);
    const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
    const troupe::composer c{t.net};
    CHECK(t.schedule("it", "* * * * *", 1));
    for (int m = 1; m <= minutes; ++m) CHECK_FALSE(t.run(say_again(t, new_year + m * 1min)));
    t.sim.advance(30s);
    check_minutes(t, minutes);
    CHECK(t.ticks() == 1);
  }
}

/// A composer that does so many operations.
struct mortal_composer {
  life has;
  mortal_network net;
  troupe::composer is{net};
  mortal_composer(troupe::network& on, std::size_t operations, bool does_last)
      : has{operations, does_last}, net(on, has) {}
};

TEST_CASE("composers that die again and again keep one chain", "[schedule]") {
  constexpr int minutes = 20;
  for (std::uint64_t seed = 1; seed != 16; ++seed) {
    INFO("seed " << seed);
    town t(seed);
    const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
    std::vector<std::unique_ptr<mortal_composer>> composers(3);
    int deaths = -3;
    CHECK(t.schedule("it", "* * * * *", 1));
    while (t.sim.wall_now() < new_year + minutes * 1min + 30s) {
      for (auto& c : composers) {
        if (c && c->has.left != 0) continue;
        ++deaths;
        const std::size_t operations = 5 + t.sim.random() % 30;
        c = std::make_unique<mortal_composer>(t.net, operations, t.sim.random() % 2 == 0);
      }
      t.sim.advance(10s);
    }
    CHECK(deaths > 3);
    check_minutes(t, minutes);
    CHECK(t.ticks() == 1);
  }
}

TEST_CASE("an instrument that dies does not break it either", "[schedule]") {
  town t;
  const troupe::composer c{t.net};
  const troupe::instrument other{t.net, t.scripts, {.workers = 1, .name = "other"}};
  auto i = std::make_unique<troupe::instrument>(
      t.net, t.scripts, troupe::instrument_options{.workers = 4, .name = "mortal"});
  const troupe::job_options o{.losses = 100, .lease = 2s};
  CHECK(t.run(t.jobs.schedule<note>("it", "* * * * *", o, 1, 20'000U)));
  t.sim.advance(60s * 10 + 10s);
  t.net.cut("mortal");  // one or none runs there
  t.sim.advance(60s * 10);
  i.reset();
  std::map<std::uint64_t, int> of_job;
  for (const run_of& r : t.runs) ++of_job[r.number];
  CHECK(of_job.size() == 19);
  const auto counts = t.run(t.jobs.counts());
  CHECK(counts[job_state::dead] == 0);
  CHECK(t.ticks() == 1);
}

// --- many who change it at once -----------------------------------------------------------------

TEST_CASE("whatever runs into whatever, one schedule is left, or none", "[schedule]") {
  for (std::uint64_t seed = 1; seed != 40; ++seed) {
    INFO("seed " << seed);
    town t(seed);
    std::vector<std::unique_ptr<troupe::composer>> composers;
    for (int i = 0; i != 3; ++i) composers.push_back(std::make_unique<troupe::composer>(t.net));
    const troupe::instrument i{t.net, t.scripts, {.workers = 2}};
    const auto change = [](town& in, int who) -> troupe::task<> {
      for (int k = 0; k != 4; ++k) {
        const char* const when = in.sim.random() % 2 == 0 ? "* * * * * *" : "*/2 * * * * *";
        static_cast<void>(co_await in.jobs.schedule<note>("it", when, who));
        co_await troupe::sleep_for(std::chrono::milliseconds(in.sim.random() % 2500));
        if (in.sim.random() % 3 == 0) static_cast<void>(co_await in.jobs.unschedule("it"));
      }
    };
    std::vector<troupe::task<>> changes;
    for (int who = 1; who != 4; ++who) changes.push_back(change(t, who));
    t.run(troupe::when_all(std::move(changes)));
    CHECK(t.all().size() <= 1);
    CHECK(t.ticks() <= 2);  // one may be at work on the next
    t.run(t.jobs.schedule<note>("it", "* * * * * *", 9));
    t.sim.advance(2s);
    const std::size_t before = t.times(9).size();
    t.sim.advance(10s);
    CHECK(t.times(9).size() == before + 10);
    t.run(t.jobs.unschedule("it"));
    const std::size_t last = t.runs.size();
    t.sim.advance(1min);
    CHECK(t.runs.size() <= last + 1);  // one was there already
    CHECK(t.ticks() == 0);
  }
}

}  // namespace
}  // namespace schedule_tests

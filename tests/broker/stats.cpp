// SPDX-License-Identifier: MIT
// What a broker counts, and the same as text for Prometheus, read by a strict parser.

#include <troupe/broker/broker_stats.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/broker/prometheus.hpp>
#include <troupe/broker/wait_histogram.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace stats_tests {
namespace {

using namespace std::chrono_literals;
using troupe::broker_stats;
using troupe::task;
using troupe::to_prometheus;
using troupe::wait_histogram;
using namespace troupe::test;

struct clerk {
  int work() { return ++done; }
  task<> work_for(troupe::duration d) { co_await troupe::sleep_for(d); }
  int done = 0;
};

struct ticking {
  explicit ticking(troupe::context& ctx) {
    ctx.every(1s, [this] { ++ticks; });
  }
  int get() const { return ticks; }
  int ticks = 0;
};

task<> work_often(troupe::proxy<clerk> p, int n) {
  for (int i = 0; i < n; ++i) static_cast<void>(co_await p.call<&clerk::work>());
}

task<> work_for(troupe::proxy<clerk> p, troupe::duration d) {
  co_await p.call<&clerk::work_for>(d);
}

}  // namespace

TEST_CASE("calls, tells and timers are counted apart, through evictions", "[broker][stats]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<clerk>("a");
  for (int round = 1; round <= 2; ++round) {
    broker.run(work_often(p, 10));
    for (int i = 0; i < 5; ++i) REQUIRE(p.tell<&clerk::work>());
    REQUIRE(p.tell<&clerk::work_for>(1ms));
    sim.advance(1s);
    static_cast<void>(troupe::sync_wait(p.call<&clerk::work>().within(1s)));
    const broker_stats s = broker.stats();
    const auto rounds = static_cast<std::uint64_t>(round);
    REQUIRE(s.calls == 11 * rounds);
    REQUIRE(s.tells == 6 * rounds);
    REQUIRE(s.turns == 17 * rounds);
    REQUIRE(broker.workers().at(0).calls == 17);
    REQUIRE(broker.evict(p.id()));
    REQUIRE(broker.evict(p.id()) == false);
    REQUIRE(broker.stats().evictions == rounds);
    REQUIRE(broker.stats().tells == 6 * rounds);
  }
  REQUIRE(troupe::sync_wait(broker.worker<ticking>().call<&ticking::get>()) == 0);
  sim.advance(3500ms);
  const broker_stats s = broker.stats();
  REQUIRE(s.calls == 23);
  REQUIRE(s.tells == 12);
  REQUIRE(s.turns == 38);
  REQUIRE(s.created == 3);
  REQUIRE(s.removed == 2);
  REQUIRE(s.restarts == 0);
}

TEST_CASE("more tells are counted than a cell has room for", "[broker][stats]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto p = broker.worker<clerk>("a");
  constexpr int rounds = 20;
  constexpr int tells = 1000;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < tells; ++i) REQUIRE(p.tell<&clerk::work>());
    sim.advance(1ms);
  }
  const broker_stats s = broker.stats();
  REQUIRE(s.tells == rounds * tells);
  REQUIRE(s.turns == rounds * tells);
  REQUIRE(s.calls == 0);
  REQUIRE(broker.workers().at(0).calls == rounds * tells);
  REQUIRE(troupe::sync_wait(p.call<&clerk::work>()) == rounds * tells + 1);
}

TEST_CASE("what waits is counted, and the fullest mailbox", "[broker][stats]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim});
  const auto a = broker.worker<clerk>("a");
  const auto b = broker.worker<clerk>("b");
  const auto load = [&]() -> task<> {
    troupe::task_scope scope;
    scope.spawn(work_for(a, 1h));
    scope.spawn(work_for(b, 1h));
    co_await troupe::sleep_for(1ms);
    for (int i = 0; i < 3; ++i) CHECK(a.tell<&clerk::work>());
    CHECK(b.tell<&clerk::work>());
    const broker_stats s = broker.stats();
    CHECK(s.waiting == 4);
    CHECK(s.longest_mailbox == 3);
    CHECK(s.waits.count() == 0);  // nobody has asked for it
    co_await scope.join();
  };
  broker.run(load());
  sim.advance(1s);
  REQUIRE(broker.stats().waiting == 0);
  REQUIRE(broker.stats().longest_mailbox == 0);
  REQUIRE(broker.stats().waits.count() == 0);
}

TEST_CASE("how long messages wait is measured where that is wanted", "[broker][stats]") {
  troupe::sim_executor sim;
  troupe::broker broker({.on = &sim, .measure_waits = true});
  const auto p = broker.worker<clerk>("a");
  const auto load = [&]() -> task<> {
    troupe::task_scope scope;
    scope.spawn(work_for(p, 10s));
    co_await troupe::sleep_for(1ms);
    CHECK(p.tell<&clerk::work>());
    CHECK(p.tell<&clerk::work>());
    scope.spawn(work_often(p, 1));
    co_await scope.join();
  };
  broker.run(load());
  sim.advance(1s);
  const wait_histogram waits = broker.stats().waits;
  REQUIRE(waits.count() == 3);
  REQUIRE(waits.counts[wait_histogram::bucket_of(10s)] == 3);
  REQUIRE(waits.total > 29s);
  REQUIRE(waits.total < 31s);
}

TEST_CASE("waits are measured on many threads", "[broker][stats][threads]") {
  troupe::broker broker({.threads = 3, .measure_waits = true});
  const auto p = broker.worker<clerk>("a");
  std::vector<task<>> all;
  for (int i = 0; i < 4; ++i) all.push_back(work_often(p, 500));
  broker.run(troupe::when_all(std::move(all)));
  const broker_stats s = broker.stats();
  REQUIRE(s.calls == 2000);
  REQUIRE(s.waits.count() <= 2000);
}

TEST_CASE("each bucket of waits reaches twice as far as the one before", "[broker][stats]") {
  REQUIRE(wait_histogram::bound(0) == 1us);
  REQUIRE(wait_histogram::bound(1) == 2us);
  REQUIRE(wait_histogram::bound(26) == 67108864us);
  REQUIRE(wait_histogram::bound(27) == troupe::endless);
  REQUIRE(wait_histogram::bucket_of(0ns) == 0);
  REQUIRE(wait_histogram::bucket_of(troupe::endless) == 27);
  for (std::size_t i = 0; i + 1 < wait_histogram::size; ++i) {
    INFO(i);
    REQUIRE(wait_histogram::bucket_of(wait_histogram::bound(i)) == i);
    REQUIRE(wait_histogram::bucket_of(wait_histogram::bound(i) + 1ns) == i + 1);
  }
}

// --- Prometheus ----------------------------------------------------------------------------------

namespace {

/// Reads the exposition format 0.0.4, and throws where the text is not of it. Stricter than the
/// format: each metric has its help, then its type, then its samples, all together.
class exposition {
public:
  explicit exposition(std::string_view text) {
    if (text.empty() || text.back() != '\n') throw std::runtime_error("no line break at the end");
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      read(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    for (const auto& [name, type] : types) {
      if (type == "histogram") check_histogram(name);
      if (type == "counter" && !name.ends_with("_total")) throw std::runtime_error(name);
    }
  }

  std::map<std::string, std::string> types;
  std::map<std::string, double> values;  // by name and labels, as they stand there
  std::map<std::string, std::vector<std::pair<std::string, double>>> buckets;

private:
  static bool is_name(std::string_view s) {
    if (s.empty() || (s[0] >= '0' && s[0] <= '9')) return false;
    return s.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:") ==
           std::string_view::npos;
  }
  static double number(std::string_view s) {
    double value = 0;
    const auto [end, problem] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (problem != std::errc() || end != s.data() + s.size()) {
      throw std::runtime_error("no number: " + std::string(s));
    }
    return value;
  }

  void read(std::string_view line) {
    if (line.starts_with("# HELP ")) {
      line.remove_prefix(7);
      helped_ = std::string(line.substr(0, line.find(' ')));
      if (!is_name(helped_) || types.count(helped_) != 0) throw std::runtime_error(helped_);
      if (line.size() < helped_.size() + 2) throw std::runtime_error("no help: " + helped_);
    } else if (line.starts_with("# TYPE ")) {
      line.remove_prefix(7);
      const std::string name(line.substr(0, line.find(' ')));
      const std::string type(line.substr(name.size() + 1));
      if (name != helped_) throw std::runtime_error("not below its help: " + name);
      if (type != "counter" && type != "gauge" && type != "histogram") {
        throw std::runtime_error(type);
      }
      types.emplace(name, type);
    } else {
      sample(line);
    }
  }

  void sample(std::string_view line) {
    const std::size_t blank = line.rfind(' ');
    const std::string series(line.substr(0, blank));
    const std::string name = series.substr(0, series.find('{'));
    if (!is_name(name) || !name.starts_with(helped_)) throw std::runtime_error(series);
    const std::string suffix = name.substr(helped_.size());
    const double value = number(line.substr(blank + 1));
    if (types.at(helped_) != "histogram" && series != helped_) throw std::runtime_error(series);
    if (suffix == "_bucket") {
      const std::string open = name + "{le=\"";
      if (!series.starts_with(open) || !series.ends_with("\"}")) throw std::runtime_error(series);
      buckets[helped_].emplace_back(series.substr(open.size(), series.size() - open.size() - 2),
                                    value);
    }
    if (!values.emplace(series, value).second) throw std::runtime_error("twice: " + series);
  }

  void check_histogram(const std::string& name) {
    double last_bound = -1;
    double last = 0;
    for (const auto& [le, count] : buckets.at(name)) {
      const double bound = le == "+Inf" ? 1e300 : number(le);
      if (bound <= last_bound || count < last) throw std::runtime_error("not cumulative");
      last_bound = bound;
      last = count;
    }
    if (buckets.at(name).back().first != "+Inf") throw std::runtime_error("no bucket for all");
    if (values.at(name + "_count") != last) throw std::runtime_error("another count");
    if (values.count(name + "_sum") == 0) throw std::runtime_error("no sum");
  }

  std::string helped_;
};

}  // namespace

TEST_CASE("figures as text are what Prometheus reads", "[broker][prometheus]") {
  broker_stats s;
  s.workers = 3;
  s.created = 18446744073709551615u;
  s.calls = 7;
  s.longest_mailbox = 9;
  s.waits.counts = {1, 2, 0, 4};
  s.waits.counts.back() = 5;
  s.waits.total = 1h + 1500us;
  const exposition text(to_prometheus(s));
  REQUIRE(text.types.size() == 17);
  REQUIRE(text.values.at("troupe_workers") == 3);
  REQUIRE(text.types.at("troupe_workers") == "gauge");
  REQUIRE(text.values.at("troupe_calls_total") == 7);
  REQUIRE(text.types.at("troupe_calls_total") == "counter");
  REQUIRE(text.values.at("troupe_longest_mailbox_messages") == 9);
  REQUIRE(to_prometheus(s).find("created_total 18446744073709551615\n") != std::string::npos);
  const auto& buckets = text.buckets.at("troupe_wait_seconds");
  REQUIRE(buckets.size() == wait_histogram::size);
  REQUIRE(buckets[0] == std::pair<std::string, double>("0.000001", 1));
  REQUIRE(buckets[1] == std::pair<std::string, double>("0.000002", 3));
  REQUIRE(buckets[3] == std::pair<std::string, double>("0.000008", 7));
  REQUIRE(buckets[20] == std::pair<std::string, double>("1.048576", 7));
  REQUIRE(buckets.back() == std::pair<std::string, double>("+Inf", 12));
  REQUIRE(text.values.at("troupe_wait_seconds_sum") == 3600.0015);
}

TEST_CASE("metrics bear the prefix, made fit for a name", "[broker][prometheus]") {
  REQUIRE(exposition(to_prometheus({}, "shop")).values.count("shop_turns_total") == 1);
  REQUIRE(exposition(to_prometheus({}, "my shop-2")).values.count("my_shop_2_turns_total") == 1);
  REQUIRE(exposition(to_prometheus({}, "2nd:x")).values.count("_2nd:x_turns_total") == 1);
  REQUIRE(exposition(to_prometheus({}, "")).values.count("__turns_total") == 1);
}

TEST_CASE("a running broker is read without trouble", "[broker][prometheus]") {
  troupe::broker broker({.threads = 2, .measure_waits = true});
  broker.run(work_often(broker.worker<clerk>("a"), 100));
  const exposition text(to_prometheus(broker.stats()));
  REQUIRE(text.values.at("troupe_calls_total") == 100);
  REQUIRE(text.values.at("troupe_pool_threads") == 2);
  REQUIRE(text.values.at("troupe_pool_replacements") == 0);
}

}  // namespace stats_tests

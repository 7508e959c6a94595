// SPDX-License-Identifier: MIT
// The same random histories on the jobs of a network in memory and of one in Redis: every answer is
// the same. TROUPE_JOB_HISTORIES=n: so many of them, TROUPE_JOB_SEED=n: from that one on.

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "job_kit.hpp"

namespace job_conformance_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;
using troupe::job_commit;
using troupe::job_delivery;
using troupe::job_id;
using troupe::job_request;
using troupe::job_state;

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

struct limits {
  std::size_t jobs, ended, dead;
};

/// What both sides have: a store, its takers, and the jobs and deliveries by how manieth they were.
struct side {
  virtual ~side() = default;
  virtual troupe::job_store& store() = 0;
  virtual troupe::time_point now() = 0;

  std::string name_of(job_id id) const {
    const auto at = ordinals.find(id.number);
    return at == ordinals.end() ? "?" : std::to_string(at->second);
  }
  void open() {
    takers.push_back(store().open_taker("one", {{"a", 1}}));
    takers.push_back(store().open_taker("two", {{"b", 1}, {"a", 1}, {"a", 2}}));
  }

  std::vector<job_id> ids;
  std::map<std::uint64_t, std::size_t> ordinals;
  std::vector<job_delivery> deliveries;
  std::vector<std::unique_ptr<troupe::job_taker>> takers;
};

struct in_memory final : side {
  explicit in_memory(const limits& l)
      : net(sim, {.jobs = l.jobs, .ended_jobs = l.ended, .dead_jobs = l.dead}) {
    open();
  }
  ~in_memory() override { takers.clear(); }
  troupe::job_store& store() override { return net.jobs(); }
  troupe::time_point now() override { return sim.now(); }
  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(std::move(t));
  }
  /// Nothing: there is none to take, and a microsecond has gone by.
  std::optional<job_delivery> take(std::size_t taker) {
    auto got = run(troupe::as_result(troupe::within(takers[taker]->take(), 1us)));
    return got.has_value() ? std::move(*got) : std::nullopt;
  }
  void pass(troupe::duration d) {
    sim.advance(d);
    while (run(store().sweep()) <= sim.now()) {
    }
  }

  troupe::sim_executor sim{troupe::sim_options{.seed = 1}};
  troupe::memory_network net;
};

struct in_redis final : side {
  in_redis(redis_server& s, const limits& l)
      : server(s), process(job_options(s.port()), {l.jobs, l.ended, l.dead, 1 << 20, 1024}) {
    server.said("FLUSHALL");
    set_clock(clock);
    open();
  }
  ~in_redis() override { takers.clear(); }
  troupe::job_store& store() override { return process.store; }
  troupe::time_point now() override { return process.broker.runs_on().now(); }
  /// On a thread of its own: where a simulation lives, who blocks drives that.
  template <class T>
  T run(troupe::task<T> t) {
    std::optional<T> got;
    std::exception_ptr why;
    std::thread waiting([&] {
      try {
        got.emplace(process.run(std::move(t)));
      } catch (...) {
        why = std::current_exception();
      }
    });
    waiting.join();
    if (why) std::rethrow_exception(why);
    return std::move(*got);
  }
  /// One that is there comes, however long it takes.
  std::optional<job_delivery> take(std::size_t taker, bool is_there) {
    const troupe::duration limit = is_there ? 30s : 4ms;
    auto got = run(troupe::as_result(troupe::within(takers[taker]->take(), limit)));
    if (!is_there) set_clock(++clock);
    return got.has_value() ? std::move(*got) : std::nullopt;
  }
  void pass(troupe::duration d) {
    clock += std::chrono::duration_cast<std::chrono::microseconds>(d).count();
    set_clock(clock);
    while (run(store().sweep()) <= now()) {
    }
  }
  void set_clock(std::int64_t t) {
    server.said("SET troupe:{troupe}:jobs:clock " + std::to_string(t));
  }

  redis_server& server;
  std::int64_t clock = 1'000'000'000'000'000;
  job_process process;
};

std::string described(const std::shared_ptr<const troupe::job_error>& e) {
  if (!e) return "-";
  return e->type + '/' + e->text + '/' + std::to_string(e->code) + '/' + e->reason;
}

/// All times are whole minutes: that the one clock goes on does not matter.
std::string described(const side& s, troupe::time_point now, const troupe::job_info& i) {
  std::string text = s.name_of(i.id) + ' ' + std::string(to_string(i.state));
  text += " attempt " + std::to_string(i.attempt) + " failures " + std::to_string(i.failures) +
          " losses " + std::to_string(i.losses) + (i.stop_asked ? " stop" : "");
  if (i.until != troupe::never) {
    text += " until " + std::to_string((i.until - now + 30s) / 1min);
  }
  text += " by " + i.holder + " params " + std::string(i.request->params.view());
  return text + " result " + std::string(i.result.view()) + " error " + described(i.error);
}

std::string described(const troupe::job_news& n) {
  std::string text = std::to_string(n.number) + ' ' + std::string(to_string(n.state));
  if (n.progress) text += " progress " + std::string(n.progress->view());
  for (const troupe::job_piece& p : n.output) {
    text += ' ' + std::to_string(p.number) + ':' + std::string(p.body.view());
  }
  return text;
}

std::string described(const side& s, const job_delivery& d) {
  return s.name_of(d.id) + " attempt " + std::to_string(d.attempt) + " failures " +
         std::to_string(d.failures) + " losses " + std::to_string(d.losses) + ' ' +
         std::string(d.request->params.view());
}

/// One history.
class history {
public:
  history(redis_server& server, std::uint64_t seed, const limits& l)
      : redis_(server, l), memory_(l), seed_(seed) {}

  void run(int steps) {
    for (int i = 0; i != steps; ++i) {
      step();
      same("counts", [](auto& s) {
        const troupe::job_counts c = s.run(s.store().counts());
        std::string text;
        for (const std::size_t n : c.of) text += std::to_string(n) + ' ';
        return text;
      });
    }
    look_at_all();
  }

private:
  std::uint64_t choose(std::uint64_t below) { return troupe::splitmix64(seed_) % below; }
  bool one_in(std::uint64_t n) { return choose(n) == 0; }

  /// `ask(side)` says the same on both.
  template <class Ask>
  void same(const std::string& what, Ask ask) {
    const std::string expected = ask(memory_);
    const std::string found = ask(redis_);
    said_ += what + ": " + expected + '\n';
    if (said_.size() > 4000) said_.erase(0, said_.size() - 4000);
    if (expected == found) return;
    INFO(said_);
    REQUIRE(found == expected);
  }

  void step() {
    const std::uint64_t what = choose(20);
    if (what < 6) return add();
    if (what < 10) return take();
    if (what < 14) return commit();
    if (what == 14) return renew();
    if (what == 15) return change();
    if (what == 16) return pass();
    if (what == 17) return write();
    if (what == 18) return look();
    list();
  }

  job_request wish() {
    constexpr const char* scripts[] = {"a", "b"};
    constexpr const char* keys[] = {"", "", "x", "y"};
    job_request r = job("p" + std::to_string(count_++), scripts[choose(2)]);
    r.version = one_in(5) ? 2 : 1;
    r.ahead = one_in(8);
    r.priority = static_cast<std::int32_t>(choose(3)) - 1;
    if (one_in(4)) r.delay = (1 + choose(3)) * 1min;
    r.attempts = static_cast<std::uint32_t>(1 + choose(3));
    r.losses = static_cast<std::uint32_t>(1 + choose(2));
    r.lease = (1 + choose(3)) * 1min;
    r.keep = choose(4) * 2min;
    if (one_in(4)) r.once = "once " + std::to_string(choose(3));
    r.key = keys[choose(4)];
    if (!r.key.empty()) r.together = static_cast<std::uint32_t>(choose(3));
    return r;
  }

  void add() {
    const job_request r = wish();
    same("add " + r.script + " key " + r.key + " once " + r.once, [&](auto& s) {
      const auto id = s.run(troupe::as_result(s.store().add(r)));
      if (!id.has_value()) return "failed " + std::to_string(id.code().value());
      const bool is_new = s.ordinals.emplace(id->number, s.ids.size()).second;
      if (is_new) s.ids.push_back(*id);
      return s.name_of(*id);
    });
  }

  void take() {
    const std::size_t taker = choose(2);
    std::optional<job_delivery> expected = memory_.take(taker);
    const std::optional<job_delivery> found = redis_.take(taker, expected.has_value());
    if (!redis_.deliveries.empty() && found) {
      REQUIRE(found->fence > redis_.deliveries.back().fence);
    }
    same("take by " + std::to_string(taker), [&](auto& s) {
      const bool is_memory = static_cast<side*>(&s) == &memory_;
      const std::optional<job_delivery>& d = is_memory ? expected : found;
      if (!d) return std::string("nothing");
      s.deliveries.push_back(*d);
      return described(s, *d);
    });
    if (expected) takers_.push_back(taker);
  }

  /// Mostly one of the last, by who has it.
  std::optional<std::size_t> some_delivery() {
    const std::size_t all = memory_.deliveries.size();
    if (all == 0) return std::nullopt;
    return all - 1 - choose((std::min)(all, std::size_t{6}));
  }
  std::size_t some_taker(std::size_t delivery) {
    return one_in(12) ? 1 - takers_[delivery] : takers_[delivery];
  }

  void commit() {
    const std::optional<std::size_t> d = some_delivery();
    if (!d) return;
    const std::size_t taker = some_taker(*d);
    const auto kind = static_cast<job_commit::kind_of>(choose(6));
    const troupe::duration after = choose(3) * 1min;
    same("commit " + std::to_string(kind) + " by " + std::to_string(taker), [&](auto& s) {
      const job_delivery& at = s.deliveries[*d];
      job_commit c = kind == job_commit::completed ? job_result("r") : job_end(kind, after);
      auto committing = s.takers[taker]->commit(at.id, at.fence, std::move(c));
      return s.name_of(at.id) + (s.run(std::move(committing)) ? " done" : " not done");
    });
  }

  void renew() {
    const std::optional<std::size_t> d = some_delivery();
    if (!d) return;
    const std::size_t taker = some_taker(*d);
    same("renew by " + std::to_string(taker), [&](auto& s) {
      const job_delivery& at = s.deliveries[*d];
      const auto hold = s.run(s.takers[taker]->renew(at.id, at.fence));
      return s.name_of(at.id) + ' ' + std::to_string(static_cast<int>(hold));
    });
  }

  void change() {
    if (memory_.ids.empty()) return;
    const std::size_t which = choose(memory_.ids.size());
    const std::uint64_t how = choose(3);
    same("change " + std::to_string(how) + " of " + std::to_string(which), [&](auto& s) {
      const job_id id = s.ids[which];
      auto changing = how == 0   ? s.store().cancel(id)
                      : how == 1 ? s.store().requeue(id)
                                 : s.store().purge(id);
      return std::string(s.run(std::move(changing)) ? "done" : "not done");
    });
  }

  void pass() {
    const troupe::duration d = choose(4) * 1min;
    memory_.pass(d);
    redis_.pass(d);
    said_ += "pass " + std::to_string(d / 1min) + '\n';
  }

  /// Whether it is lost Redis knows, and who asks learns it later.
  void write() {
    const std::optional<std::size_t> d = some_delivery();
    if (!d) return;
    const std::size_t taker = takers_[*d];
    const bool is_progress = one_in(2);
    const troupe::shared_bytes what("w" + std::to_string(count_++));
    const auto told = [&](side& s) {
      return s.takers[taker]->write(s.deliveries[*d].id, s.deliveries[*d].fence, is_progress, what);
    };
    const bool expected = told(memory_);
    const bool found = told(redis_);
    if (expected) REQUIRE(found);
    same("after writing", [&](auto& s) {
      const job_delivery& at = s.deliveries[*d];
      const auto hold = s.run(s.takers[taker]->renew(at.id, at.fence));
      return s.name_of(at.id) + ' ' + std::to_string(static_cast<int>(hold));
    });
    news(memory_.deliveries[*d].id.number);
  }

  void news(std::uint64_t number_in_memory) {
    const std::size_t which = memory_.ordinals.at(number_in_memory);
    same("news of " + std::to_string(which), [&](auto& s) {
      const auto n = s.run(troupe::as_result(s.store().news(s.ids[which], 0)));
      return n.has_value() ? described(*n) : "failed " + std::to_string(n.code().value());
    });
  }

  void look() {
    if (memory_.ids.empty()) return;
    const std::size_t which = choose(memory_.ids.size());
    look_at(which);
    news(memory_.ids[which].number);
  }
  void look_at(std::size_t which) {
    bool has_ended = false;
    same("get " + std::to_string(which), [&](auto& s) {
      const auto i = s.run(s.store().get(s.ids[which]));
      has_ended = i && is_final(i->state);
      return i ? described(s, s.now(), *i) : std::string("unknown");
    });
    if (!has_ended) return;
    same("settled " + std::to_string(which), [&](auto& s) {
      const troupe::job_outcome o = s.run(s.store().settled(s.ids[which]));
      return std::string(to_string(o.state)) + std::string(o.result.view()) + described(o.error);
    });
  }
  void look_at_all() {
    for (std::size_t i = 0; i != memory_.ids.size(); ++i) look_at(i);
  }

  void list() {
    const auto state = static_cast<job_state>(choose(troupe::job_state_count));
    same("list " + std::string(to_string(state)), [&](auto& s) {
      std::string all;
      std::optional<job_id> from;
      do {
        const troupe::job_page page = s.run(s.store().list(state, from, 3));
        for (const troupe::job_info& i : page.jobs) all += s.name_of(i.id) + ' ';
        from = page.next;
        all += from ? "next " + s.name_of(*from) + ' ' : "end";
      } while (from);
      return all;
    });
  }

  in_redis redis_;
  in_memory memory_;  // gone first: see `in_redis::run`
  std::uint64_t seed_;
  std::vector<std::size_t> takers_;  // of the deliveries
  std::uint64_t count_ = 0;
  std::string said_;
};

}  // namespace

TEST_CASE("redis jobs: what happens to jobs is what happens to them in memory", "[redis][job]") {
  redis_server server;
  const std::uint64_t first = number_of("TROUPE_JOB_SEED", 1);
  const std::uint64_t count = number_of("TROUPE_JOB_HISTORIES", 6);
  for (std::uint64_t seed = first; seed != first + count; ++seed) {
    INFO("TROUPE_JOB_SEED=" << seed);
    const limits few{24, 6, 3};
    const limits many{1000, 1000, 500};
    history one(server, seed, seed % 2 == 0 ? few : many);
    one.run(250);
  }
}

}  // namespace job_conformance_tests

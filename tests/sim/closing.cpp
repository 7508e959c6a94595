// SPDX-License-Identifier: MIT
// Random schedules of calls against all that closes workers: eviction, removal, reload, terminate
// and cleaners, a few workers, many seeds, and failures under each kind of supervision. The
// monitors see to it that each call settles once and says truly whether it ran, that an id has one
// instance at most, that the calls of one caller run in order, also across instances, and that
// constructors and destructors balance; a wait that nothing ends is an error of the simulator.
// TROUPE_SEEDS=100000 runs so many.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe.hpp>

#include "../support/catch.hpp"
#include "monitors.hpp"

namespace troupe::test {
namespace {

constexpr std::size_t closing_keys = 3;
constexpr std::size_t closing_classes = 6;

/// What the actors of one run share.
struct closing_run {
  std::uint64_t draw(std::uint64_t count) noexcept { return sim.random() % count; }
  duration short_time() noexcept { return std::chrono::microseconds(draw(2000)); }
  static std::string key_of(std::size_t key) { return std::to_string(key); }

  sim_executor& sim;
  monitors& watch;
  broker* all = nullptr;
};

/// Ends the record of a method, however it is left.
class closing_scope {
public:
  closing_scope(monitors& m, std::uint32_t id) : watch_(m), id_(id) { m.start(id); }
  closing_scope(const closing_scope&) = delete;
  closing_scope& operator=(const closing_scope&) = delete;
  ~closing_scope() { watch_.end(id_, !done); }
  bool done = false;

private:
  monitors& watch_;
  const std::uint32_t id_;
};

/// What is done to workers from outside, and, where that makes sense, from their own methods.
task<> close_something(closing_run& r, bool from_outside);
/// A call, and maybe some tells before it, made by the method of the call `caller`, or such a one.
task<> call_something(closing_run& r, std::uint32_t caller, unsigned depth);

class closing_actor {
public:
  closing_actor(context& ctx, closing_run& r, std::size_t number)
      : ctx_(ctx), run_(r), number_(number) {
    run_.watch.constructed(number_);
  }
  closing_actor(const closing_actor&) = delete;
  closing_actor& operator=(const closing_actor&) = delete;
  ~closing_actor() { run_.watch.destroyed(number_); }

  int quick(std::uint32_t id) {
    closing_scope scope(run_.watch, id);
    if (run_.draw(16) == 0) throw planned_failure();
    if (run_.draw(16) == 0) ctx_.deactivate_when_idle();
    if (run_.draw(16) == 0) ctx_.keep_alive(run_.short_time());
    scope.done = true;
    return static_cast<int>(id);
  }

  task<int> slow(std::uint32_t id, unsigned depth) {
    closing_scope scope(run_.watch, id);
    co_await sleep_for(run_.short_time());
    run_.watch.runs(id);
    const std::uint64_t what = run_.draw(8);
    if (what < 2) co_await close_something(run_, false);
    if (what == 2) co_await call_something(run_, id, depth + 1);
    run_.watch.runs(id);
    if (run_.draw(16) == 0) throw planned_failure();
    scope.done = true;
    co_return static_cast<int>(id);
  }

  void note(std::uint32_t id) {
    closing_scope scope(run_.watch, id);
    scope.done = true;
  }

protected:
  task<> take_time() { co_await sleep_for(run_.short_time()); }
  void fail_at_times() {
    if (run_.draw(8) == 0) throw planned_failure();
  }

private:
  context& ctx_;
  closing_run& run_;
  const std::size_t number_;
};

/// Classes that differ in how they start and stop.
template <std::size_t Class>
class closing_class : public closing_actor {
public:
  using closing_actor::closing_actor;
};
template <>
class closing_class<1> : public closing_actor {
public:
  using closing_actor::closing_actor;
  task<> on_start() {
    co_await take_time();
    fail_at_times();
  }
  task<> on_stop() {
    co_await take_time();
    fail_at_times();
  }
};
template <>
class closing_class<2> : public closing_actor {
public:
  using closing_actor::closing_actor;
  void on_stop() { fail_at_times(); }
  static constexpr actor_options options{
      .mailbox_capacity = 2, .overflow = overflow::refuse, .reentrancy = reentrancy::none};
};
template <>
class closing_class<3> : public closing_actor {
public:
  using closing_actor::closing_actor;
  static constexpr actor_options options{.reentrancy = reentrancy::interleaved};
};
constexpr std::size_t interleaved_class = 3;

/// Those of the next two classes: what fails is restarted, or stopped.
constexpr actor_options supervised(directive on_failure) {
  actor_options o;
  o.supervise.on_failure = on_failure;
  o.supervise.backoff_first = std::chrono::microseconds(500);
  o.supervise.max_restarts = 3;
  return o;
}
template <>
class closing_class<4> : public closing_actor {
public:
  using closing_actor::closing_actor;
  task<> on_start() {
    co_await take_time();
    fail_at_times();
  }
  static constexpr actor_options options = supervised(directive::restart);
};
template <>
class closing_class<5> : public closing_actor {
public:
  using closing_actor::closing_actor;
  task<> on_stop() { co_await take_time(); }
  static constexpr actor_options options = supervised(directive::stop);
};

template <class F>
decltype(auto) with_class(std::uint64_t number, F f) {
  if (number == 0) return f.template operator()<0>();
  if (number == 1) return f.template operator()<1>();
  if (number == 2) return f.template operator()<2>();
  if (number == 3) return f.template operator()<3>();
  if (number == 4) return f.template operator()<4>();
  return f.template operator()<5>();
}

template <std::size_t Class>
task<> close_one(closing_run& r, std::size_t key, bool from_outside) {
  using actor = closing_class<Class>;
  broker& b = *r.all;
  const std::string name = closing_run::key_of(key);
  switch (r.draw(from_outside ? 9 : 6)) {
    case 0:
    case 1:
      b.evict(b.worker<actor>(name).id());
      break;
    case 2:
      static_cast<void>(co_await as_result(b.remove<actor>(name)));
      break;
    case 3:
      static_cast<void>(co_await as_result(b.reload<actor>(name)));
      break;
    case 4:
      static_cast<void>(co_await as_result(b.load<actor>(name)));
      break;
    case 5:
      if (r.draw(4) == 0) static_cast<void>(co_await as_result(b.terminate()));
      break;
    case 6:
      static_cast<void>(co_await as_result(b.reload_all<actor>()));
      break;
    case 7:
      static_cast<void>(co_await as_result(within(b.remove<actor>(name), r.short_time())));
      break;
    default:
      for (const worker_info& w : b.workers()) b.evict(w.id);
      break;
  }
}

task<> close_something(closing_run& r, bool from_outside) {
  const std::size_t key = r.draw(closing_keys);
  return with_class(r.draw(closing_classes),
                    [&]<std::size_t Class>() { return close_one<Class>(r, key, from_outside); });
}

template <std::size_t Class>
task<int> made_call(closing_run& r, proxy<closing_class<Class>> p, std::uint32_t id, unsigned depth,
                    std::uint64_t way) {
  using actor = closing_class<Class>;
  const duration limit = r.short_time();
  if (way == 0) co_return co_await p.template call<&actor::quick>(id);
  if (way == 1) co_return co_await p.template call<&actor::slow>(id, depth);
  if (way == 2) co_return co_await p.template call<&actor::quick>(id).within(limit);
  co_return co_await p.template call<&actor::slow>(id, depth).within(limit);
}

template <std::size_t Class>
task<> call_once(closing_run& r, std::uint32_t caller, std::size_t key, unsigned depth) {
  using actor = closing_class<Class>;
  const proxy<actor> p = r.all->worker<actor>(closing_run::key_of(key));
  const std::size_t number = Class * closing_keys + key;
  for (std::uint64_t tells = r.draw(3); tells > 0; --tells) {
    const std::uint32_t told = r.watch.issue(caller, number, call_kind::tell);
    r.watch.told(told, p.template tell<&actor::note>(told));
  }
  const std::uint64_t way = r.draw(4);
  const std::uint32_t id =
      r.watch.issue(caller, number, way >= 2 ? call_kind::limited : call_kind::borrowing);
  std::error_code code;
  bool planned = false;
  int value = 0;
  try {
    value = co_await made_call<Class>(r, p, id, depth, way);
  } catch (const error& e) {
    code = e.code();
  } catch (const planned_failure&) {
    planned = true;
  }
  r.watch.runs(caller);
  if (code) {
    r.watch.settle_code(id, code);
  } else if (planned) {
    r.watch.settle_planned(id);
  } else {
    r.watch.settle_value(id, value);
  }
}

task<> call_something(closing_run& r, std::uint32_t caller, unsigned depth) {
  constexpr unsigned deepest = 3;
  if (depth >= deepest) co_return;
  const std::size_t key = r.draw(closing_keys);
  co_await with_class(r.draw(closing_classes),
                      [&]<std::size_t Class>() { return call_once<Class>(r, caller, key, depth); });
}

task<> client(closing_run& r) {
  const std::uint32_t me = r.watch.begin_caller();
  for (std::uint64_t left = 3 + r.draw(5); left > 0; --left) {
    const std::uint64_t what = r.draw(8);
    if (what == 0) {
      co_await when_any(call_something(r, me, 0), sleep_for(r.short_time()));
    } else if (what == 1) {
      co_await when_all(call_something(r, r.watch.begin_caller(me), 0),
                        call_something(r, r.watch.begin_caller(me), 0));
    } else {
      co_await call_something(r, me, 0);
    }
    if (r.draw(4) == 0) co_await sleep_for(r.short_time());
  }
}

task<> closer(closing_run& r) {
  for (std::uint64_t left = 2 + r.draw(6); left > 0; --left) {
    co_await close_something(r, true);
    co_await sleep_for(r.short_time());
  }
}

task<> clients_and_closers(closing_run& r) {
  std::vector<task<>> all;
  for (std::uint64_t left = 2 + r.draw(2); left > 0; --left) all.push_back(client(r));
  for (std::uint64_t left = 1 + r.draw(2); left > 0; --left) all.push_back(closer(r));
  co_await when_all(std::move(all));
}

template <std::size_t Class>
void provide_closing(broker& b, closing_run& r) {
  b.provide<closing_class<Class>>([&r](context& ctx) {
    const std::size_t key = static_cast<std::size_t>(ctx.key().front() - '0');
    return std::make_unique<closing_class<Class>>(ctx, r, Class * closing_keys + key);
  });
}

/// Closes at random whoever it hears of, and others.
struct random_cleaner {
  void operator()(const worker_event& e) const {
    if (e.kind == worker_event::terminate || run->draw(3) != 0) return;
    if (run->draw(2) == 0) {
      e.broker->evict(e.id);
    } else {
      for (const worker_info& w : e.broker->workers()) e.broker->evict(w.id);
    }
  }
  closing_run* run;
};

cleaner some_cleaner(closing_run& r) {
  switch (r.draw(5)) {
    case 0:
      return lru_cleaner({.worker_count = 1 + r.draw(3)});
    case 1:
      return idle_cleaner({.after = std::chrono::milliseconds(1)});
    case 2:
      return combine(lru_cleaner({.worker_count = 2}),
                     idle_cleaner({.after = std::chrono::milliseconds(1)}));
    case 3:
      return random_cleaner{&r};
    default:
      return {};
  }
}

constexpr directive reactions[] = {directive::resume, directive::restart, directive::stop,
                                   directive::escalate};

supervision some_supervision(closing_run& r) {
  return {.on_failure = reactions[r.draw(4)],
          .backoff_first = r.short_time(),
          .backoff_max = std::chrono::milliseconds(r.draw(10)),
          .max_restarts = static_cast<unsigned>(r.draw(4)),
          .period = std::chrono::milliseconds(1 + r.draw(50))};
}

struct closing_coverage {
  std::uint64_t runs = 0;
  std::uint64_t calls = 0;
  std::uint64_t instances = 0;
  std::uint64_t restarts = 0;
  std::uint64_t notices = 0;
  std::map<std::string, std::uint64_t> codes;
};

void run_closing(sim_executor& sim, closing_coverage& seen) {
  std::vector<bool> interleaved(closing_classes * closing_keys, false);
  for (std::size_t key = 0; key < closing_keys; ++key) {
    interleaved[interleaved_class * closing_keys + key] = true;
  }
  monitors watch(std::move(interleaved));
  closing_run r{sim, watch};
  {
    broker_options options;
    options.on = &sim;
    options.cleaner = some_cleaner(r);
    options.drain_limit = r.draw(4) == 0 ? r.short_time() : duration(std::chrono::seconds(10));
    options.supervise = some_supervision(r);
    options.on_escalation = [&r](const worker_failure&) { return reactions[r.draw(4)]; };
    options.on_dead_letter = [&watch](const dead_letter& l) {
      if (l.method == "note" && l.reason) watch.dead_letter_of_tell();
    };
    broker b(std::move(options));
    r.all = &b;
    provide_closing<0>(b, r);
    provide_closing<1>(b, r);
    provide_closing<2>(b, r);
    provide_closing<3>(b, r);
    provide_closing<4>(b, r);
    provide_closing<5>(b, r);
    const monitor watched(b.worker<closing_class<0>>(closing_run::key_of(0)),
                          [&seen](const worker_notice&) { ++seen.notices; });
    sim.run(clients_and_closers(r));
    seen.restarts += b.stats().restarts;
  }
  watch.check_end();
  seen.calls += watch.calls();
  seen.instances += watch.instances();
  for (const auto& [code, count] : watch.codes()) seen.codes[code] += count;
}

#if TROUPE_TSAN || TROUPE_ASAN
constexpr std::uint64_t closing_seeds = 500;
#else
constexpr std::uint64_t closing_seeds = 5000;
#endif

closing_coverage search_closing(std::uint64_t first, bool buggify) {
  closing_coverage seen;
  const sim_search_options options{
      .first = first, .count = closing_seeds, .run = {.buggify = buggify, .max_steps = 1'000'000}};
  for_each_seed(options, [&seen](sim_executor& sim) {
    ++seen.runs;
    run_closing(sim, seen);
  });
  return seen;
}

}  // namespace
}  // namespace troupe::test

TEST_CASE("calls settle once, whatever closes their workers meanwhile", "[sim][closing]") {
  const troupe::test::closing_coverage seen = troupe::test::search_closing(1, false);
  for (const auto& [code, count] : seen.codes) UNSCOPED_INFO(code << ": " << count);
  INFO("calls " << seen.calls << ", instances " << seen.instances << ", restarts " << seen.restarts
                << ", notices " << seen.notices);
  const bool are_few = seen.runs < 100;  // chance decides what so few show
  REQUIRE((are_few || seen.codes.size() >= 5));
  REQUIRE((are_few || seen.instances > 2 * seen.runs));
  REQUIRE((are_few || seen.restarts > seen.runs / 50));
  REQUIRE((are_few || seen.notices > seen.restarts / 10));
}

TEST_CASE("they do where rare things happen, too", "[sim][closing]") {
  const troupe::test::closing_coverage seen =
      troupe::test::search_closing(1 + troupe::test::closing_seeds, true);
  REQUIRE(seen.calls > 0);
}

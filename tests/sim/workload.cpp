// SPDX-License-Identifier: MIT
// Random programs of actors on the simulator, under monitors: whatever a seed makes them do, what
// the library promises holds. TROUPE_SEEDS=100000 runs so many; a seed that fails says how to run
// it again.

#include "workload.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe.hpp>

#include "../support/catch.hpp"

namespace troupe::test {

// --- one call of each kind
// ------------------------------------------------------------------------

template <std::size_t Kind>
task<> workload::call(std::uint32_t caller, std::size_t key, unsigned depth) {
  using actor = node<Kind>;
  const proxy<actor> p = broker_->worker<actor>(key_of(key));
  const std::uint64_t way = draw(4);
  const bool is_limited = way >= 2;
  const duration limit = short_time();
  const std::uint32_t id = monitors_.issue(caller, number_of(Kind, key_of(key)),
                                           is_limited ? call_kind::limited : call_kind::borrowing);
  std::error_code code;
  bool planned = false;
  int value = 0;
  try {
    switch (way) {
      case 0:
        value = co_await p.template call<&actor::quick>(id);
        break;
      case 1:
        value = co_await p.template call<&actor::slow>(id, depth + 1);
        break;
      case 2:
        value = co_await p.template call<&actor::quick>(id).within(limit);
        break;
      default:
        value = co_await p.template call<&actor::slow>(id, depth + 1).within(limit);
        break;
    }
  } catch (const error& e) {
    code = e.code();
  } catch (const planned_failure&) {
    planned = true;
  }
  monitors_.runs(caller);
  if (code) {
    monitors_.settle_code(id, code);
  } else if (planned) {
    monitors_.settle_planned(id);
  } else {
    monitors_.settle_value(id, value);
  }
}

/// Issued in the order in which they are named.
template <std::size_t Kind>
task<> workload::call_two_at_once(std::uint32_t caller, std::size_t key) {
  using actor = node<Kind>;
  const proxy<actor> p = broker_->worker<actor>(key_of(key));
  const std::size_t number = number_of(Kind, key_of(key));
  const std::uint32_t me = monitors_.begin_caller(caller);  // nobody else's calls in between
  const std::uint32_t first = monitors_.issue(me, number, call_kind::borrowing);
  const std::uint32_t second = monitors_.issue(me, number, call_kind::borrowing);
  const std::uint32_t third = monitors_.issue(me, number, call_kind::borrowing);
  try {
    const auto values = co_await when_all(p.template call<&actor::quick>(first),
                                          p.template call<&actor::slow>(second, 3u),
                                          p.template call<&actor::quick>(third));
    monitors_.runs(caller);
    monitors_.settle_value(first, std::get<0>(values));
    monitors_.settle_value(second, std::get<1>(values));
    monitors_.settle_value(third, std::get<2>(values));
    co_return;
  } catch (const error&) {
  } catch (const planned_failure&) {
  }
  for (const std::uint32_t id : {first, second, third}) monitors_.settle_unknown(id);
}

template <std::size_t Kind>
void workload::tell(std::uint32_t caller, std::size_t key) {
  using actor = node<Kind>;
  const proxy<actor> p = broker_->worker<actor>(key_of(key));
  const std::uint32_t id = monitors_.issue(caller, number_of(Kind, key_of(key)), call_kind::tell);
  const bool accepted =
      draw(2) == 0 ? p.template tell<&actor::note>(id) : p.template tell<&actor::note_slowly>(id);
  monitors_.told(id, accepted);
}

/// What happens to a worker from outside; where it is in the way of who asks, that is refused.
template <std::size_t Kind>
task<> workload::administer(std::size_t key) {
  using actor = node<Kind>;
  const std::string name = key_of(key);
  switch (draw(6)) {
    case 0:
    case 1:
      broker_->evict(broker_->worker<actor>(name).id());
      break;
    case 2:
    case 3:
      static_cast<void>(co_await as_result(broker_->remove<actor>(name)));
      break;
    case 4:
      static_cast<void>(co_await as_result(broker_->load<actor>(name)));
      break;
    default:
      if (draw(8) == 0) static_cast<void>(co_await as_result(broker_->terminate()));
      break;
  }
}

template <std::size_t Kind>
task<> workload::step_with(std::uint32_t caller, std::size_t key, unsigned depth) {
  switch (draw(8)) {
    case 0:
      tell<Kind>(caller, key);
      co_return;
    case 1:
      tell<Kind>(caller, key);
      tell<Kind>(caller, key);
      co_await call<Kind>(caller, key, depth);
      co_return;
    case 2:
      co_await administer<Kind>(key);
      co_return;
    case 3:
      co_await call_two_at_once<Kind>(caller, key);
      co_return;
    default:
      co_await call<Kind>(caller, key, depth);
  }
}

// --- steps
// ----------------------------------------------------------------------------------------

task<> workload::call_any(std::uint32_t caller, unsigned depth) {
  const std::size_t key = draw(key_count);
  switch (draw(kind_count)) {
    case usual:
      return step_with<usual>(caller, key, depth);
    case refusing:
      return step_with<refusing>(caller, key, depth);
    case interleaving:
      return step_with<interleaving>(caller, key, depth);
    case threaded:
      return step_with<threaded>(caller, key, depth);
    case dropping:
      return step_with<dropping>(caller, key, depth);
    case hooked:
      return step_with<hooked>(caller, key, depth);
    default:
      return step_with<guarded>(caller, key, depth);
  }
}

task<> workload::fork(std::uint32_t caller, unsigned depth) {
  if (draw(2) == 0) {
    co_await when_all(call_any(caller, depth), call_any(caller, depth), call_any(caller, depth));
    co_return;
  }
  task_scope scope;
  scope.spawn(call_any(caller, depth));
  scope.spawn(call_any(caller, depth));
  const result<void> joined = co_await as_result(scope.join());
  monitors_.runs(caller);
}

task<> workload::race(std::uint32_t caller, unsigned depth) {
  co_await when_any(call_any(caller, depth), sleep_for(short_time()));
}

task<> workload::stop_midway(std::uint32_t caller, unsigned depth) {
  task_scope scope;
  scope.spawn(call_any(caller, depth));
  scope.spawn(act(caller, depth + 1));
  const result<void> slept = co_await as_result(sleep_for(short_time()));
  monitors_.runs(caller);
  scope.request_stop();
  const result<void> joined = co_await as_result(scope.join());
  monitors_.runs(caller);
}

task<> workload::step(std::uint32_t caller, unsigned depth) {
  switch (draw(12)) {
    case 0:
      co_await sleep_for(short_time());
      break;
    case 1:
      co_await yield();
      break;
    case 2:
      co_await fork(caller, depth);
      break;
    case 3:
      co_await race(caller, depth);
      break;
    case 4:
      co_await stop_midway(caller, depth);
      break;
    case 5:
      static_cast<void>(co_await offload([] { return 1; }));
      break;
    case 6:
      broker_->spawn(spawned(monitors::life_of_task(monitors_)));
      break;
    default:
      co_await call_any(caller, depth);
  }
}

task<> workload::act(std::uint32_t caller, unsigned depth) {
  constexpr unsigned deepest = 3;
  if (depth >= deepest) co_return;
  for (std::uint64_t left = 1 + draw(2); left > 0; --left) {
    co_await step(caller, depth);
    monitors_.runs(caller);
  }
}

task<> workload::spawned(monitors::life_of_task) { co_await act(monitors_.begin_caller(), 2); }

task<> workload::client() {
  const std::uint32_t me = monitors_.begin_caller();
  for (std::uint64_t left = 4 + draw(8); left > 0; --left) co_await step(me, 0);
}

task<> workload::run() {
  std::vector<task<>> clients;
  for (std::uint64_t left = 2 + draw(4); left > 0; --left) clients.push_back(client());
  co_await when_all(std::move(clients));
  co_await broker_->terminate();
}

// --- the factories
// --------------------------------------------------------------------------------

namespace {

template <std::size_t Kind>
void provide_kind(broker& b, workload& w) {
  b.provide<node<Kind>>([&w](context& ctx) { return std::make_unique<node<Kind>>(ctx, w); });
}

template <std::size_t... Kinds>
void provide_all(broker& b, workload& w, std::index_sequence<Kinds...>) {
  (provide_kind<Kinds>(b, w), ...);
}

std::vector<bool> which_interleave() {
  std::vector<bool> all(kind_count * key_count, false);
  for (std::size_t key = 0; key < key_count; ++key) all[interleaving * key_count + key] = true;
  return all;
}

}  // namespace

void workload::begin(broker& b) {
  broker_ = &b;
  provide_all(b, *this, std::make_index_sequence<kind_count>());
}

namespace {

/// What many runs have seen together: a test that sees nothing proves nothing.
struct coverage {
  std::uint64_t runs = 0;
  std::uint64_t calls = 0;
  std::uint64_t instances = 0;
  std::map<std::string, std::uint64_t> codes;
};

void run_once(sim_executor& sim, coverage& seen) {
  monitors watch(which_interleave());
  {
    broker_options options;
    options.on = &sim;
    options.on_dead_letter = [&watch](const dead_letter& l) {
      const bool is_tell = l.method == "note" || l.method == "note_slowly";
      if (is_tell && l.reason) watch.dead_letter_of_tell();
      // What a guard refuses did not run either, though the tell had its turn.
      if (is_tell && !l.reason && l.error && l.to.type == type_name<node<guarded>>()) {
        try {
          std::rethrow_exception(l.error);
        } catch (const error& e) {
          if (e.code() == make_error_code(errc::refused)) watch.dead_letter_of_tell();
        } catch (...) {
        }
      }
    };
    workload load(sim, watch);  // outlives the broker, whose end runs workers
    broker b(std::move(options));
    load.begin(b);
    sim.run(load.run());
  }
  watch.check_end();
  seen.calls += watch.calls();
  seen.instances += watch.instances();
  for (const auto& [code, count] : watch.codes()) seen.codes[code] += count;
}

#if TROUPE_TSAN || TROUPE_ASAN
constexpr std::uint64_t seeds = 150;
#else
constexpr std::uint64_t seeds = 1000;
#endif

coverage search(std::uint64_t first, bool buggify) {
  coverage seen;
  const sim_search_options options{
      .first = first, .count = seeds, .run = {.buggify = buggify, .max_steps = 2'000'000}};
  for_each_seed(options, [&seen](sim_executor& sim) {
    ++seen.runs;
    run_once(sim, seen);
  });
  return seen;
}

}  // namespace
}  // namespace troupe::test

TEST_CASE("whatever actors do, what is promised holds", "[sim]") {
  const troupe::test::coverage seen = troupe::test::search(1, false);
  for (const auto& [code, count] : seen.codes) UNSCOPED_INFO(code << ": " << count);
  INFO("calls " << seen.calls << ", instances " << seen.instances);
  const bool are_few = seen.runs < 100;  // chance decides what so few show
  REQUIRE((are_few || seen.codes.size() >= 7));
}

TEST_CASE("whatever actors do, and whatever rare things happen, what is promised holds", "[sim]") {
  const troupe::test::coverage seen = troupe::test::search(1, true);
  REQUIRE(seen.calls > 0);
}

// SPDX-License-Identifier: MIT

/// @file
/// What happens to a worker after a failure: resume, restart with a pause, stop, escalate.

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/methods.hpp>
#include <troupe/actor/monitor.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "support.hpp"

namespace supervision_tests {

using namespace std::chrono_literals;
using troupe::directive;
using troupe::test::code_of;
using troupe::test::error_of;
using troupe::test::instance_count;
using troupe::test::what_of;

namespace {

constexpr troupe::supervision restarting{.on_failure = directive::restart,
                                         .backoff_first = 100ms,
                                         .backoff_max = 1s,
                                         .max_restarts = 3,
                                         .period = 60s};

instance_count fragile_count;

/// Counts what it has done, and breaks when it is told to.
struct fragile {
  int work() { return ++done; }
  int fail(std::string what) { throw std::runtime_error(what); }
  troupe::task<int> fail_later(std::string what) {
    co_await troupe::sleep_for(1ms);
    throw std::runtime_error(what);
  }
  troupe::task<> be_slow(troupe::duration d) { co_await troupe::sleep_for(d); }

  troupe::test::counted one{fragile_count};
  int done = 0;
};

/// The same under a supervision of its own.
struct guarded : fragile {
  static constexpr troupe::actor_options options{.supervise = restarting};
};

struct stopping : fragile {
  static constexpr troupe::actor_options options{.supervise = {.on_failure = directive::stop}};
};

struct interleaving : fragile {
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved,
                                                 .supervise = restarting};
};

struct on_a_thread : fragile {
  static constexpr troupe::actor_options options{.placement = troupe::placement::own_thread,
                                                 .supervise = restarting};
};

/// How a call ends that is made while another one is under way.
template <class A>
troupe::task<std::error_code> code_of_next(const troupe::proxy<A>& w) {
  co_await troupe::sleep_for(100us);
  co_return co_await code_of(w.template call<&A::work>());
}

template <class F>
void in_simulation(F test, troupe::broker_options options = {}) {
  troupe::sim_executor sim({.seed = 11});
  options.on = &sim;
  troupe::broker broker(std::move(options));
  broker.run(test(broker));
}

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::fragile, work, fail, fail_later, be_slow)

TROUPE_METHODS(supervision_tests::guarded, work, fail, fail_later, be_slow)

TROUPE_METHODS(supervision_tests::stopping, work, fail, fail_later, be_slow)

TROUPE_METHODS(supervision_tests::interleaving, work, fail, fail_later, be_slow)

TROUPE_METHODS(supervision_tests::on_a_thread, work, fail, fail_later, be_slow)

namespace supervision_tests {

TEST_CASE("a worker goes on after a failure, unless told otherwise", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<fragile>();
    co_await w->work();
    const auto thrown = co_await error_of(w->fail("oh"));
    REQUIRE(what_of(thrown) == "oh");
    const int done = co_await w->work();
    REQUIRE(done == 2);
    REQUIRE(broker.stats().restarts == 0);
  });
}

TEST_CASE("after a failure a new instance takes over, after a pause", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>("x");
    const int made = fragile_count.made;
    co_await w->work();
    const auto thrown = co_await error_of(w->fail("oh"));
    REQUIRE(what_of(thrown) == "oh");
    const auto began = broker.runs_on().now();
    const int done = co_await w->work();
    const auto paused = broker.runs_on().now() - began;
    REQUIRE(done == 1);
    REQUIRE(paused >= 45ms);
    REQUIRE(paused <= 110ms);
    REQUIRE(fragile_count.made == made + 2);
    REQUIRE(fragile_count.living() == 1);
    REQUIRE(broker.stats().restarts == 1);
  });
}

TEST_CASE("the queue goes to the next instance, in order", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>();
    auto [slow, failed, a, b, c] = co_await troupe::when_all(
        w->be_slow(1ms), error_of(w->fail_later("oh")), w->work(), w->work(), w->work());
    static_cast<void>(slow);
    REQUIRE(what_of(failed) == "oh");
    REQUIRE(a == 1);
    REQUIRE(b == 2);
    REQUIRE(c == 3);
  });
}

TEST_CASE("tells behind one that fails go to the next instance", "[broker][supervision]") {
  troupe::test::dead_letters letters;
  in_simulation(
      [&letters](troupe::broker& broker) -> troupe::task<> {
        auto w = broker.worker<guarded>();
        co_await w->work();
        w.tell<&guarded::work>();
        w.tell<&guarded::fail>("oh");
        w.tell<&guarded::work>();
        w.tell<&guarded::work>();
        const int done = co_await w->work();
        REQUIRE(done == 3);
        REQUIRE(letters.count() == 1);
        REQUIRE(letters.at(0).error == "oh");
      },
      {.on_dead_letter = letters.collector()});
}

TEST_CASE("each kind of turn can fail", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>();
    co_await w->work();
    const auto late = co_await error_of(w->fail_later("coroutine"));
    REQUIRE(what_of(late) == "coroutine");
    const int first = co_await w->work();
    REQUIRE(first == 1);
    const auto limited = co_await error_of(w->fail_later("limited").within(1min));
    REQUIRE(what_of(limited) == "limited");
    const int second = co_await w->work();
    REQUIRE(second == 1);
    w.tell<&guarded::fail_later>("tell");
    const int third = co_await w->work();
    REQUIRE(third == 1);
    REQUIRE(broker.stats().restarts == 3);
  });
}

TEST_CASE("a worker with a thread of its own is restarted", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<on_a_thread>();
    co_await w->work();
    const auto thrown = co_await error_of(w->fail("oh"));
    REQUIRE(what_of(thrown) == "oh");
    const int done = co_await w->work();
    REQUIRE(done == 1);
    REQUIRE(broker.stats().restarts == 1);
  });
}

TEST_CASE("the open turns of an interleaved worker end before it is restarted",
          "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<interleaving>();
    const int destroyed = fragile_count.destroyed;
    auto [slow, failed] =
        co_await troupe::when_all(w->be_slow(500ms), error_of(w->fail_later("oh")));
    static_cast<void>(slow);
    REQUIRE(what_of(failed) == "oh");
    const int done = co_await w->work();
    REQUIRE(done == 1);
    REQUIRE(fragile_count.destroyed == destroyed + 1);
  });
}

TEST_CASE("what was asked to stop has not failed", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>();
    co_await w->work();
    const auto code = co_await code_of(troupe::within(w->be_slow(1h), 1ms));
    REQUIRE(code == troupe::errc::timed_out);
    const int done = co_await w->work();
    REQUIRE(done == 2);
    REQUIRE(broker.stats().restarts == 0);
  });
}

TEST_CASE("the pauses grow, and a quiet period begins again from the first",
          "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>();
    co_await w->work();
    auto pause = [&]() -> troupe::task<troupe::duration> {
      const auto thrown = co_await error_of(w->fail("oh"));
      static_cast<void>(thrown);
      const auto began = broker.runs_on().now();
      co_await w->work();
      co_return broker.runs_on().now() - began;
    };
    const auto first = co_await pause();
    const auto second = co_await pause();
    const auto third = co_await pause();
    REQUIRE(first <= 110ms);
    REQUIRE(second >= 95ms);
    REQUIRE(third >= 195ms);
    co_await troupe::sleep_for(2min);
    const auto later = co_await pause();
    REQUIRE(later <= 110ms);
  });
}

TEST_CASE("too many restarts stop the worker", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<guarded>();
    for (int i = 0; i < 3; ++i) {
      const auto thrown = co_await error_of(w->fail("oh"));
      REQUIRE(what_of(thrown) == "oh");
    }
    auto [failed, waiting] =
        co_await troupe::when_all(error_of(w->fail_later("last")), code_of_next(w));
    REQUIRE(what_of(failed) == "last");
    REQUIRE(waiting == troupe::errc::worker_stopped);
    REQUIRE(!broker.exists<guarded>());
    REQUIRE(broker.stats().restarts == 3);
    const int done = co_await w->work();
    REQUIRE(done == 1);
  });
}

TEST_CASE("stop closes the worker and refuses its queue", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<stopping>();
    co_await w->work();
    auto [failed, a, b] =
        co_await troupe::when_all(error_of(w->fail_later("oh")), code_of_next(w), code_of_next(w));
    REQUIRE(what_of(failed) == "oh");
    REQUIRE(a == troupe::errc::worker_stopped);
    REQUIRE(b == troupe::errc::worker_stopped);
    REQUIRE(troupe::is_safe_to_retry(a));
    const int done = co_await w->work();
    REQUIRE(done == 1);
  });
}

TEST_CASE("a class without a supervision has its broker's", "[broker][supervision]") {
  in_simulation(
      [](troupe::broker& broker) -> troupe::task<> {
        auto inherits = broker.worker<fragile>();
        auto has_its_own = broker.worker<stopping>();
        co_await inherits->work();
        const auto first = co_await error_of(inherits->fail("oh"));
        static_cast<void>(first);
        const int done = co_await inherits->work();
        REQUIRE(done == 1);
        const auto second = co_await error_of(has_its_own->fail("oh"));
        static_cast<void>(second);
        co_await troupe::sleep_for(1s);
        REQUIRE(!broker.exists<stopping>());
        REQUIRE(broker.exists<fragile>());
      },
      {.supervise = restarting});
}

namespace {

directive by_type(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::invalid_argument&) {
    return directive::resume;
  } catch (const std::runtime_error&) {
    return directive::stop;
  } catch (const char*) {
    throw;
  } catch (...) {
    return directive::escalate;
  }
}

struct choosy {
  void fail(int how) {
    if (how == 0) throw std::invalid_argument("the caller's affair");
    if (how == 1) throw std::runtime_error("broken");
    if (how == 2) throw "text";
    throw how;
  }
  int work() { return ++done; }
  int done = 0;
  static constexpr troupe::actor_options options{.supervise = {.decide = by_type}};
};

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::choosy, fail, work)

namespace supervision_tests {

TEST_CASE("a worker decides by the exception, the broker where it cannot",
          "[broker][supervision]") {
  std::vector<std::string> asked;
  directive answer = directive::resume;
  const auto handler = [&](const troupe::worker_failure& f) {
    asked.push_back(f.id.key + "." + std::string(f.method));
    return answer;
  };
  in_simulation(
      [&](troupe::broker& broker) -> troupe::task<> {
        auto w = broker.worker<choosy>("c");
        const int first = co_await w->work();
        REQUIRE(first == 1);
        auto fail = [&w](int how) -> troupe::task<> {
          const auto thrown = co_await error_of(w->fail(how));
          REQUIRE(thrown);
        };
        co_await fail(0);
        REQUIRE(asked.empty());
        co_await fail(3);
        REQUIRE(asked.size() == 1);
        REQUIRE(asked[0] == "c.fail");
        const int kept = co_await w->work();
        REQUIRE(kept == 2);
        answer = directive::restart;
        co_await fail(2);  // what `decide` throws escalates
        REQUIRE(asked.size() == 2);
        const int anew = co_await w->work();
        REQUIRE(anew == 1);
        answer = directive::stop;
        co_await fail(3);
        const int again = co_await w->work();
        REQUIRE(again == 1);
        co_await fail(1);
        REQUIRE(asked.size() == 3);
        const int once_more = co_await w->work();
        REQUIRE(once_more == 1);
      },
      {.on_escalation = handler});
}

TEST_CASE("a handler that wants one restart more begins the period anew", "[broker][supervision]") {
  std::vector<unsigned> asked;
  in_simulation(
      [](troupe::broker& broker) -> troupe::task<> {
        auto w = broker.worker<guarded>();
        // Three are free in a period; with the fourth and the seventh another one begins.
        for (std::uint64_t n = 1; n <= 8; ++n) {
          const auto thrown = co_await error_of(w->fail("oh"));
          REQUIRE(what_of(thrown) == "oh");
          const int done = co_await w->work();
          REQUIRE(done == 1);
          REQUIRE(broker.stats().restarts == n);
        }
      },
      {.on_escalation = [&asked](const troupe::worker_failure& f) {
        asked.push_back(f.restarts);
        return directive::restart;
      }});
  REQUIRE(asked == std::vector<unsigned>{3, 3});
}

TEST_CASE("an escalation handler that throws stops the worker", "[broker][supervision]") {
  in_simulation(
      [](troupe::broker& broker) -> troupe::task<> {
        auto w = broker.worker<fragile>();
        const auto thrown = co_await error_of(w->fail("oh"));
        REQUIRE(what_of(thrown) == "oh");
        co_await troupe::yield();
        const int done = co_await w->work();
        REQUIRE(done == 1);
        REQUIRE(broker.stats().restarts == 0);
        REQUIRE(broker.stats().created == 2);
      },
      {.supervise = {.on_failure = directive::escalate},
       .on_escalation = [](const troupe::worker_failure&) -> directive { throw 1; }});
}

// --- the start -----------------------------------------------------------------------------------

namespace {

int starts_that_fail = 0;
int starts = 0;

struct slow_starter {
  troupe::task<> on_start() {
    ++starts;
    co_await troupe::sleep_for(1ms);
    if (starts_that_fail-- > 0) throw std::runtime_error("not today");
  }
  int work() { return 1; }
  int fail() { throw 1; }
  static constexpr troupe::actor_options options{.supervise = restarting};
};

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::slow_starter, work, fail)

namespace supervision_tests {

TEST_CASE("after a start that failed the next attempt waits", "[broker][supervision]") {
  starts = 0;
  starts_that_fail = 2;
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<slow_starter>();
    auto [a, b] = co_await troupe::when_all(code_of(w->work()), code_of(w->work()));
    REQUIRE(a == troupe::errc::start_failed);
    REQUIRE(b == troupe::errc::start_failed);
    co_await troupe::sleep_for(10s);
    REQUIRE(starts == 1);  // nobody ever had it: it is made by the next call
    const auto c = co_await code_of(w->work());
    REQUIRE(c == troupe::errc::start_failed);
    const auto began = broker.runs_on().now();
    const int done = co_await w->work();
    REQUIRE(done == 1);
    REQUIRE(broker.runs_on().now() - began >= 95ms);
    REQUIRE(starts == 3);
  });
}

TEST_CASE("a restart whose start fails is tried again, up to the limit", "[broker][supervision]") {
  starts = 0;
  starts_that_fail = 0;
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<slow_starter>();
    co_await w->work();
    starts_that_fail = 1;
    const auto thrown = co_await error_of(w->fail());
    REQUIRE(thrown);
    co_await troupe::sleep_for(10s);
    REQUIRE(starts == 3);  // by itself
    REQUIRE(broker.exists<slow_starter>());
    REQUIRE(broker.stats().restarts == 1);
    co_await troupe::sleep_for(2min);
    starts_that_fail = 100;
    const auto again = co_await error_of(w->fail());
    REQUIRE(again);
    co_await troupe::sleep_for(1h);
    REQUIRE(starts == 3 + 3);
    REQUIRE(!broker.exists<slow_starter>());
    starts_that_fail = 0;
    const int done = co_await w->work();
    REQUIRE(done == 1);
  });
}

namespace {

struct ticking {
  explicit ticking(troupe::context& ctx) {
    ++made;
    ctx.every(1s, [this] {
      if (++ticks == 3) throw std::runtime_error("out of order");
    });
  }
  int ticks = 0;
  static inline int made = 0;
  static constexpr troupe::actor_options options{.supervise = restarting};
};

}  // namespace

TEST_CASE("a worker that nobody calls is restarted as well", "[broker][supervision]") {
  ticking::made = 0;
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    co_await broker.load<ticking>();
    co_await troupe::sleep_for(5s);
    REQUIRE(ticking::made == 2);
    REQUIRE(broker.exists<ticking>());
  });
}

// --- others while it pauses ----------------------------------------------------------------------

namespace {

struct long_pause : fragile {
  static constexpr troupe::actor_options options{
      .supervise = {.on_failure = directive::restart, .backoff_first = 1h, .backoff_max = 1h}};
};

troupe::task<> break_it(const troupe::proxy<long_pause>& w) {
  co_await w.call<&long_pause::work>();
  const auto thrown = co_await error_of(w.call<&long_pause::fail>("oh"));
  REQUIRE(what_of(thrown) == "oh");
  co_await troupe::sleep_for(1ms);
}

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::long_pause, work, fail, fail_later, be_slow)

namespace supervision_tests {

TEST_CASE("a pause is cut short by remove, terminate and the end of the broker",
          "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<long_pause>();
    const auto began = broker.runs_on().now();
    co_await break_it(w);
    REQUIRE(!broker.evict(w.id()));
    const bool removed = co_await broker.remove<long_pause>();
    REQUIRE(removed);
    co_await break_it(w);
    co_await broker.terminate();
    co_await break_it(w);
    co_await broker.reload<long_pause>();
    const int done = co_await w->work();
    REQUIRE(done == 1);
    co_await break_it(w);
    REQUIRE(broker.runs_on().now() - began < 1min);
  });
  REQUIRE(fragile_count.living() == 0);
}

TEST_CASE("calls that wait out a pause can be withdrawn", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<long_pause>();
    co_await break_it(w);
    const auto expired = co_await code_of(w->work().within(1ms));
    REQUIRE(expired == troupe::errc::expired);
    const auto stopped = co_await code_of(troupe::within(code_of_next(w), 1ms));
    REQUIRE(stopped == troupe::errc::timed_out);
  });
}

TEST_CASE("a removal does not wait for the pause, and runs what was queued before",
          "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<long_pause>();
    co_await break_it(w);
    auto [done, removed] = co_await troupe::when_all(w->work(), broker.remove<long_pause>());
    REQUIRE(done == 1);
    REQUIRE(removed);
    REQUIRE(!broker.exists<long_pause>());
  });
}

TEST_CASE("a removal that meets a restart whose start fails ends the restarts",
          "[broker][supervision]") {
  starts = 0;
  starts_that_fail = 0;
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<slow_starter>();
    co_await w->work();
    starts_that_fail = 100;
    const auto thrown = co_await error_of(w->fail());
    REQUIRE(thrown);
    while (starts < 2) co_await troupe::sleep_for(100us);  // until its on_start is under way
    const bool removed = co_await broker.remove<slow_starter>();
    REQUIRE(removed);
    co_await troupe::sleep_for(1h);
    REQUIRE(starts == 2);
    REQUIRE(!broker.exists<slow_starter>());
  });
}

namespace {

bool cannot_be_made = false;

struct moody {
  moody() {
    if (cannot_be_made) throw std::runtime_error("not today");
  }
  int work() { return 1; }
  static constexpr troupe::actor_options options{
      .supervise = {.on_failure = directive::restart, .backoff_first = 1h, .backoff_max = 1h}};
};

/// What was queued behind the failure is withdrawn while the old instance still stops.
struct slow_to_stop : long_pause {
  troupe::task<> on_stop() { co_await troupe::sleep_for(1h); }
};

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::moody, work)

TROUPE_METHODS(supervision_tests::slow_to_stop, work, fail, fail_later, be_slow)

namespace supervision_tests {

TEST_CASE("a call that begins a pause can be withdrawn", "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<moody>();
    cannot_be_made = true;
    const auto failed = co_await code_of(w->work());
    REQUIRE(failed == troupe::errc::start_failed);
    const auto began = broker.runs_on().now();
    const auto stopped = co_await code_of(troupe::within(code_of_next(w), 1ms));
    REQUIRE(stopped == troupe::errc::timed_out);
    REQUIRE(broker.runs_on().now() - began < 1min);
    cannot_be_made = false;
  });
}

TEST_CASE("what waits behind a failure can be withdrawn while the old instance stops",
          "[broker][supervision]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto w = broker.worker<slow_to_stop>();
    const auto began = broker.runs_on().now();
    auto [held, failed, stopped] = co_await troupe::when_all(
        w->be_slow(1ms), error_of(w->fail("oh")), code_of(troupe::within(code_of_next(w), 1s)));
    static_cast<void>(held);
    static_cast<void>(failed);
    REQUIRE((stopped == troupe::errc::timed_out || !stopped));
    REQUIRE(broker.runs_on().now() - began < 1min);
  });
}

namespace {

struct undecided : fragile {
  static directive ask_the_broker(const std::exception_ptr&) { return directive::inherit; }
  static constexpr troupe::actor_options options{.supervise = {.decide = ask_the_broker}};
};

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::undecided, work, fail, fail_later, be_slow)

namespace supervision_tests {

TEST_CASE("a class may leave one exception to the broker", "[broker][supervision]") {
  in_simulation(
      [](troupe::broker& broker) -> troupe::task<> {
        auto w = broker.worker<undecided>();
        co_await w->work();
        const auto thrown = co_await error_of(w->fail("oh"));
        REQUIRE(thrown);
        const int done = co_await w->work();
        REQUIRE(done == 1);
        REQUIRE(broker.stats().restarts == 1);
      },
      {.supervise = restarting});
}

// --- monitors ------------------------------------------------------------------------------------

TEST_CASE("a monitor tells of failures and of the end", "[broker][monitor]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    std::vector<std::string> seen;
    auto w = broker.worker<guarded>("x");
    troupe::monitor watch(w, [&seen](const troupe::worker_notice& n) {
      const char* const next = n.follows == directive::restart ? "restart"
                               : n.follows == directive::stop  ? "stop"
                                                               : "resume";
      seen.push_back((n.kind == troupe::worker_notice::failed
                          ? std::string(n.method) + " " + what_of(n.error) + " "
                          : "stopped ") +
                     next);
    });
    co_await w->work();
    const auto thrown = co_await error_of(w->fail("oh"));
    REQUIRE(what_of(thrown) == "oh");
    co_await w->work();
    REQUIRE(seen == std::vector<std::string>{"fail oh restart", "stopped restart"});
    co_await broker.remove<guarded>("x");
    REQUIRE(seen.size() == 3);
    REQUIRE(seen.back() == "stopped stop");
    watch.stop();
    co_await w->work();
    co_await broker.remove<guarded>("x");
    REQUIRE(seen.size() == 3);
  });
}

TEST_CASE("monitors come in order, may leave while they are told, and may throw",
          "[broker][monitor]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    std::string seen;
    auto w = broker.worker<fragile>();
    troupe::monitor a(w, [&seen](const troupe::worker_notice&) {
      seen += 'a';
      throw 1;
    });
    troupe::monitor b;
    b = troupe::monitor(w, [&](const troupe::worker_notice&) {
      seen += 'b';
      b.stop();
    });
    troupe::monitor c(w, [&seen](const troupe::worker_notice&) { seen += 'c'; });
    for (int i = 0; i < 2; ++i) {
      const auto thrown = co_await error_of(w->fail("oh"));
      static_cast<void>(thrown);
    }
    REQUIRE(seen == "abcac");
  });
}

namespace {

struct nurse {
  explicit nurse(troupe::context& ctx)
      : watch(ctx.worker<fragile>("patient"),
              [me = ctx.self<nurse>()](const troupe::worker_notice& n) {
                me.tell<&nurse::note>(n.id.key + " " + std::string(n.method));
              }) {}
  void note(std::string text) { notes.push_back(std::move(text)); }
  std::vector<std::string> read() const { return notes; }

  std::vector<std::string> notes;
  troupe::monitor watch;
};

}  // namespace
}  // namespace supervision_tests

TROUPE_METHODS(supervision_tests::nurse, note, read)

namespace supervision_tests {

TEST_CASE("an actor that monitors another is told in turns of its own", "[broker][monitor]") {
  in_simulation([](troupe::broker& broker) -> troupe::task<> {
    auto n = broker.worker<nurse>();
    co_await broker.load<nurse>();
    const auto thrown = co_await error_of(broker.worker<fragile>("patient")->fail("oh"));
    static_cast<void>(thrown);
    co_await troupe::yield();
    const auto notes = co_await n->read();
    REQUIRE(notes == std::vector<std::string>{"patient fail"});
    co_await broker.remove<nurse>();  // its monitor goes with it
    const auto again = co_await error_of(broker.worker<fragile>("patient")->fail("oh"));
    static_cast<void>(again);
    REQUIRE(!broker.exists<nurse>());
  });
}

TEST_CASE("a worker that fails on many threads keeps its promises", "[broker][supervision]") {
  constexpr int callers = 4;
  constexpr int calls = 200;
  {
    troupe::broker broker({.threads = 3,
                           .supervise = {.on_failure = directive::restart,
                                         .backoff_first = 1us,
                                         .backoff_max = 1ms,
                                         .max_restarts = 1'000'000}});
    auto call = [](troupe::proxy<fragile> w) -> troupe::task<int> {
      int settled = 0;
      for (int i = 0; i < calls; ++i) {
        std::exception_ptr thrown;
        if (i % 8 == 3) {
          thrown = co_await error_of(w.call<&fragile::fail>("plain"));
        } else if (i % 16 == 7) {
          thrown = co_await error_of(w.call<&fragile::fail_later>("late"));
        } else {
          thrown = co_await error_of(w.call<&fragile::work>());
        }
        if (!thrown || what_of(thrown) == "plain" || what_of(thrown) == "late") ++settled;
      }
      co_return settled;
    };
    std::vector<troupe::task<int>> all;
    for (int i = 0; i < callers; ++i) all.push_back(call(broker.worker<fragile>("one")));
    int settled = 0;
    for (const int n : broker.run(troupe::when_all(std::move(all)))) settled += n;
    REQUIRE(settled == callers * calls);
    REQUIRE(broker.stats().restarts > 0);
  }
  REQUIRE(fragile_count.living() == 0);
}

TEST_CASE("restarts, pauses and closes meet on many threads", "[broker][supervision]") {
  constexpr int rounds = 150;
  {
    troupe::broker broker({.threads = 3,
                           .supervise = {.on_failure = directive::restart,
                                         .backoff_first = 20us,
                                         .backoff_max = 200us,
                                         .max_restarts = 1'000'000}});
    auto fail = [](troupe::proxy<fragile> w) -> troupe::task<int> {
      int settled = 0;
      for (int i = 0; i < rounds; ++i) {
        const auto thrown = co_await error_of(w.call<&fragile::fail>("oh"));
        if (thrown) ++settled;
      }
      co_return settled;
    };
    auto close = [](troupe::broker& b, troupe::worker_id id) -> troupe::task<int> {
      for (int i = 0; i < rounds; ++i) {
        if (i % 3 == 0) co_await b.remove<fragile>("one");
        if (i % 3 == 1) co_await b.reload<fragile>("one");
        if (i % 3 == 2) b.evict(id);
        co_await troupe::sleep_for(10us);
      }
      co_return 0;
    };
    const auto one = broker.worker<fragile>("one");
    std::vector<troupe::task<int>> all;
    for (int i = 0; i < 3; ++i) all.push_back(fail(one));
    all.push_back(close(broker, one.id()));
    int settled = 0;
    for (const int n : broker.run(troupe::when_all(std::move(all)))) settled += n;
    REQUIRE(settled == 3 * rounds);
  }
  REQUIRE(fragile_count.living() == 0);
}

TEST_CASE("a monitor that is gone is not being told", "[broker][monitor]") {
  std::atomic<bool> over{false};  // outlives the broker, whose task looks at it
  troupe::broker broker({.threads = 2});
  auto w = broker.worker<fragile>();
  auto keep_failing = [](troupe::proxy<fragile> p, std::atomic<bool>& stop) -> troupe::task<> {
    while (!stop.load()) {
      const auto thrown = co_await error_of(p.call<&fragile::fail>("oh"));
      static_cast<void>(thrown);
      co_await troupe::yield();
    }
  };
  broker.spawn(keep_failing(w, over));
  int told = 0;
  for (int i = 0; i < 300; ++i) {
    auto seen = std::make_unique<int>(0);  // what the function touches goes right after the monitor
    std::atomic<int> known{0};
    {
      troupe::monitor watch(w, [&known, at = seen.get()](const troupe::worker_notice&) {
        ++*at;
        known.store(*at);
      });
      if (i % 3 == 0) troupe::test::spin_until([&known] { return known.load() > 0; });
    }
    told += *seen;
  }
  over = true;
  REQUIRE(told >= 100);
}

}  // namespace supervision_tests

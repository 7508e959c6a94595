// SPDX-License-Identifier: MIT
// Time limits, stops and results that race on threads: every call settles once, with what is true.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace within_threads_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using troupe::test::code_of;

#if TROUPE_TSAN
constexpr int rounds = 200;
#else
constexpr int rounds = 2000;
#endif

std::atomic<int> alive{0};

class payload {
public:
  payload() : text_(std::make_unique<std::string>(100, 'x')) { ++alive; }
  payload(const payload& o) : text_(std::make_unique<std::string>(*o.text_)) { ++alive; }
  payload(payload&& o) noexcept : text_(std::move(o.text_)) { ++alive; }
  payload& operator=(const payload&) = delete;
  ~payload() { --alive; }
  int size() const { return text_ ? static_cast<int>(text_->size()) : 0; }

private:
  std::unique_ptr<std::string> text_;
};

struct tally {
  std::atomic<long> calls{0};
  std::atomic<long> settled{0};
  std::atomic<long> wrong{0};
  std::atomic<long> not_run{0};
};

}  // namespace

struct actor_within_threads_target {
  explicit actor_within_threads_target(troupe::context& c) : ctx(c) {}

  int take(payload p) {
    ++ran;
    return p.size();
  }
  task<int> take_later(payload p) {
    ++ran;
    co_await troupe::yield();
    co_return p.size();
  }
  task<int> sleep(payload p, int microseconds) {
    ++ran;
    co_await troupe::sleep_for(std::chrono::microseconds(microseconds));
    co_return p.size();
  }
  /// Calls itself back through another worker and a limit that is too short for that.
  task<int> around(payload p, int microseconds) {
    ++ran;
    const auto other = ctx.worker<actor_within_threads_target>("other");
    const std::error_code code =
        co_await code_of(other.call<&actor_within_threads_target::back>(std::string(ctx.key()))
                             .within(std::chrono::microseconds(microseconds)));
    ++ran;
    co_return code&& code != errc::timed_out&& code != errc::expired&& code !=
            errc::interrupted&& code != errc::cancelled&& code != errc::deadlock
        ? -1
        : p.size();
  }
  task<> back(std::string key) {
    const auto p = ctx.worker<actor_within_threads_target>(key);
    co_await p.call<&actor_within_threads_target::step>();
  }
  task<> step() {
    ++ran;
    co_await troupe::yield();
    ++ran;
  }
  long count() { return ran; }

  troupe::context& ctx;
  long ran = 0;  // not atomic: guarded by the turn
};

namespace {

using target = actor_within_threads_target;

void settle(tally& t, const troupe::result<int>& r) {
  ++t.settled;
  if (r.has_value()) {
    t.wrong += *r == 100 ? 0 : 1;
    return;
  }
  const std::error_code code = r.code();
  if (troupe::is_safe_to_retry(code)) ++t.not_run;
  const bool known = code == errc::expired || code == errc::timed_out || code == errc::cancelled ||
                     code == errc::interrupted;
  t.wrong += known ? 0 : 1;
}

task<> client(troupe::broker& broker, int who, std::uint64_t seed, tally& t) {
  std::uint64_t random = seed + static_cast<std::uint64_t>(who);
  const auto p = broker.worker<target>("one");
  for (int i = 0; i < rounds; ++i) {
    const auto limit = std::chrono::microseconds(troupe::splitmix64(random) % 60);
    const int slow = static_cast<int>(troupe::splitmix64(random) % 60);
    ++t.calls;
    switch (troupe::splitmix64(random) % 4) {
      case 0: {
        const auto r = co_await troupe::as_result(p.call<&target::take>(payload()).within(limit));
        settle(t, r);
        break;
      }
      case 1: {
        const auto r =
            co_await troupe::as_result(p.call<&target::take_later>(payload()).within(limit));
        settle(t, r);
        break;
      }
      case 2: {
        const auto r =
            co_await troupe::as_result(p.call<&target::sleep>(payload(), slow).within(limit));
        settle(t, r);
        break;
      }
      default: {
        const auto r =
            co_await troupe::as_result(p.call<&target::around>(payload(), slow).within(10 * limit));
        settle(t, r);
        break;
      }
    }
  }
}

/// Owning calls in a scope that is stopped at some moment.
task<> stopped(troupe::broker& broker, std::uint64_t seed, tally& t) {
  std::uint64_t random = seed;
  const auto one = [](troupe::proxy<target> p, int slow, tally& to) -> task<> {
    ++to.calls;
    const auto r = co_await troupe::as_result(p.call<&target::sleep>(payload(), slow).within(1h));
    settle(to, r);
  };
  const auto p = broker.worker<target>("one");
  for (int i = 0; i < rounds / 4; ++i) {
    troupe::task_scope scope;
    for (int n = 0; n < 4; ++n) {
      scope.spawn(one(p, static_cast<int>(troupe::splitmix64(random) % 40), t));
    }
    const auto wait = std::chrono::microseconds(troupe::splitmix64(random) % 100);
    co_await troupe::sleep_for(wait);
    scope.request_stop();
    co_await scope.join();
  }
}

task<> clients(troupe::broker& broker, std::uint64_t seed, tally& t) {
  std::vector<task<>> all;
  for (int i = 0; i < 4; ++i) all.push_back(client(broker, i, seed, t));
  all.push_back(stopped(broker, seed + 9, t));
  co_await troupe::when_all(std::move(all));
}

}  // namespace

TEST_CASE("limits, stops and results race, and every call settles once",
          "[actor][within][promise2][stress]") {
  const std::uint64_t seed = Catch::rngSeed() + 1;
  CAPTURE(seed);
  for (const unsigned threads : {1U, 2U, 4U}) {
    CAPTURE(threads);
    tally t;
    {
      troupe::broker broker(troupe::broker_options{.threads = threads});
      broker.run(clients(broker, seed, t));
    }
    REQUIRE(t.settled.load() == t.calls.load());
    REQUIRE(t.wrong.load() == 0);
    REQUIRE(alive.load() == 0);
  }
}

TEST_CASE("limits, stops and results race in any order", "[actor][within][promise2]") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    tally t;
    {
      troupe::test::world w(seed, seed % 2 == 0 ? 3 : 1);
      w.run(clients(w.broker, seed, t));
    }
    REQUIRE(t.settled.load() == t.calls.load());
    REQUIRE(t.wrong.load() == 0);
    REQUIRE(alive.load() == 0);
  }
}

}  // namespace within_threads_tests

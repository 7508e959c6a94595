// SPDX-License-Identifier: MIT
// Armed timers by themselves: who is told to wake, what disarming promises, and races between a
// thread that fires and one that disarms and destroys.

#include <troupe/coro/timers.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "../support/catch.hpp"

namespace timers_tests {
namespace {

using namespace std::chrono_literals;
using troupe::time_point;

class counting_timer final : public troupe::timer {
public:
  explicit counting_timer(std::atomic<int>& fired)
      : timer(&counting_timer::on_time), fired_(fired) {}

private:
  static void on_time(timer& t) noexcept { static_cast<counting_timer&>(t).fired_.fetch_add(1); }
  std::atomic<int>& fired_;
};

constexpr time_point start{1h};

}  // namespace

TEST_CASE("a timer fires when its time has come, once", "[coro][timers]") {
  troupe::timers timers;
  std::atomic<int> fired{0};
  counting_timer t(fired);
  REQUIRE(timers.next() == time_point::max());
  timers.arm(t, start, start + 5s);
  REQUIRE(timers.next() <= start + 5s);
  timers.fire(start + 4s);
  REQUIRE(fired.load() == 0);
  REQUIRE(timers.fire(start + 5s) == time_point::max());
  REQUIRE(fired.load() == 1);
  timers.fire(start + 9s);
  REQUIRE(fired.load() == 1);
}

TEST_CASE("arming tells whether the timer is now the first", "[coro][timers]") {
  troupe::timers timers;
  std::atomic<int> fired{0};
  counting_timer a(fired);
  counting_timer b(fired);
  counting_timer c(fired);
  REQUIRE(timers.arm(a, start, start + 5s));
  REQUIRE_FALSE(timers.arm(b, start, start + 9s));
  REQUIRE(timers.arm(c, start, start + 1s));
  REQUIRE(timers.disarm(a));
  REQUIRE(timers.disarm(b));
  REQUIRE(timers.disarm(c));
}

TEST_CASE("a timer that was disarmed does not fire", "[coro][timers]") {
  troupe::timers timers;
  std::atomic<int> fired{0};
  counting_timer t(fired);
  REQUIRE_FALSE(timers.disarm(t));
  timers.arm(t, start, start + 1s);
  REQUIRE(timers.disarm(t));
  REQUIRE_FALSE(timers.disarm(t));
  timers.fire(start + 2s);
  REQUIRE(fired.load() == 0);
  timers.arm(t, start, start + 3s);
  timers.fire(start + 3s);
  REQUIRE(fired.load() == 1);
}

namespace {

class disarming_timer final : public troupe::timer {
public:
  disarming_timer(troupe::timers& all, timer& other)
      : timer(&disarming_timer::on_time), all_(all), other_(other) {}
  bool was_armed = false;

private:
  static void on_time(timer& t) noexcept {
    auto& self = static_cast<disarming_timer&>(t);
    self.was_armed = self.all_.disarm(self.other_);
    self.all_.disarm(self);  // from within its own: returns
  }
  troupe::timers& all_;
  timer& other_;
};

}  // namespace

TEST_CASE("a timer may disarm another one that is due as well", "[coro][timers]") {
  troupe::timers timers;
  std::atomic<int> fired{0};
  counting_timer victim(fired);
  disarming_timer first(timers, victim);
  timers.arm(first, start, start + 1s);
  timers.arm(victim, start, start + 2s);
  timers.fire(start + 5s);
  REQUIRE(first.was_armed);
  REQUIRE(fired.load() == 0);
}

namespace {

class slow_timer final : public troupe::timer {
public:
  explicit slow_timer(std::atomic<int>& stage) : timer(&slow_timer::on_time), stage_(stage) {}

private:
  static void on_time(timer& t) noexcept {
    auto& self = static_cast<slow_timer&>(t);
    self.stage_.store(1);
    for (int i = 0; i < 200; ++i) std::this_thread::yield();
    self.stage_.store(2);
  }
  std::atomic<int>& stage_;
};

}  // namespace

TEST_CASE("disarming waits for a timer that fires on another thread", "[coro][timers]") {
  troupe::timers timers;
  std::atomic<int> stage{0};
  slow_timer t(stage);
  timers.arm(t, start, start + 1s);
  std::thread firer([&timers] { timers.fire(start + 1s); });
  while (stage.load() == 0) std::this_thread::yield();
  REQUIRE_FALSE(timers.disarm(t));
  REQUIRE(stage.load() == 2);
  firer.join();
}

TEST_CASE("timers are armed, fired, disarmed and destroyed at once", "[coro][timers][stress]") {
  troupe::timers timers;
  std::atomic<int> fired{0};
  std::atomic<int> disarmed{0};
  std::atomic<bool> stop{false};
  std::atomic<int> now{0};
  std::thread firer([&] {
    while (!stop.load()) timers.fire(start + std::chrono::microseconds(now.fetch_add(10)));
  });
  constexpr int per_thread = 3000;
  std::vector<std::thread> users;
  for (int u = 0; u < 2; ++u) {
    users.emplace_back([&, u] {
      for (int i = 0; i < per_thread; ++i) {
        const auto t = std::make_unique<counting_timer>(fired);
        const time_point at = start + std::chrono::microseconds(now.load());
        timers.arm(*t, at, at + std::chrono::microseconds((i * 7 + u) % 50));
        if (i % 16 == 0) std::this_thread::yield();
        if (timers.disarm(*t)) disarmed.fetch_add(1);
      }
    });
  }
  for (std::thread& u : users) u.join();
  stop.store(true);
  firer.join();
  REQUIRE(fired.load() + disarmed.load() == 2 * per_thread);
}

}  // namespace timers_tests

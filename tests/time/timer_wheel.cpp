// SPDX-License-Identifier: MIT

// By hand: the edges of ticks, levels and the wheel's range, and what a callback may do. By chance:
// random insertions, erasures and advances over all scales of time, against a sorted reference that
// says exactly which timers fire. A failure prints its seed; TROUPE_TEST_SEED runs one again.

#include <troupe/base/hash.hpp>
#include <troupe/time/timer_wheel.hpp>

#include "../support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using troupe::duration;
using troupe::time_point;
using troupe::timer_node;
using troupe::timer_wheel;

namespace {

constexpr time_point start{1000h};
constexpr duration tick = timer_wheel::tick;

std::vector<timer_node*> fired_at(timer_wheel& wheel, time_point now) {
  std::vector<timer_node*> fired;
  wheel.advance(now, [&](timer_node& node) { fired.push_back(&node); });
  return fired;
}

using nodes = std::vector<timer_node*>;

}  // namespace

TEST_CASE("a timer fires at its deadline and not a nanosecond before", "[timer_wheel]") {
  // Around the edges of a tick, of each level and of the whole range of 2^52 ns.
  for (int bits = 0; bits <= 54; ++bits) {
    for (const int offset : {-1, 0, 1}) {
      CAPTURE(bits, offset);
      timer_wheel wheel(start);
      timer_node node;
      const time_point deadline = start + duration((std::int64_t{1} << bits) + offset);
      wheel.insert(node, deadline);
      CHECK(wheel.next_expiry() == deadline);
      CHECK(fired_at(wheel, deadline - 1ns).empty());
      CHECK(wheel.next_expiry() == deadline);
      CHECK(fired_at(wheel, deadline) == nodes{&node});
      CHECK_FALSE(node.armed());
      CHECK(wheel.empty());
      CHECK(wheel.next_expiry() == time_point::max());
    }
  }
}

TEST_CASE("timers fire in the order of their ticks in one advance", "[timer_wheel]") {
  timer_wheel wheel(start);
  std::vector<timer_node> timers(40);
  for (std::size_t i = 0; i != timers.size(); ++i) {
    wheel.insert(timers[i], start + tick * (std::int64_t{1} << (39 - i)));
  }
  const nodes fired = fired_at(wheel, start + tick * (std::int64_t{1} << 40));
  REQUIRE(fired.size() == timers.size());
  for (std::size_t i = 0; i != fired.size(); ++i) CHECK(fired[i] == &timers[39 - i]);
}

TEST_CASE("of two timers in one tick only the one that is due fires", "[timer_wheel]") {
  timer_wheel wheel(start);
  timer_node early;
  timer_node late;
  wheel.insert(late, start + 20ns);
  wheel.insert(early, start + 10ns);
  CHECK(wheel.next_expiry() == start + 10ns);
  CHECK(fired_at(wheel, start + 15ns) == nodes{&early});
  CHECK(wheel.next_expiry() == start + 20ns);
  CHECK(fired_at(wheel, start + 20ns) == nodes{&late});
}

TEST_CASE("a deadline in the past fires at the next advance", "[timer_wheel]") {
  timer_wheel wheel(start);
  CHECK(fired_at(wheel, start + 5s).empty());
  timer_node node;
  wheel.insert(node, start + 1s);
  CHECK(wheel.next_expiry() == start + 1s);
  CHECK(fired_at(wheel, start + 5s) == nodes{&node});
  wheel.insert(node, time_point::min());
  CHECK(fired_at(wheel, start + 5s) == nodes{&node});
}

TEST_CASE("a timer that waits for ever does not fire and is not announced", "[timer_wheel]") {
  timer_wheel wheel(start);
  timer_node node;
  wheel.insert(node, time_point::max());
  CHECK(wheel.next_expiry() == time_point::max());
  CHECK(fired_at(wheel, start + 24h * 365 * 100).empty());
  CHECK(wheel.erase(node));
}

TEST_CASE("an erased timer does not fire", "[timer_wheel]") {
  timer_wheel wheel(start);
  timer_node node;
  CHECK_FALSE(wheel.erase(node));
  wheel.insert(node, start + 1s);
  CHECK(wheel.size() == 1);
  CHECK(wheel.erase(node));
  CHECK_FALSE(wheel.erase(node));
  CHECK(wheel.empty());
  CHECK(wheel.next_expiry() == time_point::max());
  CHECK(fired_at(wheel, start + 2s).empty());
}

TEST_CASE("advancing to a moment announced for an erased timer finds the next one",
          "[timer_wheel]") {
  for (const duration apart : {duration(1), tick * 5, duration(1h), duration(24h * 60)}) {
    timer_wheel wheel(start);
    timer_node first;
    timer_node second;
    wheel.insert(first, start + 24h * 100);
    wheel.insert(second, start + 24h * 100 + apart);
    wheel.erase(first);
    const time_point told = wheel.next_expiry();
    CHECK(told <= second.deadline);
    CHECK(fired_at(wheel, told).size() == (told == second.deadline ? 1U : 0U));
    if (second.armed()) CHECK(wheel.next_expiry() == second.deadline);
    wheel.erase(second);
  }
}

TEST_CASE("times before the clock's origin are times like any other", "[timer_wheel]") {
  timer_wheel wheel(time_point(-1h));
  timer_node before;
  timer_node after;
  wheel.insert(before, time_point(-1ns));
  wheel.insert(after, time_point(1ns));
  CHECK(fired_at(wheel, time_point(-1ns)) == nodes{&before});
  CHECK(fired_at(wheel, time_point(1ns)) == nodes{&after});
}

TEST_CASE("a clock that steps back fires nothing early", "[timer_wheel]") {
  timer_wheel wheel(start);
  CHECK(fired_at(wheel, start + 10s).empty());
  timer_node node;
  wheel.insert(node, start + 5s);
  CHECK(fired_at(wheel, start + 4s).empty());
  CHECK(wheel.next_expiry() == start + 5s);
  CHECK(fired_at(wheel, start + 5s) == nodes{&node});
}

TEST_CASE("a callback may erase and destroy a timer that is due too", "[timer_wheel]") {
  timer_wheel wheel(start);
  timer_node first;
  auto second = std::make_unique<timer_node>();
  auto later = std::make_unique<timer_node>();
  wheel.insert(first, start + 1ns);
  wheel.insert(*second, start + 2ns);
  wheel.insert(*later, start + 1s);
  int fired = 0;
  wheel.advance(start + 2s, [&](timer_node&) {
    ++fired;
    CHECK(wheel.erase(*second));
    CHECK(wheel.erase(*later));
    second.reset();
    later.reset();
  });
  CHECK(fired == 1);
  CHECK(wheel.empty());
}

TEST_CASE("a timer that re-arms itself in the past does not hold the wheel", "[timer_wheel]") {
  for (const duration step : {duration(1ns), duration(10s), duration(24h * 400)}) {
    timer_wheel wheel(start);
    timer_node node;
    wheel.insert(node, start);
    int fired = 0;
    wheel.advance(start + step, [&](timer_node& self) {
      if (++fired < 10) wheel.insert(self, start);
    });
    CHECK(fired == 1);
    CHECK(wheel.next_expiry() == start);
    wheel.erase(node);
  }
}

TEST_CASE("a periodic timer catches up through its own callback", "[timer_wheel]") {
  timer_wheel wheel(start);
  timer_node node;
  wheel.insert(node, start + 1s);
  int fired = 0;
  const auto rearm = [&](timer_node& self) {
    ++fired;
    wheel.insert(self, self.deadline + 1s);
  };
  for (time_point now = start; now <= start + 60s; now = wheel.next_expiry()) {
    wheel.advance(now, rearm);
  }
  CHECK(fired == 60);
  wheel.erase(node);
}

TEST_CASE("a wheel that dies lets its timers go", "[timer_wheel]") {
  timer_node node;
  {
    timer_wheel wheel(start);
    wheel.insert(node, start + 1s);
  }
  CHECK_FALSE(node.armed());
}

// -- Against a reference -------------------------------------------------------------------------

namespace {

/// A wheel, and a sorted set that must agree with it.
class wheel_and_reference {
public:
  explicit wheel_and_reference(std::uint64_t seed)
      : random_(seed),
        now_(start + duration(static_cast<std::int64_t>(below(1ULL << 60)))),
        wheel_(now_),
        timers_(64) {}

  ~wheel_and_reference() {
    for (timer_node& node : timers_) wheel_.erase(node);
  }

  void step() {
    const std::uint64_t choice = below(10);
    if (choice < 5) return insert();
    if (choice < 7) return erase();
    advance();
  }

private:
  using entry = std::pair<time_point, const timer_node*>;

  std::uint64_t below(std::uint64_t bound) { return troupe::splitmix64(random_) % bound; }

  /// All scales alike, from nanoseconds to beyond the wheel's range.
  duration any_duration() { return duration(static_cast<std::int64_t>(below(1ULL << below(56)))); }

  timer_node& any_timer() { return timers_[below(timers_.size())]; }

  void insert() {
    timer_node& node = any_timer();
    if (node.armed()) return;
    const bool is_past = below(8) == 0;
    const time_point deadline = is_past ? now_ - any_duration() : now_ + any_duration();
    wheel_.insert(node, deadline);
    reference_.emplace(deadline, &node);
    check();
  }

  void erase() {
    timer_node& node = any_timer();
    const bool was_armed = reference_.erase({node.deadline, &node}) == 1;
    REQUIRE(wheel_.erase(node) == was_armed);
    check();
  }

  void advance() {
    const time_point before = now_;
    switch (below(3)) {
      case 0:
        now_ += any_duration();
        break;
      case 1:
        now_ = std::max(now_, std::min(wheel_.next_expiry(), now_ + 24h * 365));
        break;
      default:
        if (!reference_.empty()) now_ = std::max(now_, reference_.begin()->first - 1ns);
    }
    std::vector<entry> fired;
    time_point latest = before;  // those overdue when armed come first, in any order
    bool is_ordered = true;
    wheel_.advance(now_, [&](timer_node& node) {
      fired.emplace_back(node.deadline, &node);
      is_ordered = is_ordered && (node.deadline <= before || node.deadline + tick > latest);
      latest = std::max(latest, node.deadline);
    });
    REQUIRE(is_ordered);
    std::vector<entry> expected;
    while (!reference_.empty() && reference_.begin()->first <= now_) {
      expected.push_back(*reference_.begin());
      reference_.erase(reference_.begin());
    }
    std::sort(fired.begin(), fired.end());
    REQUIRE(fired == expected);
    check();
    if (!reference_.empty()) REQUIRE(wheel_.next_expiry() > now_);
  }

  void check() {
    REQUIRE(wheel_.size() == reference_.size());
    const time_point next = wheel_.next_expiry();
    if (reference_.empty()) {
      REQUIRE(next == time_point::max());
    } else {
      REQUIRE(next <= reference_.begin()->first);
    }
  }

  std::uint64_t random_;
  time_point now_;
  timer_wheel wheel_;
  std::vector<timer_node> timers_;
  std::set<entry> reference_;
};

std::vector<std::uint64_t> seeds() {
  if (const char* const chosen = std::getenv("TROUPE_TEST_SEED")) {
    return {std::strtoull(chosen, nullptr, 0)};
  }
  std::vector<std::uint64_t> all(200);
  for (std::size_t i = 0; i != all.size(); ++i) all[i] = i;
  return all;
}

}  // namespace

TEST_CASE("the wheel fires exactly what a sorted set would, for any seed", "[timer_wheel]") {
  for (const std::uint64_t seed : seeds()) {
    CAPTURE(seed);
    wheel_and_reference both(seed);
    for (int i = 0; i != 500; ++i) both.step();
  }
}

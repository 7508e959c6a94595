// SPDX-License-Identifier: MIT
// Expressions and the moments they name: by a table, and against a calendar that is counted minute
// by minute and day by day.

#include <catch2/catch.hpp>

#include <troupe/job/cron.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace cron_tests {
namespace {

using namespace std::chrono_literals;
using troupe::cron;
using troupe::wall_time;

wall_time at(int y, unsigned m, unsigned d, int hour = 0, int minute = 0, int second = 0) {
  const std::chrono::sys_days day =
      std::chrono::year(y) / static_cast<int>(m) / static_cast<int>(d);
  return day + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

std::string show(wall_time t) {
  const std::time_t seconds =
      std::chrono::floor<std::chrono::seconds>(t).time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string next(const char* expression, wall_time after) {
  const auto found = cron(expression).next_after(after);
  return found ? show(*found) : "none";
}

TEST_CASE("the next moment of an expression", "[cron]") {
  struct row {
    const char* expression;
    wall_time after;
    const char* next;
  };
  const row table[] = {
      {"* * * * *", at(2026, 11, 22, 10, 30), "2026-11-22 10:31:00"},
      {"* * * * *", at(2026, 11, 22, 10, 30, 59), "2026-11-22 10:31:00"},
      {"* * * * *", at(2026, 12, 31, 23, 59), "2027-01-01 00:00:00"},
      {"* * * * * *", at(2026, 12, 31, 23, 59, 59), "2027-01-01 00:00:00"},
      {"*/10 * * * * *", at(2026, 1, 1, 0, 0, 50), "2026-01-01 00:01:00"},
      {"*/15 * * * *", at(2026, 1, 1, 0, 45), "2026-01-01 01:00:00"},
      {"7-20/5 * * * *", at(2026, 1, 1, 0, 12), "2026-01-01 00:17:00"},
      {"7-20/5 * * * *", at(2026, 1, 1, 0, 17), "2026-01-01 01:07:00"},
      {"5,50,10-12 3 * * *", at(2026, 1, 1, 3, 5), "2026-01-01 03:10:00"},
      {"5,50,10-12 3 * * *", at(2026, 1, 1, 3, 12), "2026-01-01 03:50:00"},
      {"30 4 * * mon-fri", at(2026, 11, 20, 4, 30), "2026-11-23 04:30:00"},
      {"0 0 * * sat-sun", at(2026, 11, 21), "2026-11-22 00:00:00"},
      {"0 0 * * fri-sun", at(2026, 11, 22), "2026-11-27 00:00:00"},
      {"0 0 * * 7", at(2026, 11, 16), "2026-11-22 00:00:00"},
      {"0 0 * * 5-7", at(2026, 11, 21), "2026-11-22 00:00:00"},
      {"0 0 31 * *", at(2026, 1, 31), "2026-03-31 00:00:00"},
      {"0 0 30 * *", at(2026, 1, 30), "2026-03-30 00:00:00"},
      {"0 0 29 2 *", at(2026, 1, 1), "2028-02-29 00:00:00"},
      {"0 0 29 feb *", at(2096, 3, 1), "2104-02-29 00:00:00"},
      {"0 0 29 2 */7", at(2088, 3, 1), "2128-02-29 00:00:00"},    // forty years
      {"0 0 13 * fri", at(2026, 11, 13), "2026-11-20 00:00:00"},  // one of both suffices
      {"0 0 13 * fri", at(2026, 12, 11), "2026-12-13 00:00:00"},
      {"0 0 */2 * mon", at(2026, 11, 22), "2026-11-23 00:00:00"},  // `*`: both
      {"0 0 */2 * mon", at(2026, 11, 23), "2026-12-07 00:00:00"},
      {"0 12 1 JAN,jul *", at(2026, 1, 1, 12), "2026-07-01 12:00:00"},
      {"@hourly", at(2026, 1, 1, 0, 0, 1), "2026-01-01 01:00:00"},
      {"@daily", at(2024, 2, 28, 5), "2024-02-29 00:00:00"},
      {"@Midnight", at(2026, 2, 28, 5), "2026-03-01 00:00:00"},
      {"@weekly", at(2026, 11, 22), "2026-11-29 00:00:00"},
      {"@monthly", at(2026, 11, 1), "2026-12-01 00:00:00"},
      {"@yearly", at(2026, 1, 1), "2027-01-01 00:00:00"},
      {"@annually", at(2025, 12, 31, 23, 59, 59), "2026-01-01 00:00:00"},
      {" \t0  0\t1 1   * ", at(2026, 1, 2), "2027-01-01 00:00:00"},
      {"00 08 * * *", at(2026, 1, 1), "2026-01-01 08:00:00"},
      {"59 59 23 31 12 *", at(2026, 1, 1), "2026-12-31 23:59:59"},
      {"0 0 1 1 *", at(1969, 6, 1), "1970-01-01 00:00:00"},
      {"0 0 1 1 *", at(1960, 6, 1), "1961-01-01 00:00:00"},
  };
  for (const row& r : table) {
    INFO(r.expression << " after " << show(r.after));
    CHECK(next(r.expression, r.after) == r.next);
  }
}

TEST_CASE("fractions of a second do not matter, and a moment is not after itself", "[cron]") {
  const cron every_second("* * * * * *");
  const wall_time t = at(2026, 5, 5, 5, 5, 5);
  CHECK(*every_second.next_after(t) == t + 1s);
  CHECK(*every_second.next_after(t + 1ns) == t + 1s);
  CHECK(*every_second.next_after(t + 999ms) == t + 1s);
  CHECK(*every_second.next_after(t - 1ns) == t);
  CHECK(every_second.fires_at(t + 1ms));
  CHECK_FALSE(cron("0 * * * * *").fires_at(t));
}

TEST_CASE("at the end of what a time can tell there is nothing", "[cron]") {
  CHECK_FALSE(cron("* * * * * *").next_after((wall_time::max)()).has_value());
  CHECK_FALSE(cron("@yearly").next_after((wall_time::max)() - 24h).has_value());
  CHECK(cron("* * * * * *").next_after((wall_time::min)()).has_value());
}

std::string fault(const std::string& expression) {
  try {
    static_cast<void>(cron(expression));
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "none";
}

TEST_CASE("what is no expression is refused, with the place", "[cron]") {
  struct row {
    const char* expression;
    const char* says;
  };
  const row table[] = {
      {"", R"(cron "" is empty, at character 1)"},
      {"   ", R"(is empty, at character 4)"},
      {"* * * *", "has 4 fields, not 5 (or 6 with seconds), at character 8"},
      {"* * * * * * *", "has 7 fields"},
      {"60 * * * *", "has a minute that is not in 0-59, at character 1"},
      {"* 24 * * *", "has a hour that is not in 0-23, at character 3"},
      {"* * 0 * *", "has a day of the month that is not in 1-31, at character 5"},
      {"* * 32 * *", "has a day of the month that is not in 1-31, at character 5"},
      {"* * * 13 *", "has a month that is not in 1-12, at character 7"},
      {"* * * * 8", "has a day of the week that is not in 0-7, at character 9"},
      {"99999999999999999999 * * * *", "has a minute that is not in 0-59"},
      {"* * * foo *", R"(has "foo", which is no month, at character 7)"},
      {"* * * * monday", R"(has "monday", which is no day of the week, at character 9)"},
      {"jan * * * *", R"(has "jan", which is no minute, at character 1)"},
      {"5/15 * * * *", "has a step behind a single value: it needs * or a range, at character 2"},
      {"*/0 * * * *", "has a step that is not in 1-59, at character 3"},
      {"*/60 * * * *", "has a step that is not in 1-59, at character 3"},
      {"*/ * * * *", "lacks the number of a step, at character 3"},
      {"*/x * * * *", "lacks the number of a step, at character 3"},
      {"20-10 * * * *", "has a minute range that goes backwards, at character 1"},
      {"* * * * fri-mon", "has a day of the week range that goes backwards, at character 9"},
      {"10- * * * *", "lacks a minute, at character 4"},
      {", * * * *", "lacks a minute, at character 1"},
      {"1, * * * *", "lacks a minute, at character 3"},
      {"-1 * * * *", "lacks a minute, at character 1"},
      {"1.5 * * * *", "has something strange in the minute, at character 2"},
      {"** * * * *", "has something strange in the minute, at character 2"},
      {"*-5 * * * *", "has something strange in the minute, at character 2"},
      {"* * L * *", R"(has "l", which is no day of the month, at character 5)"},
      {"* * ? * *", "lacks a day of the month, at character 5"},
      {"* * * * 5#2", "has something strange in the day of the week, at character 10"},
      {"@reboot", "begins with @reboot, which means nothing here, at character 1"},
      {"@daily 5", "goes on behind @daily, at character 8"},
      {"0 0 30 2 *", "never fires"},
      {"0 0 31 4,6,9,11 *", "never fires"},
      {"0 0 31 feb */2", "never fires"},
  };
  for (const row& r : table) {
    INFO(r.expression);
    CHECK_THAT(fault(r.expression), Catch::Contains(r.says));
  }
  CHECK_THAT(fault(std::string(257, '*')), Catch::Contains("is longer than 256 characters"));
  CHECK_THAT(fault(std::string("* * * * \0", 9)), Catch::Contains("lacks a day of the week"));
  CHECK(fault("0 0 30 2 mon") == "none");  // it is a Monday that fires
}

// --- against a calendar of its own --------------------------------------------------------------

/// Counts minutes, by a table of months alone.
struct calendar {
  int minute = 0, hour = 0, day = 1, month = 1, year = 2000;
  int weekday = 6;  // the first day of 2000 was a Saturday
  std::int64_t minutes = 0;

  static bool is_leap(int y) { return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0); }
  int days() const {
    constexpr int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return lengths[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
  }
  void next_minute() {
    ++minutes;
    if (++minute < 60) return;
    minute = 0;
    if (++hour == 24) next_day();
  }
  void next_day() {
    hour = 0;
    weekday = (weekday + 1) % 7;
    if (++day <= days()) return;
    day = 1;
    if (++month <= 12) return;
    month = 1;
    ++year;
  }
};

/// A field made at random: what it names, and one way to write that.
struct random_field {
  std::set<int> values;
  std::string text;
  bool is_star = false;
};

random_field make_field(std::mt19937_64& random, int low, int high, bool wide) {
  const auto draw = [&](int a, int b) { return std::uniform_int_distribution<int>(a, b)(random); };
  random_field f;
  const int items = wide ? 1 : draw(1, 3);
  for (int i = 0; i != items; ++i) {
    int from = low;
    int to = high;
    std::string item = "*";
    const int kind = wide ? 0 : draw(0, 3);
    if (kind == 0) {
      f.is_star = f.is_star || i == 0;
    } else {
      from = draw(low, high);
      to = kind == 1 ? from : draw(from, high);
      item = std::to_string(from);
      if (kind != 1) item += "-" + std::to_string(to);
    }
    int step = 1;
    if (kind != 1 && draw(0, 1) != 0) {
      step = draw(1, high);
      item += "/" + std::to_string(step);
    }
    for (int v = from; v <= to; v += step) f.values.insert(v);
    f.text += (i == 0 ? "" : ",") + item;
  }
  return f;
}

struct random_expression {
  random_field minute, hour, day, month, weekday;
  explicit random_expression(std::mt19937_64& r)
      : minute(make_field(r, 0, 59, false)),
        hour(make_field(r, 0, 23, r() % 2 == 0)),
        day(make_field(r, 1, 31, r() % 2 == 0)),
        month(make_field(r, 1, 12, r() % 2 == 0)),
        weekday(make_field(r, 0, 6, r() % 2 == 0)) {}

  std::string text() const {
    return minute.text + ' ' + hour.text + ' ' + day.text + ' ' + month.text + ' ' + weekday.text;
  }
  bool fires_on(const calendar& c) const {
    if (month.values.count(c.month) == 0) return false;
    const bool is_day = day.values.count(c.day) != 0;
    const bool is_weekday = weekday.values.count(c.weekday) != 0;
    return day.is_star || weekday.is_star ? is_day && is_weekday : is_day || is_weekday;
  }
  bool fires(const calendar& c) const {
    return minute.values.count(c.minute) != 0 && hour.values.count(c.hour) != 0 && fires_on(c);
  }
};

TEST_CASE("no moment is missed and none is made up, minute by minute", "[cron]") {
  std::mt19937_64 random(20261122);
  constexpr int years = 1;
  for (int i = 0; i != 10; ++i) {
    const random_expression wish(random);
    INFO(wish.text());
    std::optional<cron> is;
    try {
      is.emplace(wish.text());
    } catch (const std::invalid_argument& e) {
      REQUIRE_THAT(e.what(), Catch::Contains("never fires"));
      continue;
    }
    wall_time t = at(2000, 1, 1) - 1s;
    bool is_same = true;
    std::size_t fired = 0;
    for (calendar c; c.year < 2000 + years && is_same; c.next_minute()) {
      if (!wish.fires(c)) continue;
      ++fired;
      const std::optional<wall_time> found = is->next_after(t);
      t = at(2000, 1, 1) + std::chrono::minutes(c.minutes);
      is_same = found == t;
      if (!is_same) CHECK(show(found.value_or(wall_time())) == show(t));
    }
    CHECK(is_same);
    const std::optional<wall_time> beyond = is->next_after(t);
    CHECK((!beyond || *beyond >= at(2000 + years, 1, 1)));
    CHECK((fired != 0 || beyond.has_value()));
  }
}

TEST_CASE("days are those of the calendar through centuries", "[cron]") {
  std::mt19937_64 random(7);
  int never = 0;
  for (int i = 0; i != 30; ++i) {
    random_expression wish(random);
    wish.minute.text = wish.hour.text = "0";
    INFO(wish.text());
    // Day by day from 2000 on, through 2100 and 2200, which are no leap years.
    std::vector<wall_time> days;
    std::int64_t count = 0;
    for (calendar c; c.year < 2250; c.next_day(), ++count) {
      if (wish.fires_on(c)) days.push_back(at(2000, 1, 1) + count * 24h);
    }
    if (days.empty()) {
      ++never;
      CHECK_THAT(fault(wish.text()), Catch::Contains("never fires"));
      continue;
    }
    const cron is(wish.text());
    wall_time t = at(1999, 12, 31);
    bool is_same = true;
    for (std::size_t k = 0; k < days.size() && is_same; ++k) {
      const auto found = is.next_after(t);
      is_same = found == days[k] && is.fires_at(days[k]);
      if (!is_same) CHECK(show(found.value_or(wall_time())) == show(days[k]));
      t = days[k];
    }
    CHECK(is_same);
  }
  CHECK(never < 15);
}

}  // namespace
}  // namespace cron_tests

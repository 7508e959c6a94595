// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `cron`: the moments of the calendar that an expression names.
///
/// Layer: job. Reads no clock, and knows no time zone: all is UTC.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <troupe/time/clock.hpp>

namespace troupe {

/// What an expression like `30 4 * * mon-fri` names.
///
/// Five fields: minute (0-59), hour (0-23), day of the month (1-31), month (1-12 or jan-dec), day
/// of the week (0-7 or sun-sat; 0 and 7 are Sunday); six where seconds (0-59) come first. A field
/// is a list of `*`, `a` or `a-b`; `*` and `a-b` may have a step: `*/15`, `8-18/2`. Where neither
/// day begins with `*`, one of them suffices; else both must be. Also `@yearly`, `@annually`,
/// `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`. Capitals do not matter.
///
/// Thread safety: as a `std::string`.
class cron {
public:
  /// Throws `std::invalid_argument`, which names the place, for what is no expression, and for one
  /// that names no moment, as the 30th of February.
  explicit cron(std::string_view text);

  /// As it was written.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  /// In the very second.
  [[nodiscard]] bool fires_at(wall_time t) const noexcept;

  /// The first moment after `t`; nothing: there is none that a `wall_time` can tell.
  [[nodiscard]] std::optional<wall_time> next_after(wall_time t) const noexcept;

private:
  class parser;
  enum field : std::size_t { second, minute, hour, day, month, weekday, field_count };

  /// Behind `t`, no expression waits longer: the 29th of February is the same day of the week again
  /// after 40 years at most, where 2100 or its like lies between.
  static constexpr std::chrono::days longest_wait{41 * 366};

  bool has(field f, unsigned value) const noexcept { return (sets_[f] >> value & 1) != 0; }
  unsigned first_of(field f) const noexcept {
    return static_cast<unsigned>(std::countr_zero(sets_[f]));
  }
  /// The first value from `from` on.
  std::optional<unsigned> first_from(field f, unsigned from) const noexcept;
  bool fires_on(const std::chrono::year_month_day& date, std::chrono::sys_days d) const noexcept;
  std::optional<std::chrono::seconds> first_time_from(std::chrono::seconds from) const noexcept;
  std::optional<std::chrono::sys_seconds> search(std::chrono::sys_seconds from) const noexcept;

  std::string text_;
  std::array<std::uint64_t, field_count> sets_{};  // a bit for each value
  bool is_any_day_ = false;                        // the field begins with `*`
  bool is_any_weekday_ = false;
};

// --- reading ------------------------------------------------------------------------------------

/// Goes through a text once, from left to right.
class cron::parser {
public:
  parser(std::string_view text, cron& to) noexcept : text_(text), to_(to) {}

  void run() {
    if (text_.size() > longest) fail("is longer than 256 characters");
    skip_blanks();
    if (is_end()) fail("is empty");
    if (text_[at_] == '@') return read_nickname();
    const bool has_seconds = count_fields() == field_count;
    if (!has_seconds) to_.sets_[second] = 1;
    for (std::size_t f = has_seconds ? second : minute; f != field_count; ++f) {
      skip_blanks();
      read_field(static_cast<field>(f));
    }
    skip_blanks();
  }

private:
  static constexpr std::size_t longest = 256;

  struct rules {
    std::string_view name;
    unsigned low = 0;
    unsigned high = 0;
    std::string_view names;  // of three letters each, from `low` on
  };
  static const rules& rules_of(field f) noexcept {
    static constexpr rules all[field_count] = {
        {"second", 0, 59, {}},
        {"minute", 0, 59, {}},
        {"hour", 0, 23, {}},
        {"day of the month", 1, 31, {}},
        {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
        {"day of the week", 0, 7, "sunmontuewedthufrisat"},
    };
    return all[f];
  }

  [[noreturn]] void fail(const std::string& what) const { fail(what, at_); }
  [[noreturn]] void fail(const std::string& what, std::size_t at) const {
    throw std::invalid_argument("cron \"" + readable(text_.substr(0, longest)) + "\" " +
                                readable(what) + ", at character " + std::to_string(at + 1));
  }
  static std::string readable(std::string_view text) {
    std::string is(text);
    std::replace_if(is.begin(), is.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return is;
  }

  static bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }
  static char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) noexcept { return lower(c) >= 'a' && lower(c) <= 'z'; }

  bool is_end() const noexcept { return at_ == text_.size(); }
  bool is_field_end() const noexcept { return is_end() || is_blank(text_[at_]); }
  bool takes(char c) noexcept {
    const bool is = !is_end() && text_[at_] == c;
    if (is) ++at_;
    return is;
  }
  void skip_blanks() noexcept {
    while (!is_end() && is_blank(text_[at_])) ++at_;
  }

  std::size_t count_fields() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i != text_.size(); ++i) {
      if (!is_blank(text_[i]) && (i == 0 || is_blank(text_[i - 1]))) ++count;
    }
    if (count != field_count && count != field_count - 1) {
      fail("has " + std::to_string(count) + " fields, not 5 (or 6 with seconds)", text_.size());
    }
    return count;
  }

  void read_nickname() {
    struct nickname {
      std::string_view name;
      std::string_view means;
    };
    static constexpr nickname all[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };
    const std::size_t from = at_;
    std::string word;
    for (; !is_field_end(); ++at_) word += lower(text_[at_]);
    skip_blanks();
    if (!is_end()) fail("goes on behind " + word);
    for (const nickname& n : all) {
      if (n.name == word) return parser(n.means, to_).run();
    }
    fail("begins with " + word + ", which means nothing here", from);
  }

  void read_field(field f) {
    if (f == day) to_.is_any_day_ = text_[at_] == '*';
    if (f == weekday) to_.is_any_weekday_ = text_[at_] == '*';
    do {
      read_item(f);
    } while (takes(','));
    if (!is_field_end()) fail("has something strange in the " + std::string(rules_of(f).name));
  }

  /// `*`, `a`, `a-b`, and their steps.
  void read_item(field f) {
    const rules& r = rules_of(f);
    unsigned low = r.low;
    unsigned high = f == weekday ? 6 : r.high;
    bool is_range = takes('*');
    if (!is_range) {
      const std::size_t from = at_;
      low = high = read_value(f);
      is_range = takes('-');
      if (is_range) high = read_value(f);
      if (f == weekday && is_range && high == 0 && low != 0) high = 7;  // sat-sun
      if (high < low) fail("has a " + std::string(r.name) + " range that goes backwards", from);
    }
    unsigned step = 1;
    if (takes('/')) {
      if (!is_range) fail("has a step behind a single value: it needs * or a range", at_ - 1);
      step = read_step(r);
    }
    for (unsigned v = low; v <= high; v += step) to_.sets_[f] |= bit_of(f, v);
  }

  static std::uint64_t bit_of(field f, unsigned value) noexcept {
    return std::uint64_t{1} << (f == weekday && value == 7 ? 0 : value);
  }

  unsigned read_step(const rules& r) {
    const std::size_t from = at_;
    const std::optional<unsigned> step = read_number();
    if (!step) fail("lacks the number of a step");
    if (*step == 0 || *step > r.high) {
      fail("has a step that is not in 1-" + std::to_string(r.high), from);
    }
    return *step;
  }

  unsigned read_value(field f) {
    const rules& r = rules_of(f);
    const std::size_t from = at_;
    std::optional<unsigned> value = read_number();
    if (!value) value = read_name(r);
    if (!value) fail("lacks a " + std::string(r.name));
    if (*value < r.low || *value > r.high) {
      fail("has a " + std::string(r.name) + " that is not in " + std::to_string(r.low) + '-' +
               std::to_string(r.high),
           from);
    }
    return *value;
  }

  /// Of any length; what is far too large stays so.
  std::optional<unsigned> read_number() noexcept {
    if (is_end() || !is_digit(text_[at_])) return std::nullopt;
    constexpr unsigned too_large = 1000;
    unsigned value = 0;
    for (; !is_end() && is_digit(text_[at_]); ++at_) {
      if (value < too_large) value = value * 10 + static_cast<unsigned>(text_[at_] - '0');
    }
    return value;
  }

  std::optional<unsigned> read_name(const rules& r) {
    const std::size_t from = at_;
    std::string word;
    for (; !is_end() && is_letter(text_[at_]); ++at_) word += lower(text_[at_]);
    if (word.empty()) return std::nullopt;
    for (std::size_t i = 0; i + 3 <= r.names.size(); i += 3) {
      if (r.names.substr(i, 3) == word) return r.low + static_cast<unsigned>(i / 3);
    }
    fail("has \"" + word + "\", which is no " + std::string(r.name), from);
  }

  const std::string_view text_;
  cron& to_;
  std::size_t at_ = 0;
};

inline cron::cron(std::string_view text) : text_(text) {
  parser(text, *this).run();
  const std::chrono::sys_days any_day = std::chrono::year(2000) / 1 / 1;
  if (!search(any_day)) {
    throw std::invalid_argument("cron \"" + text_ + "\" never fires: no such day ever comes");
  }
}

// --- the calendar -------------------------------------------------------------------------------

inline std::optional<unsigned> cron::first_from(field f, unsigned from) const noexcept {
  const std::uint64_t rest = sets_[f] >> from;
  if (rest == 0) return std::nullopt;
  return from + static_cast<unsigned>(std::countr_zero(rest));
}

inline bool cron::fires_on(const std::chrono::year_month_day& date,
                           std::chrono::sys_days d) const noexcept {
  if (!has(month, static_cast<unsigned>(date.month()))) return false;
  const bool is_day = has(day, static_cast<unsigned>(date.day()));
  const bool is_weekday = has(weekday, std::chrono::weekday(d).c_encoding());
  if (is_any_day_ || is_any_weekday_) return is_day && is_weekday;
  return is_day || is_weekday;
}

inline bool cron::fires_at(wall_time t) const noexcept {
  const std::chrono::sys_seconds at = std::chrono::floor<std::chrono::seconds>(t);
  const std::chrono::sys_days d = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::seconds from = at - d;
  return fires_on(d, d) && first_time_from(from) == from;
}

/// Of a day: the first hour, its first minute, its first second, as far as the ones before are
/// those of `from`.
inline std::optional<std::chrono::seconds> cron::first_time_from(
    std::chrono::seconds from) const noexcept {
  const auto in_day = static_cast<unsigned>(from.count());
  const auto time = [](unsigned h, unsigned m, unsigned s) {
    return std::chrono::hours(h) + std::chrono::minutes(m) + std::chrono::seconds(s);
  };
  const unsigned h = in_day / 3600;
  const unsigned m = in_day / 60 % 60;
  if (has(hour, h)) {
    if (has(minute, m)) {
      if (const auto s = first_from(second, in_day % 60)) return time(h, m, *s);
    }
    if (const auto later = first_from(minute, m + 1)) return time(h, *later, first_of(second));
  }
  if (const auto later = first_from(hour, h + 1)) {
    return time(*later, first_of(minute), first_of(second));
  }
  return std::nullopt;
}

inline std::optional<std::chrono::sys_seconds> cron::search(
    std::chrono::sys_seconds from) const noexcept {
  using std::chrono::days;
  std::chrono::sys_days d = std::chrono::floor<days>(from);
  const std::chrono::sys_days end = d + longest_wait;
  std::chrono::seconds in_day = from - d;
  while (d < end) {
    const std::chrono::year_month_day date = d;
    if (fires_on(date, d)) {
      if (const auto time = first_time_from(in_day)) return d + *time;
    }
    const bool is_month = has(month, static_cast<unsigned>(date.month()));
    const auto next_month = date.year() / date.month() / 1 + std::chrono::months(1);
    d = is_month ? d + days(1) : std::chrono::sys_days(next_month);
    in_day = std::chrono::seconds(0);
  }
  return std::nullopt;
}

inline std::optional<wall_time> cron::next_after(wall_time t) const noexcept {
  using std::chrono::floor;
  using std::chrono::seconds;
  const auto found = search(floor<seconds>(t) + seconds(1));
  if (!found || *found > floor<seconds>((wall_time::max)())) return std::nullopt;
  return *found;
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Times as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
///
/// Layer: adapter. Seconds since 1970, without leap seconds. The two older forms are not read: who
/// sends them gets what he asks for in full.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::detail {

/// Days since 1970 of a day of the Gregorian calendar, whose months begin with March here: so the
/// day that comes and goes is the last one of a year.
constexpr std::int64_t days_since_1970(std::int64_t year, int month, int day) noexcept {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const std::int64_t day_of_era =
      year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

inline constexpr std::array<std::string_view, 7> http_days{"Thu", "Fri", "Sat", "Sun",
                                                           "Mon", "Tue", "Wed"};
inline constexpr std::array<std::string_view, 12> http_months{
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/// Of years 1970 to 9999; times outside of these become the nearest that can be said.
inline std::string to_http_date(std::int64_t seconds) {
  constexpr std::int64_t day_length = 86'400;
  constexpr std::int64_t last = days_since_1970(10'000, 1, 1) * day_length - 1;
  seconds = seconds < 0 ? 0 : seconds > last ? last : seconds;
  const std::int64_t day = seconds / day_length;
  std::int64_t year = 1970 + day / 366;
  while (days_since_1970(year + 1, 1, 1) <= day) ++year;
  int month = 1;
  while (month < 12 && days_since_1970(year, month + 1, 1) <= day) ++month;
  const auto two = [](std::int64_t n) {
    return std::string{static_cast<char>('0' + n / 10), static_cast<char>('0' + n % 10)};
  };
  const std::int64_t of_day = seconds % day_length;
  return std::string(http_days[static_cast<std::size_t>(day % 7)]) + ", " +
         two(day - days_since_1970(year, month, 1) + 1) + " " +
         std::string(http_months[static_cast<std::size_t>(month - 1)]) + " " +
         std::to_string(year) + " " + two(of_day / 3600) + ":" + two(of_day / 60 % 60) + ":" +
         two(of_day % 60) + " GMT";
}

/// The number that so many digits are; -1: they are none.
constexpr int digits_at(std::string_view text, std::size_t at, std::size_t count) noexcept {
  int number = 0;
  for (const char c : text.substr(at, count)) {
    if (c < '0' || c > '9') return -1;
    number = number * 10 + (c - '0');
  }
  return number;
}

/// Nothing: it is no such text. The name of the day is not compared with the date.
inline std::optional<std::int64_t> from_http_date(std::string_view text) noexcept {
  constexpr std::string_view form = "Sun, 06 Nov 1994 08:49:37 GMT";
  if (text.size() != form.size()) return std::nullopt;
  for (const unsigned at : {3U, 4U, 7U, 11U, 16U, 19U, 22U, 25U, 26U, 27U, 28U}) {
    if (text[at] != form[at]) return std::nullopt;
  }
  int month = 0;
  while (month < 12 && http_months[static_cast<std::size_t>(month)] != text.substr(8, 3)) ++month;
  const int day = digits_at(text, 5, 2);
  const int year = digits_at(text, 12, 4);
  const int hour = digits_at(text, 17, 2);
  const int minute = digits_at(text, 20, 2);
  const int second = digits_at(text, 23, 2);
  const bool is_day = month < 12 && day >= 1 && day <= 31 && year >= 0;
  const bool is_time =
      hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second <= 60;
  if (!is_day || !is_time) return std::nullopt;
  return days_since_1970(year, month + 1, day) * 86'400 + hour * 3600 + minute * 60 + second;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What people write and read: durations, bytes, and text that may have come from anybody.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/time/clock.hpp>

namespace job_tool {

/// A terminal shows it and does nothing else.
inline std::string shown(std::string_view text, std::size_t most = 400) {
  constexpr char digits[] = "0123456789abcdef";
  std::string is;
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && byte < 0x80) {
      is += c;
    } else {
      is += "\\x";
      is += digits[byte >> 4];
      is += digits[byte & 15];
    }
  }
  if (text.size() > most) is += " ...";
  return is;
}

inline std::string to_hex(const troupe::shared_bytes& bytes, std::size_t most) {
  constexpr char digits[] = "0123456789abcdef";
  std::string is;
  for (const std::byte b : bytes.bytes().first((std::min)(most, bytes.size()))) {
    is += digits[std::to_integer<unsigned>(b) >> 4];
    is += digits[std::to_integer<unsigned>(b) & 15];
  }
  if (bytes.size() > most) is += " ...";
  return is;
}

/// Throws `std::invalid_argument`.
inline std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  if (text.size() % 2 != 0) throw std::invalid_argument("hex digits come in pairs");
  for (std::size_t i = 0; i != text.size(); i += 2) {
    unsigned value = 0;
    const char* const end = text.data() + i + 2;
    const auto read = std::from_chars(text.data() + i, end, value, 16);
    if (read.ec != std::errc() || read.ptr != end) {
      throw std::invalid_argument("no hex digits: " + shown(text.substr(i, 2)));
    }
    bytes.push_back(static_cast<std::byte>(value));
  }
  return bytes;
}

/// Hex digits, or what is in the file behind an `@`. Throws `std::invalid_argument`.
inline troupe::shared_bytes read_bytes(const std::string& text) {
  if (!text.starts_with('@')) return from_hex(text);
  std::ifstream file(text.substr(1), std::ios::binary);
  std::string all(std::istreambuf_iterator<char>(file), {});
  if (!file.good() && !file.eof()) throw std::invalid_argument("cannot read " + text.substr(1));
  return troupe::shared_bytes(std::move(all));
}

/// `250ms`, `10s`, `5m`, `2h`, `1d`. Throws `std::invalid_argument`.
inline troupe::duration read_duration(const std::string& text) {
  struct unit {
    std::string_view name;
    troupe::duration is;
  };
  constexpr unit units[] = {
      {"ms", std::chrono::milliseconds(1)}, {"s", std::chrono::seconds(1)},
      {"m", std::chrono::minutes(1)},       {"h", std::chrono::hours(1)},
      {"d", std::chrono::hours(24)},
  };
  std::int64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, count);
  const std::string_view rest(read.ptr, static_cast<std::size_t>(end - read.ptr));
  for (const unit& u : units) {
    if (read.ec != std::errc() || u.name != rest || count < 0) continue;
    const std::int64_t most = (std::numeric_limits<std::int64_t>::max)() / u.is.count();
    if (count <= most) return u.is * count;
  }
  throw std::invalid_argument("a time is like 250ms, 10s, 5m, 2h or 1d, not " + shown(text));
}

inline std::string to_text(troupe::duration d) {
  std::ostringstream text;
  const double seconds = std::chrono::duration<double>(d).count();
  const double size = seconds < 0 ? -seconds : seconds;
  text << std::fixed << std::setprecision(1);
  if (size < 120) {
    text << seconds << " s";
  } else if (size < 7200) {
    text << seconds / 60 << " min";
  } else if (size < 172800) {
    text << seconds / 3600 << " h";
  } else {
    text << seconds / 86400 << " d";
  }
  return text.str();
}

inline std::string to_text(troupe::wall_time t) {
  const auto at = std::chrono::floor<std::chrono::seconds>(t);
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date = day;
  const std::chrono::hh_mm_ss<std::chrono::seconds> time(at - day);
  std::ostringstream text;
  text << std::setfill('0') << static_cast<int>(date.year()) << '-' << std::setw(2)
       << static_cast<unsigned>(date.month()) << '-' << std::setw(2)
       << static_cast<unsigned>(date.day()) << ' ' << std::setw(2) << time.hours().count() << ':'
       << std::setw(2) << time.minutes().count() << ':' << std::setw(2) << time.seconds().count()
       << " UTC";
  return text.str();
}

/// What the codec made of a number or a text, which is what most scripts tell; else hex digits.
inline std::string told(const troupe::shared_bytes& body) {
  if (const auto number = troupe::decode<double>(body); number.has_value()) {
    std::ostringstream text;
    text << *number;
    return text.str();
  }
  if (const auto text = troupe::decode<std::string>(body); text.has_value()) return shown(*text);
  return std::to_string(body.size()) + " bytes: " + to_hex(body, 32);
}

}  // namespace job_tool

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A type that has something of each kind the codec knows, and random values of it.

#include <troupe/base/hash.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/codec.hpp>
#include <troupe/codec/fields.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace sample {

enum class color : std::uint8_t { red, green, blue };

struct point {
  std::int32_t x = 0;
  std::int32_t y = 0;
  friend bool operator==(const point&, const point&) = default;
};

struct nothing {
  friend bool operator==(const nothing&, const nothing&) = default;
};

/// No aggregate: it travels as a number of cents, and is never below zero.
class money {
public:
  money() = default;
  explicit money(std::int64_t cents) : cents_(cents) {}
  [[nodiscard]] std::int64_t cents() const { return cents_; }
  friend bool operator==(const money&, const money&) = default;

private:
  std::int64_t cents_ = 0;
};

struct debt {
  std::string why;
};

/// Names its fields.
struct account {
  std::string owner;
  money balance;
  std::optional<std::string> note;
  friend bool operator==(const account&, const account&) = default;
};

struct numbers {
  bool yes = false;
  char letter = 0;
  std::int8_t i8 = 0;
  std::uint8_t u8 = 0;
  std::int16_t i16 = 0;
  std::uint16_t u16 = 0;
  std::int32_t i32 = 0;
  std::uint32_t u32 = 0;
  std::int64_t i64 = 0;
  std::uint64_t u64 = 0;
  float f = 0;
  double d = 0;
  std::byte byte{};
  color hue = color::red;
  char32_t wide = 0;
  friend bool operator==(const numbers&, const numbers&) = default;
};

/// Everything in it has one binary form only.
struct ordered {
  numbers n;
  std::string text;
  std::u8string utf8;
  std::vector<std::byte> bytes;
  troupe::shared_bytes shared;
  std::vector<std::string> texts;
  std::vector<bool> bits;
  std::vector<std::uint8_t> octets;
  std::vector<double> doubles;
  std::deque<std::int16_t> deque;
  std::list<point> list;
  std::array<std::uint32_t, 3> triple{};
  std::array<nothing, 0> none;
  std::set<std::int64_t> set;
  std::map<std::string, std::vector<int>> map;
  std::pair<std::string, point> pair;
  std::tuple<int, std::string, bool> tuple;
  std::optional<std::optional<int>> maybe;
  std::variant<std::monostate, int, std::string, point> choice;
  std::chrono::milliseconds duration{};
  std::chrono::sys_time<std::chrono::nanoseconds> moment;
  nothing empty;
  money price;
  account owner;
  std::vector<ordered> children;
  friend bool operator==(const ordered&, const ordered&) = default;
};

/// What has no order beside what has.
struct everything {
  ordered in_order;
  std::unordered_map<std::string, std::uint32_t> hash_map;
  std::unordered_set<std::int32_t> hash_set;
  friend bool operator==(const everything&, const everything&) = default;
};

/// Random values, a function of the seed.
class generator {
public:
  explicit generator(std::uint64_t seed) : state_(seed) {}

  std::uint64_t word() { return troupe::splitmix64(state_); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(word() % n); }
  bool coin() { return (word() & 1) != 0; }

  /// Small, huge and everything between: so many random bits.
  std::uint64_t number() {
    const std::size_t bits = below(65);
    return bits == 0 ? 0 : word() >> (64 - bits);
  }
  template <class T>
  T integer() {
    const auto n = static_cast<T>(number());
    return coin() ? n : static_cast<T>(~n);
  }
  std::string text() {
    std::string made;
    for (std::size_t i = below(12); i != 0; --i) made += static_cast<char>(word());
    return made;
  }
  template <class T, class F>
  T several(F make) {
    T made;
    for (std::size_t i = below(4); i != 0; --i) made.insert(made.end(), make());
    return made;
  }

  numbers make_numbers() {
    return {.yes = coin(),
            .letter = integer<char>(),
            .i8 = integer<std::int8_t>(),
            .u8 = integer<std::uint8_t>(),
            .i16 = integer<std::int16_t>(),
            .u16 = integer<std::uint16_t>(),
            .i32 = integer<std::int32_t>(),
            .u32 = integer<std::uint32_t>(),
            .i64 = integer<std::int64_t>(),
            .u64 = integer<std::uint64_t>(),
            .f = static_cast<float>(integer<std::int32_t>()) / 7,
            .d = static_cast<double>(integer<std::int64_t>()) / 7,
            .byte = static_cast<std::byte>(word()),
            .hue = static_cast<color>(below(3)),
            .wide = static_cast<char32_t>(below(0x110000))};
  }
  point make_point() { return {integer<std::int32_t>(), integer<std::int32_t>()}; }
  money make_money() { return money(static_cast<std::int64_t>(number() >> 1)); }
  account make_account() {
    return {text(), make_money(), coin() ? std::optional(text()) : std::nullopt};
  }
  std::variant<std::monostate, int, std::string, point> make_choice() {
    switch (below(4)) {
      case 0:
        return std::monostate{};
      case 1:
        return integer<int>();
      case 2:
        return text();
      default:
        return make_point();
    }
  }

  ordered make_ordered(int depth = 2) {
    ordered o;
    o.n = make_numbers();
    o.text = text();
    for (const char c : text()) o.utf8 += static_cast<char8_t>(c);
    for (const char c : text()) o.bytes.push_back(static_cast<std::byte>(c));
    o.shared = troupe::shared_bytes(text());
    o.texts = several<std::vector<std::string>>([&] { return text(); });
    o.bits = several<std::vector<bool>>([&] { return coin(); });
    o.octets = several<std::vector<std::uint8_t>>([&] { return integer<std::uint8_t>(); });
    o.doubles = several<std::vector<double>>([&] { return static_cast<double>(word()); });
    o.deque = several<std::deque<std::int16_t>>([&] { return integer<std::int16_t>(); });
    o.list = several<std::list<point>>([&] { return make_point(); });
    for (auto& one : o.triple) one = integer<std::uint32_t>();
    for (std::size_t i = below(4); i != 0; --i) o.set.insert(integer<std::int64_t>());
    for (std::size_t i = below(4); i != 0; --i) {
      o.map[text()] = several<std::vector<int>>([&] { return integer<int>(); });
    }
    o.pair = {text(), make_point()};
    o.tuple = {integer<int>(), text(), coin()};
    if (coin()) o.maybe = coin() ? std::optional(integer<int>()) : std::nullopt;
    o.choice = make_choice();
    o.duration = std::chrono::milliseconds(integer<std::int64_t>());
    o.moment = std::chrono::sys_time<std::chrono::nanoseconds>(
        std::chrono::nanoseconds(integer<std::int64_t>()));
    o.price = make_money();
    o.owner = make_account();
    if (depth > 0) {
      for (std::size_t i = below(3); i != 0; --i) o.children.push_back(make_ordered(depth - 1));
    }
    return o;
  }

  everything make_everything() {
    everything e;
    e.in_order = make_ordered();
    for (std::size_t i = below(6); i != 0; --i) e.hash_map[text()] = integer<std::uint32_t>();
    for (std::size_t i = below(6); i != 0; --i) e.hash_set.insert(integer<std::int32_t>());
    return e;
  }

private:
  std::uint64_t state_;
};

}  // namespace sample

template <>
struct troupe::codec<sample::money> {
  using wire = std::int64_t;
  static wire to_wire(const sample::money& m) { return m.cents(); }
  static sample::money from_wire(wire cents) {
    if (cents < 0) throw sample::debt{"below zero"};
    return sample::money(cents);
  }
};

template <>
struct troupe::enum_range<sample::color> {
  static constexpr sample::color first = sample::color::red, last = sample::color::blue;
};

TROUPE_FIELDS(sample::account, owner, balance, note)

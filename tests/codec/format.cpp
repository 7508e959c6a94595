// SPDX-License-Identifier: MIT
// The bytes themselves, as docs/codec.md says they are. A change here is a new format version: what
// is stored and what older programs send could not be read any more.

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/codec/shape.hpp>

#include "../support/catch.hpp"
#include "sample.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(b >> 4)];
    text += "0123456789abcdef"[std::to_integer<unsigned>(b & std::byte{15})];
  }
  return text;
}

/// What stands behind the version and the fingerprint.
template <class T>
std::string body(const T& value) {
  return hex(troupe::encode(value)).substr(10);
}

struct tree {
  int value = 0;
  std::vector<tree> children;
};
// Without a fixed type, which compilers choose differently.
enum signed_by_itself { below_zero = -1, above_zero = 1 };
enum unsigned_by_itself { zero, one };
enum large_by_itself { none, all = 0xffff'ffff'ffff'ffffULL };
struct other_clock {  // neither steady nor the system's, as that of files may be
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  static constexpr bool is_steady = false;
};
/// The same once more, in part behind a hook.
struct wrapped_tree {
  int value = 0;
  std::vector<wrapped_tree> children;
};
struct tree_of_wrapped {
  int value = 0;
  std::vector<wrapped_tree> children;
};
struct other_tree {
  int value = 0;
  std::vector<other_tree> children;
};

}  // namespace

template <>
struct troupe::enum_range<signed_by_itself> {
  static constexpr signed_by_itself first = below_zero, last = above_zero;
};
template <>
struct troupe::enum_range<large_by_itself> {
  static constexpr large_by_itself first = none, last = all;
};
template <>
struct troupe::codec<wrapped_tree> {
  using wire = tree_of_wrapped;
  static wire to_wire(const wrapped_tree& t) { return {t.value, t.children}; }
  static wrapped_tree from_wire(wire w) { return {w.value, std::move(w.children)}; }
};
template <>
struct troupe::enum_range<unsigned_by_itself> {
  static constexpr unsigned_by_itself first = zero, last = one;
};

TEST_CASE("the head is the version and the fingerprint", "[codec][format]") {
  CHECK(hex(troupe::encode(true)) == "01a0c88d4401");
}

TEST_CASE("numbers", "[codec][format]") {
  CHECK(body(false) == "00");
  CHECK(body(std::uint32_t{0}) == "00");
  CHECK(body(std::uint32_t{127}) == "7f");
  CHECK(body(std::uint32_t{128}) == "8001");
  CHECK(body(std::uint64_t{0} - 1) == "ffffffffffffffffff01");
  CHECK(body(std::int32_t{-1}) == "01");
  CHECK(body(std::int32_t{1}) == "02");
  CHECK(body(std::int64_t{-64}) == "7f");
  CHECK(body(std::uint8_t{255}) == "ff");
  CHECK(body(std::int8_t{-1}) == "ff");
  CHECK(body('a') == "61");
  CHECK(body(1.0F) == "0000803f");
  CHECK(body(-2.0) == "00000000000000c0");
  CHECK(body(sample::color::blue) == "02");
  CHECK(body(std::chrono::milliseconds(-3)) == "05");
}

TEST_CASE("containers", "[codec][format]") {
  CHECK(body(std::string("hé")) == "0368c3a9");
  CHECK(body(std::vector<std::byte>{std::byte{1}, std::byte{2}}) == "020102");
  CHECK(body(std::vector<std::uint16_t>{1, 300}) == "0201ac02");
  CHECK(body(std::vector<bool>{true, false}) == "020100");
  CHECK(body(std::array<std::int32_t, 2>{1, -1}) == "0201");
  CHECK(body(std::set<std::string>{"b", "a"}) == "0201610162");
  CHECK(body(std::map<std::string, int>{{"b", 1}, {"a", 2}}) == "02016104016202");
}

TEST_CASE("choices and records", "[codec][format]") {
  CHECK(body(std::optional<int>()) == "00");
  CHECK(body(std::optional<int>(5)) == "010a");
  CHECK(body(std::variant<int, std::string>("x")) == "010178");
  CHECK(body(std::monostate()) == "00");
  CHECK(body(std::tuple<>()) == "00");
  CHECK(body(std::array<int, 0>()) == "00");
  CHECK(body(sample::point{1, 2}) == "0204");
  CHECK(body(sample::account{"al", sample::money(7), std::nullopt}) ==
        "02616c"
        "0e"
        "00");
}

TEST_CASE("a large value with everything in it", "[codec][format]") {
  const auto message = troupe::encode(sample::generator(1).make_ordered());
  CHECK(message.size() == 622);
  CHECK(troupe::hash_bytes(message.data(), message.size()) == 0x1e361ac1a45db96aULL);
}

// -- Fingerprints --------------------------------------------------------------------------------

TEST_CASE("fingerprints stay what they are", "[codec][format]") {
  CHECK(troupe::shape_of<bool> == 0x448dc8a0);
  CHECK(troupe::shape_of<std::int32_t> == 0xcf2699e2);
  CHECK(troupe::shape_of<std::string> == 0xab805e2e);
  CHECK(troupe::shape_of<sample::point> == 0xde86cb74);
  CHECK(troupe::shape_of<tree> == 0x191fb6eb);
  CHECK(troupe::shape_of<sample::everything> == 0x999aade7);
}

TEST_CASE("fingerprints follow structure, not names", "[codec][format]") {
  using troupe::shape_of;
  static_assert(shape_of<tree> == shape_of<other_tree>);
  static_assert(shape_of<sample::point> == shape_of<std::pair<std::int32_t, std::int32_t>>);
  static_assert(shape_of<sample::money> == shape_of<std::int64_t>);
  static_assert(shape_of<std::string> == shape_of<std::string_view>);
  static_assert(shape_of<std::vector<std::byte>> == shape_of<troupe::shared_bytes>);
  static_assert(shape_of<std::span<const tree>> == shape_of<std::vector<tree>>);
  static_assert(shape_of<std::deque<tree>> == shape_of<std::vector<tree>>);
  static_assert(shape_of<signed_by_itself> == shape_of<unsigned_by_itself>);
  static_assert(shape_of<tree> == shape_of<tree_of_wrapped>);
  static_assert(shape_of<tree> == shape_of<wrapped_tree>);
  CHECK(troupe::decode<large_by_itself>(troupe::encode(all)).value() == all);
  CHECK(troupe::decode<large_by_itself>(troupe::encode(none)).value() == none);
  const wrapped_tree wrapped{1, {{2, {}}}};
  CHECK(troupe::decode<tree>(troupe::encode(wrapped)).value().children.front().value == 2);

  static_assert(shape_of<int> != shape_of<unsigned>);
  static_assert(shape_of<std::int32_t> != shape_of<std::int64_t>);
  static_assert(shape_of<char> != shape_of<signed char> &&
                shape_of<char> != shape_of<unsigned char>);
  static_assert(shape_of<std::string> != shape_of<std::vector<std::byte>>);
  static_assert(shape_of<std::vector<int>> != shape_of<std::set<int>>);
  static_assert(shape_of<std::array<int, 2>> != shape_of<std::array<int, 3>>);
  static_assert(shape_of<std::chrono::seconds> != shape_of<std::chrono::milliseconds>);
  static_assert(shape_of<std::chrono::steady_clock::time_point> !=
                shape_of<std::chrono::sys_time<std::chrono::steady_clock::duration>>);
  static_assert(shape_of<std::chrono::time_point<other_clock>> !=
                shape_of<std::chrono::sys_time<other_clock::duration>>);
  static_assert(shape_of<std::pair<int, bool>> != shape_of<std::pair<bool, int>>);
  static_assert(shape_of<std::tuple<int>> != shape_of<std::tuple<int, int>>);
  static_assert(shape_of<std::optional<int>> != shape_of<std::variant<std::monostate, int>>);
  static_assert(shape_of<std::tuple<std::tuple<int>, int>> !=
                shape_of<std::tuple<std::tuple<int, int>>>);
  SUCCEED();
}

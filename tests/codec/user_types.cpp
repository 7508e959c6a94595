// SPDX-License-Identifier: MIT
// What a program says about its own types: hooks, named fields, ranges of enumerations, earlier
// versions; and which types can travel at all.

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>

#include "../support/catch.hpp"
#include "sample.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace user {

struct base {
  int a = 0;
};
struct derived : base {
  int b = 0;
};
struct named_derived : base {
  int b = 0;
};
struct with_array {
  int a = 0;
  char b[4] = {};
};
struct with_single_array {
  int b[1] = {};
};
struct with_reference {
  int& a;
};
struct with_const {
  const int a = 0;
};
enum plain { one, two };
enum ranged { low, high = 3 };
enum class flags : std::uint8_t {};
struct no_default {
  explicit no_default(int n) : value(n) {}
  int value;
};

struct profile_v1 {
  std::string name;
};
struct profile_v2 {
  std::string name;
  int age = 0;
};
struct profile {
  std::string name;
  int age = 0;
  std::vector<std::string> tags;
  friend bool operator==(const profile&, const profile&) = default;
};

}  // namespace user

TROUPE_FIELDS(user::named_derived, a, b)

template <>
struct troupe::codec<user::no_default> {
  using wire = int;
  static wire to_wire(const user::no_default& n) { return n.value; }
  static user::no_default from_wire(wire n) { return user::no_default(n); }
};
template <>
struct troupe::enum_range<user::ranged> {
  static constexpr user::ranged first = user::low, last = user::high;
};
template <>
struct troupe::previous_version<user::profile_v2> {
  using type = user::profile_v1;
  static user::profile_v2 convert(user::profile_v1&& old) { return {std::move(old.name), 18}; }
};
template <>
struct troupe::previous_version<user::profile> {
  using type = user::profile_v2;
  static user::profile convert(user::profile_v2&& old) {
    return {std::move(old.name), old.age, {"old"}};
  }
};

using troupe::decodable;
using troupe::decode;
using troupe::encodable;
using troupe::encode;

static_assert(encodable<sample::everything> && decodable<sample::everything>);
static_assert(encodable<std::string_view> && !decodable<std::string_view>);
static_assert(encodable<std::vector<std::string_view>> &&
              !decodable<std::vector<std::string_view>>);
static_assert(!encodable<int*> && !encodable<const char*> && !encodable<int&>);
static_assert(!encodable<std::unique_ptr<int>> && !encodable<std::vector<std::shared_ptr<int>>>);
static_assert(!encodable<long double> && !encodable<void> && !encodable<int()>);
static_assert(!encodable<int[3]> && !encodable<user::with_array> &&
              !encodable<user::with_single_array>);
static_assert(!encodable<user::derived> && encodable<user::named_derived>);
static_assert(!encodable<user::with_reference>);
static_assert(encodable<user::with_const> && !decodable<user::with_const>);
static_assert(!encodable<user::plain> && decodable<user::ranged> && decodable<user::flags>);
static_assert(encodable<user::no_default> && !decodable<user::no_default>);
static_assert(!encodable<std::map<std::string, std::optional<std::variant<int, char*>>>>);

TEST_CASE("a hook lets a type travel as another", "[codec]") {
  CHECK(decode<sample::money>(encode(std::int64_t{12})).value() == sample::money(12));
  CHECK(decode<std::int64_t>(encode(sample::money(12))).value() == 12);
  CHECK(decode<int>(encode(user::no_default(4))).value() == 4);
}

TEST_CASE("what a hook throws is handed on", "[codec]") {
  const auto refused = decode<std::vector<sample::money>>(encode(std::vector<std::int64_t>{1, -1}));
  CHECK_THROWS_AS(refused.value(), sample::debt);
}

TEST_CASE("named fields may lie in a base", "[codec]") {
  user::named_derived d;
  d.a = 1;
  d.b = 2;
  const auto back = decode<user::named_derived>(encode(d)).value();
  CHECK((back.a == 1 && back.b == 2));
}

TEST_CASE("an enumeration stays within its range, both ways", "[codec]") {
  CHECK(decode<sample::color>(encode(sample::color::green)).value() == sample::color::green);
  auto message = encode(sample::color::blue);
  message.back() = std::byte{3};
  CHECK(decode<sample::color>(message).code() == troupe::errc::bad_message);
  CHECK_THROWS_WITH(encode(static_cast<sample::color>(3)), Catch::Contains("out of its range"));
  CHECK(decode<user::ranged>(encode(user::high)).value() == user::high);
  CHECK(decode<user::flags>(encode(user::flags{0x81})).value() == user::flags{0x81});
}

TEST_CASE("a newer program reads what older ones wrote", "[codec]") {
  const user::profile from_v1{"ann", 18, {"old"}};
  CHECK(decode<user::profile>(encode(user::profile_v1{"ann"})).value() == from_v1);
  const user::profile from_v2{"ann", 30, {"old"}};
  CHECK(decode<user::profile>(encode(user::profile_v2{"ann", 30})).value() == from_v2);
  const user::profile now{"ann", 30, {}};
  CHECK(decode<user::profile>(encode(now)).value() == now);
}

TEST_CASE("an older program refuses what a newer one wrote, by name", "[codec]") {
  const auto refused = decode<user::profile_v1>(encode(user::profile{"ann", 30, {}}));
  REQUIRE(refused.code() == troupe::errc::bad_message);
  try {
    refused.value();
  } catch (const troupe::error& e) {
    CHECK(e.detail() == "user::profile_v1: the message holds a value of another type (at byte 5)");
  }
}

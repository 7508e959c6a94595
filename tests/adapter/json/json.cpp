// SPDX-License-Identifier: MIT
// Values as JSON and back: the table of adapter/json/json.hpp, what comes back, and what is
// refused, where and why.

#include <troupe/adapter/json/json.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "../../codec/sample.hpp"
#include "../../support/catch.hpp"

namespace {

template <class T>
std::string text_of(const T& value) {
  return troupe::to_json(value).dump();
}

template <class T>
bool comes_back(const T& value) {
  return troupe::from_json<T>(std::string_view(text_of(value))).value() == value;
}

/// Why the text is no `T`; empty where it is one.
template <class T>
std::string refusal(std::string_view text, troupe::decode_limits limits = {}) {
  try {
    static_cast<void>(troupe::from_json<T>(text, limits).value());
    return {};
  } catch (const troupe::error& e) {
    return e.what();
  }
}

struct shelf {
  std::string name;
  std::vector<sample::account> accounts;
};

struct tree {
  std::vector<tree> children;
};

/// A random value whose text is UTF-8, which JSON wants, and whose numbers are finite.
sample::everything make_plain(std::uint64_t seed) {
  sample::generator random(seed);
  sample::everything e;
  e.in_order.n = random.make_numbers();
  e.in_order.text = "Grüße, 世界, 🦜, \"quoted\", \n \\ " + std::string(1, '\0');
  e.in_order.bytes.assign(random.below(9), static_cast<std::byte>(random.word()));
  e.in_order.bits = {true, false};
  e.in_order.doubles = {0.1, -0.0, 1e300, 5e-324};
  e.in_order.list = {random.make_point(), random.make_point()};
  e.in_order.set = {1, -1, (std::numeric_limits<std::int64_t>::min)()};
  e.in_order.map = {{"", {}}, {"a", {1, 2}}};
  e.in_order.maybe = std::optional<int>();
  e.in_order.choice = random.make_point();
  e.in_order.owner = {"é", random.make_money(), std::nullopt};
  e.in_order.children.emplace_back();
  e.hash_map = {{"x", 1}, {"y", (std::numeric_limits<std::uint32_t>::max)()}};
  e.hash_set = {3, 4};
  return e;
}

}  // namespace

TEST_CASE("each kind has its JSON", "[json]") {
  CHECK(text_of(true) == "true");
  CHECK(text_of(std::int8_t{-3}) == "-3");
  CHECK(text_of('a') == "97");
  CHECK(text_of((std::numeric_limits<std::uint64_t>::max)()) == "18446744073709551615");
  CHECK(text_of(0.5F) == "0.5");
  CHECK(text_of(std::string("é")) == "\"é\"");
  CHECK(text_of(std::vector<std::byte>{std::byte{1}, std::byte{2}}) == "\"AQI=\"");
  CHECK(text_of(sample::color::blue) == "2");
  CHECK(text_of(std::chrono::milliseconds(1500)) == "1500");
  CHECK(text_of(std::vector<bool>{true, false}) == "[true,false]");
  CHECK(text_of(sample::point{1, 2}) == "[1,2]");
  CHECK(text_of(std::tuple(1, std::string("x"), false)) == R"([1,"x",false])");
  CHECK(text_of(sample::account{"al", sample::money(7), "hi"}) ==
        R"({"balance":7,"note":"hi","owner":"al"})");
  CHECK(text_of(std::map<std::string, int>{{"a", 1}}) == R"({"a":1})");
  CHECK(text_of(std::map<int, bool>{{1, true}}) == "[[1,true]]");
  CHECK(text_of(std::optional<int>()) == "null");
  CHECK(text_of(std::optional<int>(0)) == "0");
  CHECK(text_of(std::optional<std::optional<int>>(std::optional<int>())) == "[null]");
  CHECK(text_of(std::variant<int, bool>(false)) == "[1,false]");
  CHECK(text_of(std::monostate()) == "null");
  CHECK(text_of(sample::nothing()) == "[]");
}

TEST_CASE("what came in comes back", "[json]") {
  CHECK(comes_back(0));
  CHECK(comes_back(false));
  CHECK(comes_back(std::string()));
  CHECK(comes_back(std::string(3 << 20, 'x')));
  CHECK(comes_back(std::optional<std::optional<int>>()));
  CHECK(comes_back(std::optional<std::optional<int>>(std::optional<int>())));
  CHECK(comes_back(std::optional<std::optional<int>>(std::optional<int>(0))));
  CHECK(comes_back(std::variant<std::monostate, int>()));
  CHECK(comes_back(std::variant<std::monostate, int>(0)));
  for (std::size_t size = 0; size != 10; ++size) {
    CHECK(comes_back(std::vector<std::byte>(size, std::byte{0xfe})));
  }
  for (std::uint64_t seed = 0; seed != 50; ++seed) {
    INFO("seed " << seed);
    REQUIRE(comes_back(make_plain(seed)));
  }
}

TEST_CASE("the error names the place", "[json]") {
  const auto why = [](std::string_view text) { return refusal<shelf>(text); };
  CHECK(why(R"(["a", []])").empty());
  CHECK(why(R"(["a", [{"owner": "b", "balance": 1}]])").empty());
  CHECK(why(R"(["a"])") == "bad message: $: it is not an array of 2");
  CHECK(why(R"([1, []])") == "bad message: $[0]: it is not a string");
  CHECK(why(R"(["a", [{"owner": "b", "balance": "1"}]])") ==
        "bad message: $[1][0].balance: it is not an integer");
  CHECK(why(R"(["a", [{"owner": "b"}]])") == "bad message: $[1][0].balance: it is missing");
  CHECK(why(R"(["a", [{"owner": "b", "balance": 1, "x": 2}]])") ==
        "bad message: $[1][0].x: there is no such field");
  CHECK(why(R"(["a", [{"owner": "b", "owner": "c", "balance": 1}]])") ==
        "bad message: a name is there twice");
  CHECK(why(R"(["a", [)").find("bad message: [json.exception.parse_error") == 0);
}

TEST_CASE("numbers fit or are refused", "[json]") {
  CHECK(refusal<std::uint8_t>("255").empty());
  CHECK(refusal<std::uint8_t>("256") == "bad message: $: the number is out of range");
  CHECK(refusal<std::uint8_t>("-1") == "bad message: $: the number is out of range");
  CHECK(refusal<std::int64_t>("9223372036854775808") ==
        "bad message: $: the number is out of range");
  CHECK(refusal<std::uint64_t>("18446744073709551616") == "bad message: $: it is not an integer");
  CHECK(refusal<int>("1.0") == "bad message: $: it is not an integer");
  CHECK(refusal<int>("true") == "bad message: $: it is not an integer");
  CHECK(refusal<double>("1").empty());
  CHECK(refusal<double>("1e400").find("bad message") == 0);
  CHECK(refusal<float>("1e39") == "bad message: $: the number is out of range");
  CHECK(refusal<sample::color>("3") == "bad message: $: the enumeration is out of its range");
  CHECK(refusal<std::byte>("256") == "bad message: $: the number is out of range");
  CHECK_THROWS_WITH(troupe::to_json(std::numeric_limits<double>::quiet_NaN()),
                    Catch::Contains("not-a-number"));
  CHECK_THROWS_WITH(troupe::to_json(std::numeric_limits<float>::infinity()),
                    Catch::Contains("infinity"));
  // Zeros compare equal whatever their sign.
  CHECK(std::signbit(troupe::from_json<double>("-0.0").value()));
  CHECK(troupe::to_json(-0.0).dump() == "-0.0");
}

TEST_CASE("other kinds and doubles are refused", "[json]") {
  CHECK(refusal<bool>("0") == "bad message: $: it is neither true nor false");
  CHECK(refusal<std::monostate>("0") == "bad message: $: it is not null");
  CHECK(refusal<std::vector<int>>("{}") == "bad message: $: it is not an array");
  CHECK(refusal<std::map<std::string, int>>("[]") == "bad message: $: it is not an object");
  CHECK(refusal<std::map<int, int>>("[[1,2],[1,3]]") ==
        "bad message: $[1]: the key is there twice");
  CHECK(refusal<std::set<int>>("[1,1]") == "bad message: $[1]: it is there twice");
  CHECK(refusal<std::variant<int, bool>>("[2,0]") ==
        "bad message: $[0]: there is no such alternative");
  for (const auto* text : {R"("A")", R"("AA==A")", R"("AB==")", R"("A===")", R"("====")",
                           R"("AAA=AAAA")", R"("AA\n=")"}) {
    INFO(text);
    CHECK(refusal<troupe::shared_bytes>(text) == "bad message: $: it is not base64");
  }
  CHECK(refusal<std::string>("\"\xff\"").find("bad message") == 0);
}

TEST_CASE("depth and size are bounded", "[json]") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(refusal<tree>(nested(1)) == "bad message: $: it is not an array of 1");
  CHECK(refusal<tree>(nested(1000000)) == "too large: it nests too deeply");
  CHECK(refusal<std::string>("\"abc\"", {.size = 4}) == "too large: the text is above the limit");
  tree deep;
  for (int i = 0; i != 100; ++i) {
    tree above;
    above.children.push_back(std::move(deep));
    deep = std::move(above);
  }
  CHECK_THROWS_WITH(troupe::to_json(deep), Catch::Contains("nests too deeply"));
  const auto json = troupe::to_json(deep, 1000);
  CHECK(troupe::from_json<tree>(json).code() == troupe::errc::too_large);
  CHECK(troupe::from_json<tree>(json, {.depth = 1000}).has_value());
}

TEST_CASE("memory is bounded", "[json]") {
  // Each element is five characters in the text and four kilobytes in memory.
  using wasteful = std::vector<std::optional<std::array<char, 4096>>>;
  std::string text = "[null";
  for (int i = 0; i != 10000; ++i) text += ",null";
  text += "]";
  CHECK(refusal<wasteful>(text) == "too large: $: its containers take too much memory");
  CHECK(refusal<wasteful>(text, {.memory = 64 << 20}).empty());
  const auto parsed = nlohmann::json::parse(text);
  CHECK(troupe::from_json<wasteful>(parsed).has_value());
  CHECK(troupe::from_json<wasteful>(parsed, {.memory = 1 << 20}).code() == troupe::errc::too_large);
  using map = std::map<std::string, std::optional<std::array<char, 4096>>>;
  CHECK(refusal<map>(R"({"a":null,"b":null})", {.memory = 8192}) ==
        "too large: $: its containers take too much memory");
}

namespace {

struct by_first_letter {
  bool operator()(const std::string& a, const std::string& b) const {
    return a.substr(0, 1) < b.substr(0, 1);
  }
};

/// So many objects, each of which ends beside all those before it.
std::string many_objects(std::size_t count) {
  std::string text = "[";
  for (std::size_t i = 0; i != count; ++i) text += i == 0 ? R"({"a":1})" : R"(,{"a":1})";
  return text + "]";
}

}  // namespace

TEST_CASE("a quarter of a million objects are read, and not each looked at for each", "[json]") {
  using maps = std::vector<std::map<std::string, int>>;
  const auto read = troupe::from_json<maps>(many_objects(250'000));
  REQUIRE(read.has_value());
  CHECK(read.value().size() == 250'000);
  CHECK(read.value().back().at("a") == 1);
}

TEST_CASE("keys that a map takes for one are refused", "[json]") {
  using map = std::map<std::string, int, by_first_letter>;
  CHECK(troupe::from_json<map>(R"({"ab":1,"ba":2})").has_value());
  CHECK(refusal<map>(R"({"ab":1,"ac":2})") ==
        "bad message: $.ac: it equals another key of the map");
}

TEST_CASE("what is said of bad text is short", "[json]") {
  CHECK(refusal<int>("\"" + std::string(1'000'000, 'a')).size() < 400);
}

TEST_CASE("a char is its code, on every platform", "[json]") {
  CHECK(troupe::to_json('\xE9').dump() == "233");
  CHECK(troupe::from_json<char>("233").value() == '\xE9');
  CHECK(!troupe::from_json<char>("-23").has_value());
}

TEST_CASE("what nests as deeply as it may is read from text as well", "[json]") {
  using deepest = std::vector<std::vector<std::vector<int>>>;
  CHECK(troupe::from_json<deepest>("[[[]]]", {.depth = 2}).has_value());
  CHECK(!troupe::from_json<deepest>("[[[1]]]", {.depth = 2}).has_value());
}

TEST_CASE("a hook has its say in JSON as well", "[json]") {
  CHECK(text_of(sample::money(12)) == "12");
  CHECK_THROWS_AS(troupe::from_json<sample::money>("-1").value(), sample::debt);
}

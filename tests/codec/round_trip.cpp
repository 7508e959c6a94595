// SPDX-License-Identifier: MIT
// What is encoded comes back as it was: nothing, false, empty text, text that is not ASCII or not
// even UTF-8, not-a-number, megabytes, and random values of a type that has something of each kind.

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>

#include "../support/catch.hpp"
#include "sample.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <troupe/base/shared_bytes.hpp>

namespace {

template <class T>
T there_and_back(const T& value) {
  return troupe::decode<T>(troupe::encode(value)).value();
}

template <class T>
void comes_back(const T& value) {
  CHECK(there_and_back(value) == value);
}

template <class T>
void ends_come_back() {
  comes_back((std::numeric_limits<T>::min)());
  comes_back((std::numeric_limits<T>::max)());
  comes_back((std::numeric_limits<T>::lowest)());
  comes_back(T{});
}

}  // namespace

TEST_CASE("what others lose comes back", "[codec]") {
  comes_back(0);
  comes_back(false);
  comes_back(true);
  comes_back(std::string());
  comes_back(std::optional<int>());
  comes_back(std::optional<int>(0));
  comes_back(std::optional<std::optional<int>>(std::optional<int>()));
  comes_back(std::variant<std::monostate, int>());
  comes_back(std::vector<int>());
  comes_back(std::string("zero \0 within", 13));
  comes_back(std::string("Grüße, 世界, 🦜"));
  comes_back(std::string("not UTF-8: \xff\xc0\x80"));
  comes_back(std::u16string(u"Grüße"));
  comes_back(std::wstring(L"Grüße"));
  comes_back(std::string(5 << 20, 'x'));
  comes_back(std::vector<std::string>(10000, std::string(100, 'y')));
}

TEST_CASE("the ends of all numbers come back", "[codec]") {
  ends_come_back<char>();
  ends_come_back<signed char>();
  ends_come_back<unsigned char>();
  ends_come_back<short>();
  ends_come_back<unsigned short>();
  ends_come_back<int>();
  ends_come_back<unsigned>();
  ends_come_back<long>();
  ends_come_back<unsigned long>();
  ends_come_back<long long>();
  ends_come_back<unsigned long long>();
  ends_come_back<wchar_t>();
  ends_come_back<char8_t>();
  ends_come_back<char16_t>();
  ends_come_back<char32_t>();
  ends_come_back<float>();
  ends_come_back<double>();
}

TEST_CASE("floating point comes back bit by bit", "[codec]") {
  for (const double d :
       {-0.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::denorm_min(),
        std::bit_cast<double>(std::uint64_t{0x7ff800000000beef})}) {
    CHECK(std::bit_cast<std::uint64_t>(there_and_back(d)) == std::bit_cast<std::uint64_t>(d));
  }
  CHECK(std::isnan(there_and_back(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("random values of everything come back", "[codec]") {
  for (std::uint64_t seed = 0; seed != 300; ++seed) {
    INFO("seed " << seed);
    const auto value = sample::generator(seed).make_everything();
    REQUIRE(there_and_back(value) == value);
  }
}

TEST_CASE("what has an order has one binary form", "[codec]") {
  for (std::uint64_t seed = 0; seed != 300; ++seed) {
    INFO("seed " << seed);
    const auto message = troupe::encode(sample::generator(seed).make_ordered());
    REQUIRE(troupe::encode(troupe::decode<sample::ordered>(message).value()) == message);
  }
}

TEST_CASE("views are encoded as what owns them", "[codec]") {
  const std::string text = "hello";
  CHECK(troupe::encode(std::string_view(text)) == troupe::encode(text));
  const std::vector<std::int32_t> numbers{1, 2, 3};
  CHECK(troupe::encode(std::span<const std::int32_t>(numbers)) == troupe::encode(numbers));
  CHECK(troupe::encode(std::span<const std::int32_t, 3>(numbers)) == troupe::encode(numbers));
  const std::vector<std::byte> bytes(7);
  CHECK(troupe::encode(std::span<const std::byte>(bytes)) == troupe::encode(bytes));
  CHECK(troupe::encode(troupe::shared_bytes(bytes)) == troupe::encode(bytes));
}

TEST_CASE("a vector, a deque and a list are one on the wire, and so are a pair and an aggregate",
          "[codec]") {
  const std::vector<int> numbers{1, -2, 300};
  const auto message = troupe::encode(numbers);
  CHECK(troupe::decode<std::list<int>>(message).value() == std::list<int>{1, -2, 300});
  CHECK(troupe::decode<std::deque<int>>(message).value() == std::deque<int>{1, -2, 300});
  const auto pair = troupe::encode(std::pair(std::int32_t{1}, std::int32_t{2}));
  CHECK(troupe::decode<sample::point>(pair).value() == sample::point{1, 2});
}

TEST_CASE("shared bytes are slices of a shared message, and copies of any other", "[codec]") {
  const std::vector<troupe::shared_bytes> payloads{"one", "", "three"};
  const troupe::shared_bytes message(troupe::encode(payloads));
  const auto is_within = [&](const troupe::shared_bytes& part) {
    return part.data() >= message.begin() && part.data() < message.end();
  };
  const auto slices = troupe::decode<std::vector<troupe::shared_bytes>>(message).value();
  CHECK(slices == payloads);
  CHECK((is_within(slices[0]) && is_within(slices[2])));
  const auto copies = troupe::decode<std::vector<troupe::shared_bytes>>(message.bytes()).value();
  CHECK(copies == payloads);
  CHECK_FALSE((is_within(copies[0]) || is_within(copies[2])));
}

TEST_CASE("encoding appends, and takes back what it began when it fails", "[codec]") {
  std::vector<std::byte> out{std::byte{7}};
  troupe::encode(std::string(1000, 'a'), out);
  CHECK(out.front() == std::byte{7});
  CHECK(troupe::decode<std::string>(std::span(out).subspan(1)).value() == std::string(1000, 'a'));
  const auto before = out;
  const std::pair<std::string, sample::color> bad{std::string(1000, 'b'),
                                                  static_cast<sample::color>(9)};
  CHECK_THROWS_WITH(troupe::encode(bad, out), Catch::Contains("out of its range"));
  CHECK(out == before);
}

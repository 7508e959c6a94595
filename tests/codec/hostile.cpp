// SPDX-License-Identifier: MIT
// Bytes from strangers: each way to be wrong is refused, and no message makes the decoder allocate
// more than a small multiple of the message's size.

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>

#include "../support/catch.hpp"
#include "largest_allocation.hpp"
#include "sample.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace {

using bytes = std::vector<std::byte>;

/// A message that says it holds a `T`, with this body.
template <class T>
bytes forge(std::initializer_list<int> body) {
  bytes message{troupe::codec_format_version};
  for (int shift = 0; shift != 32; shift += 8) {
    message.push_back(static_cast<std::byte>(troupe::shape_of<T> >> shift));
  }
  for (const int b : body) message.push_back(static_cast<std::byte>(b));
  return message;
}

/// Why it is refused; empty where it is not.
template <class T>
std::string refusal(const bytes& message, troupe::decode_limits limits = {}) {
  try {
    static_cast<void>(troupe::decode<T>(message, limits).value());
    return {};
  } catch (const troupe::error& e) {
    return e.what();
  }
}

template <class T>
bool says(std::initializer_list<int> body, std::string_view why) {
  const std::string refused = refusal<T>(forge<T>(body));
  UNSCOPED_INFO("it says '" << refused << "'");
  return refused.find(why) != std::string::npos;
}

/// The code of what `f` throws; none where it throws nothing.
template <class F>
std::error_code error_of(F f) {
  try {
    static_cast<void>(f());
    return {};
  } catch (const troupe::error& e) {
    return e.code();
  }
}

struct tree {
  std::vector<tree> children;
};

tree nested(int depth) {
  tree root;
  for (int i = 0; i != depth; ++i) {
    tree above;
    above.children.push_back(std::move(root));
    root = std::move(above);
  }
  return root;
}

}  // namespace

TEST_CASE("a message has a head, and nothing behind its end", "[codec][hostile]") {
  CHECK(refusal<int>({}).find("too short") != std::string::npos);
  auto message = troupe::encode(1);
  message.push_back(std::byte{0});
  CHECK(refusal<int>(message).find("bytes are left over") != std::string::npos);
  message.pop_back();
  CHECK(refusal<int>(message).empty());
  message[0] = std::byte{2};
  CHECK(refusal<int>(message).find("another version of the format") != std::string::npos);
  CHECK(refusal<int>(troupe::encode(1U)).find("another type") != std::string::npos);
}

TEST_CASE("numbers have one spelling, and fit", "[codec][hostile]") {
  CHECK(says<std::uint64_t>({0x80, 0x00}, "shortest form"));
  CHECK(
      says<std::uint64_t>({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, "64 bits"));
  CHECK(
      says<std::uint64_t>({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81}, "64 bits"));
  CHECK(says<std::uint64_t>({0x80}, "too early"));
  CHECK(says<std::uint32_t>({0x80, 0x80, 0x80, 0x80, 0x10}, "out of range"));
  CHECK(says<std::uint16_t>({0x80, 0x80, 0x04}, "out of range"));
  CHECK(says<std::int32_t>({0x80, 0x80, 0x80, 0x80, 0x10}, "out of range"));
  CHECK(says<std::int16_t>({0x81, 0x80, 0x04}, "out of range"));
  CHECK(says<bool>({2}, "neither true nor false"));
  CHECK(says<std::optional<int>>({2, 0}, "neither true nor false"));
  CHECK(says<sample::color>({3}, "out of its range"));
  CHECK(says<std::variant<int, bool>>({2, 0}, "no such alternative"));
  CHECK(says<double>({1, 2, 3}, "too early"));
  CHECK(says<sample::nothing>({1}, "is not 0"));
  CHECK(says<std::array<int, 0>>({1}, "is not 0"));
}

TEST_CASE("keys ascend, or are there once", "[codec][hostile]") {
  CHECK(says<std::set<int>>({2, 4, 2}, "do not ascend"));
  CHECK(says<std::set<int>>({2, 4, 4}, "do not ascend"));
  CHECK(says<std::map<int, bool>>({2, 4, 1, 4, 0}, "do not ascend"));
  CHECK(says<std::unordered_set<int>>({2, 4, 4}, "twice"));
  CHECK(says<std::unordered_map<int, bool>>({2, 4, 1, 4, 0}, "twice"));
}

TEST_CASE("a length is compared with what is left", "[codec][hostile]") {
  CHECK(says<std::string>({5, 'a'}, "above what is left"));
  CHECK(says<std::string>({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
                          "what is left"));
  CHECK(says<troupe::shared_bytes>({2, 0}, "above what is left"));
  CHECK(says<std::vector<double>>({2, 0, 0, 0, 0, 0, 0, 0, 0}, "above what is left"));
  CHECK(says<std::vector<sample::nothing>>({3, 0, 0}, "above what is left"));
}

TEST_CASE("depth is bounded on both sides", "[codec][hostile]") {
  // Two levels each: the record and the vector in it.
  CHECK_NOTHROW(troupe::encode(nested(31)));
  CHECK(error_of([] { return troupe::encode(nested(32)); }) == troupe::errc::too_large);
  const bytes deep = troupe::encode(nested(100), 1000);
  CHECK(troupe::decode<tree>(deep).code() == troupe::errc::too_large);
  CHECK(troupe::decode<tree>(deep, {.depth = 201}).code() == troupe::errc::too_large);
  CHECK(troupe::decode<tree>(deep, {.depth = 202}).has_value());
}

TEST_CASE("size and memory are bounded", "[codec][hostile]") {
  const auto message = troupe::encode(std::string(1000, 'x'));
  CHECK(troupe::decode<std::string>(message, {.size = message.size()}).has_value());
  CHECK(troupe::decode<std::string>(message, {.size = message.size() - 1}).code() ==
        troupe::errc::too_large);

  // Each element is a byte on the wire and four kilobytes in memory.
  using wasteful = std::vector<std::optional<std::array<char, 4096>>>;
  const auto sparse = troupe::encode(wasteful(10000));
  CHECK(troupe::decode<wasteful>(sparse).code() == troupe::errc::too_large);
  CHECK(troupe::decode<wasteful>(sparse, {.memory = 64 << 20}).has_value());
}

TEST_CASE("every truncation is refused", "[codec][hostile]") {
  const auto message = troupe::encode(sample::generator(3).make_everything());
  for (std::size_t size = 0; size != message.size(); ++size) {
    const bytes cut(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(size));
    REQUIRE(troupe::decode<sample::everything>(cut).code() == troupe::errc::bad_message);
  }
}

TEST_CASE("a changed byte gives an error or a value, and the value goes there and back",
          "[codec][hostile]") {
  const auto message = troupe::encode(sample::generator(4).make_ordered(1));
  for (std::size_t at = 0; at != message.size(); ++at) {
    for (const int change : {0x01, 0x40, 0x7f, 0x80, 0xff}) {
      auto changed = message;
      changed[at] ^= static_cast<std::byte>(change);
      const auto read = troupe::decode<sample::ordered>(changed);
      if (read.has_value()) {
        REQUIRE(troupe::encode(*read) == changed);
      } else {
        const auto code = read.code();
        const bool is_named = code == troupe::errc::bad_message ||
                              code == troupe::errc::too_large ||
                              code == std::errc::state_not_recoverable;  // the hook's own
        REQUIRE(is_named);
      }
    }
  }
}

TEST_CASE("no message makes the decoder allocate much more than its size", "[codec][hostile]") {
  const std::size_t most = 2 * (64 << 10);
  const auto allocates = [&](auto type, std::initializer_list<int> body) {
    using value = typename decltype(type)::value_type;
    const bytes message = forge<value>(body);
    troupe::test::largest_allocation() = 0;
    static_cast<void>(troupe::decode<value>(message).has_value());
    return troupe::test::largest_allocation() <= most;
  };
  // 2^30: what a decoder that believed it could well try to allocate.
  const std::initializer_list<int> huge{0x80, 0x80, 0x80, 0x80, 0x04};
  CHECK(allocates(std::optional<std::string>(), huge));
  CHECK(allocates(std::optional<std::vector<double>>(), huge));
  CHECK(allocates(std::optional<std::vector<bool>>(), huge));
  CHECK(allocates(std::optional<std::vector<sample::nothing>>(), huge));
  CHECK(allocates(std::optional<std::vector<std::array<std::string, 1000>>>(), {100, 1, 1, 1, 1}));
  CHECK(allocates(std::optional<std::unordered_set<int>>(), huge));
  CHECK(allocates(std::optional<std::vector<std::deque<int>>>(), huge));
  CHECK(allocates(std::optional<sample::everything>(), huge));
}

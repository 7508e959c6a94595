// SPDX-License-Identifier: MIT

// Bytes are shared, never copied behind the caller's back, and freed with their last holder.

#include <troupe/base/shared_bytes.hpp>

#include "../support/catch.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using troupe::shared_bytes;

static_assert(std::is_nothrow_copy_constructible_v<shared_bytes>);
static_assert(std::is_nothrow_move_constructible_v<shared_bytes>);
static_assert(std::is_nothrow_default_constructible_v<shared_bytes>);

namespace {

const void* address_of(const shared_bytes& bytes) { return bytes.data(); }

}  // namespace

TEST_CASE("a long string that is moved in keeps its payload in place", "[shared_bytes]") {
  std::string text(1000, 'x');
  const void* const payload = text.data();
  const shared_bytes bytes(std::move(text));
  CHECK(address_of(bytes) == payload);
  CHECK(bytes.size() == 1000);
}

TEST_CASE("a short string survives being moved in", "[shared_bytes]") {
  shared_bytes bytes(std::string("short"));
  const shared_bytes moved = std::move(bytes);
  CHECK(moved.view() == "short");
  CHECK(bytes.empty());
  CHECK(bytes.view().empty());
}

TEST_CASE("a vector that is moved in keeps its payload in place", "[shared_bytes]") {
  std::vector<std::byte> source(10, std::byte{7});
  const void* const payload = source.data();
  const shared_bytes bytes(std::move(source));
  CHECK(address_of(bytes) == payload);
  CHECK(bytes.bytes().back() == std::byte{7});
}

TEST_CASE("what is not moved in is copied", "[shared_bytes]") {
  std::string text = "mutable";
  const shared_bytes bytes(text);
  text[0] = 'M';
  CHECK(bytes.view() == "mutable");
  const std::byte raw[] = {std::byte{1}, std::byte{2}};
  const shared_bytes copied{std::span<const std::byte>(raw)};
  CHECK(copied.size() == 2);
  CHECK(copied.data() != raw);
  CHECK(shared_bytes("literal").view() == "literal");
}

TEST_CASE("copies and slices share one payload", "[shared_bytes]") {
  shared_bytes slice;
  {
    const shared_bytes whole("0123456789");
    const shared_bytes copy = whole;
    CHECK(copy.data() == whole.data());
    slice = whole.slice(2, 5).slice(1);
    CHECK(address_of(slice) == whole.data() + 3);
  }
  CHECK(slice.view() == "3456");
  CHECK(slice.slice(4).empty());
  CHECK(slice.slice(4).data() == nullptr);
  CHECK(slice.slice(0, 0).empty());
}

TEST_CASE("equality looks at the bytes", "[shared_bytes]") {
  CHECK(shared_bytes("same") == shared_bytes(std::string("same")));
  CHECK(shared_bytes("same") != shared_bytes("size differs"));
  CHECK(shared_bytes() == shared_bytes(""));
}

TEST_CASE("adopted bytes are given back once, with the last holder", "[shared_bytes]") {
  static const char payload[] = "static";
  int released = 0;
  {
    shared_bytes bytes = shared_bytes::adopt(payload, 6, [&] { ++released; });
    CHECK(address_of(bytes) == payload);
    const shared_bytes part = bytes.slice(1, 2);
    bytes = {};
    CHECK(released == 0);
    CHECK(part.view() == "ta");
  }
  CHECK(released == 1);
}

TEST_CASE("empty adopted bytes are given back at once", "[shared_bytes]") {
  int released = 0;
  const shared_bytes bytes = shared_bytes::adopt("", 0, [&] { ++released; });
  CHECK(released == 1);
  CHECK(bytes.empty());
}

TEST_CASE("bytes can be walked and assigned to themselves", "[shared_bytes]") {
  shared_bytes bytes("abc");
  const shared_bytes& same = bytes;
  bytes = same;
  std::string seen;
  for (const std::byte b : bytes) seen += static_cast<char>(b);
  CHECK(seen == "abc");
}

TEST_CASE("threads may drop their shares in any order", "[shared_bytes]") {
  for (int round = 0; round != 200; ++round) {
    int released = 0;  // plain: the count must order its only write before the read below
    {
      shared_bytes bytes = shared_bytes::adopt("payload", 7, [&] { ++released; });
      std::thread other([mine = bytes]() mutable {
        const shared_bytes part = mine.slice(3);
        mine = {};
      });
      bytes = {};
      other.join();
    }
    REQUIRE(released == 1);
  }
}

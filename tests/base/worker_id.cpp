// SPDX-License-Identifier: MIT

// Ids are values: they compare, order, hash, and print without ambiguity.

#include <troupe/base/worker_id.hpp>

#include "../support/catch.hpp"

#include <string>
#include <type_traits>
#include <unordered_set>

using troupe::worker_id;

static_assert(!std::is_aggregate_v<worker_id>, "see the footgun about temporaries in co_await");

TEST_CASE("ids are equal when type and key are", "[worker_id]") {
  CHECK(worker_id("account", "alice") == worker_id("account", "alice"));
  CHECK(worker_id("account", "alice") != worker_id("account", "bob"));
  CHECK(worker_id("account", "alice") != worker_id("teller", "alice"));
}

TEST_CASE("ids are ordered by type first", "[worker_id]") {
  CHECK(worker_id("a", "z") < worker_id("b", "a"));
  CHECK(worker_id("a", "a") < worker_id("a", "b"));
}

TEST_CASE("an id prints as a constructor call", "[worker_id]") {
  CHECK(to_string(worker_id("account", "alice")) == "account(\"alice\")");
  CHECK(to_string(worker_id("account", "")) == "account(\"\")");
}

TEST_CASE("no key can forge the end of an id or of a line", "[worker_id]") {
  CHECK(to_string(worker_id("a", "x\") b(\"y")) == R"(a("x\") b(\"y"))");
  CHECK(to_string(worker_id("a", "back\\slash")) == R"(a("back\\slash"))");
  CHECK(to_string(worker_id("a", std::string("\n\x1b\x7f\0", 4))) == R"(a("\x0a\x1b\x7f\x00"))");
  CHECK(to_string(worker_id("a", "z\xc3\xbcrich")) == "a(\"z\xc3\xbcrich\")");
}

TEST_CASE("ids can be the keys of unordered containers", "[worker_id]") {
  std::unordered_set<worker_id> ids{{"a", "1"}, {"a", "2"}, {"b", "1"}, {"a", "1"}};
  CHECK(ids.size() == 3);
  CHECK(ids.count(worker_id("b", "1")) == 1);
  CHECK(hash_value(worker_id("ab", "c")) != hash_value(worker_id("a", "bc")));
}

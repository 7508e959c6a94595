// SPDX-License-Identifier: MIT

// Every code has its own message and its place in the table of what was executed; the exception
// keeps what it was given and can be copied while it is thrown.

#include <troupe/base/error.hpp>

#include "../support/catch.hpp"

#include <exception>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>

using troupe::errc;
using troupe::execution;

static_assert(std::is_error_code_enum_v<errc>);
static_assert(std::is_nothrow_copy_constructible_v<troupe::error>);
static_assert(std::is_nothrow_copy_assignable_v<troupe::error>);
static_assert(static_cast<int>(errc::mailbox_full) == 1, "0 would mean success");
static_assert(static_cast<int>(errc::result_lost) == 21);
static_assert(troupe::execution_of(errc::would_block) == execution::not_executed);
static_assert(troupe::execution_of(errc::timed_out) == execution::maybe_executed);
static_assert(troupe::execution_of(errc::network_reset) == execution::maybe_executed);
static_assert(troupe::execution_of(errc::result_lost) == execution::executed);

TEST_CASE("every code has a message of its own", "[error]") {
  std::set<std::string> messages;
  for (int value = 1; value <= 21; ++value) {
    messages.insert(make_error_code(static_cast<errc>(value)).message());
  }
  CHECK(messages.size() == 21);
  CHECK(messages.count("unknown error") == 0);
  CHECK(make_error_code(static_cast<errc>(22)).message() == "unknown error");
}

TEST_CASE("a retry is safe for exactly the codes of calls that did not start", "[error]") {
  for (int value = 1; value <= 21; ++value) {
    CAPTURE(value);
    CHECK(troupe::is_safe_to_retry(static_cast<errc>(value)) == (value <= 14));
  }
  CHECK_FALSE(troupe::is_safe_to_retry(static_cast<errc>(22)));
}

TEST_CASE("nothing is claimed about codes of other categories", "[error]") {
  CHECK_FALSE(troupe::is_safe_to_retry(std::error_code()));
  CHECK_FALSE(troupe::is_safe_to_retry(std::make_error_code(std::errc::timed_out)));
  CHECK_FALSE(troupe::is_safe_to_retry(std::error_code(1, std::generic_category())));
}

TEST_CASE("both ways of being cancelled are std::errc::operation_canceled", "[error]") {
  CHECK(make_error_code(errc::cancelled) == std::errc::operation_canceled);
  CHECK(make_error_code(errc::interrupted) == std::errc::operation_canceled);
  CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(errc::expired) != std::errc::timed_out);
  CHECK(make_error_code(errc::cancelled) != make_error_code(errc::interrupted));
}

TEST_CASE("a code of the enumeration compares with error codes directly", "[error]") {
  const std::error_code code = errc::refused;
  CHECK(code == errc::refused);
  CHECK(code.category() == troupe::error_category());
  CHECK(std::string(code.category().name()) == "troupe");
}

TEST_CASE("the text of an error is message, detail and worker", "[error]") {
  CHECK(std::string(troupe::error(errc::too_deep).what()) == "call chain too deep");
  CHECK(std::string(troupe::error(errc::refused, {"account", ""}).what()) ==
        "refused [account(\"\")]");
  CHECK(std::string(troupe::error(errc::timed_out, {}, "after 5 ms").what()) ==
        "timed out: after 5 ms");
  const troupe::error full(errc::deadlock, {"account", "alice"}, "a(\"x\") -> b(\"y\")");
  CHECK(std::string(full.what()) == "deadlock: a(\"x\") -> b(\"y\") [account(\"alice\")]");
}

TEST_CASE("an error keeps what it was made of through throw and copy", "[error]") {
  std::exception_ptr kept;
  try {
    throw troupe::error(errc::mailbox_full, {"account", "bob"}, "bound 1024");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::mailbox_full);
    kept = std::current_exception();
  }
  try {
    std::rethrow_exception(kept);
  } catch (const troupe::error& thrown) {
    const troupe::error copy = thrown;
    kept = nullptr;
    CHECK(copy.worker() == troupe::worker_id("account", "bob"));
    CHECK(copy.detail() == "bound 1024");
    troupe::error assigned(errc::refused);
    assigned = copy;
    CHECK(assigned.code() == errc::mailbox_full);
    CHECK(std::string(assigned.what()) == copy.what());
  }
}

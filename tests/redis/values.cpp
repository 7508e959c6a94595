// SPDX-License-Identifier: MIT
// What needs no server: options, the bytes of commands, the meaning of failures.

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <hiredis/hiredis.h>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_error.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/adapter/redis/redis_output.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>

namespace redis_values_tests {
namespace {

using troupe::errc;
using troupe::redis_options;
using troupe::detail::redis_command;

TEST_CASE("a URL names a Redis server", "[redis]") {
  const redis_options plain = redis_options::parse("redis://example.org");
  CHECK(plain.host == "example.org");
  CHECK(plain.port == 6379);
  CHECK(plain.database == 0);
  CHECK(plain.user.empty());
  CHECK(!plain.tls.enabled);

  const redis_options all = redis_options::parse("rediss://ann:s%3Ae%40%2fcret@[::1]:7000/12");
  CHECK(all.tls.enabled);
  CHECK(all.user == "ann");
  CHECK(all.password == "s:e@/cret");
  CHECK(all.host == "::1");
  CHECK(all.port == 7000);
  CHECK(all.database == 12);
  CHECK(all.url() == "rediss://ann@[::1]:7000/12");

  CHECK(redis_options::parse("redis://:pass@host/").password == "pass");
  CHECK(redis_options::parse("redis://host:1/").url() == "redis://host:1");
}

TEST_CASE("what is no URL of Redis is refused by name", "[redis]") {
  const std::pair<const char*, const char*> wrong[] = {
      {"", "begins with"},
      {"http://host", "begins with"},
      {"redis:host", "begins with"},
      {"redis://", "no host"},
      {"redis://:6379", "no host"},
      {"redis://host:0", "port is 0"},
      {"redis://host:65536", "the port"},
      {"redis://host:6379x", "the port"},
      {"redis://host:", "the port"},
      {"redis://host/x", "the database"},
      {"redis://host/-1", "the database"},
      {"redis://host/1?x=2", "'?'"},
      {"redis://user@host", "password"},
      {"redis://:secret%4@host", "percent"},
      {"redis://:secret%zz@host", "percent"},
      {"redis://[::1", "']'"},
      {"redis://[::1]6379", "a port"},
  };
  for (const auto& [url, why] : wrong) {
    INFO(url);
    try {
      static_cast<void>(redis_options::parse(url));
      FAIL("it was taken");
    } catch (const std::invalid_argument& e) {
      CHECK_THAT(e.what(), Catch::Contains(why));
      CHECK_THAT(e.what(), !Catch::Contains("secret"));
    }
  }
}

TEST_CASE("keys of a network have its name in braces", "[redis]") {
  redis_options o;
  o.name = "shop";
  CHECK(o.prefix() == "troupe:{shop}:");
}

std::string bytes_of(const redis_command& c) {
  std::string all;
  c.write([&](std::string_view text) { all += text; },
          [&](const troupe::shared_bytes& shared) { all += shared.view(); });
  return all;
}

TEST_CASE("a command is its arguments, whatever bytes they are", "[redis]") {
  CHECK(bytes_of(redis_command("PING")) == "*1\r\n$4\r\nPING\r\n");
  const std::string odd("\0\r\n\xff", 4);
  CHECK(bytes_of(redis_command("SET").add("").add(odd)) ==
        "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n" + odd + "\r\n");
  CHECK(bytes_of(redis_command("SET", -5, std::uint64_t{18446744073709551615u})) ==
        "*3\r\n$3\r\nSET\r\n$2\r\n-5\r\n$20\r\n18446744073709551615\r\n");
}

TEST_CASE("a large argument is not copied", "[redis]") {
  const troupe::shared_bytes large(std::string(100'000, 'x'));
  redis_command c("SET", "key");
  c.add(large).add("EX").add(5);
  const void* seen = nullptr;
  c.write([](std::string_view) {},
          [&](const troupe::shared_bytes& shared) { seen = shared.data(); });
  CHECK(seen == static_cast<const void*>(large.data()));
  CHECK(bytes_of(c) == "*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100000\r\n" + std::string(100'000, 'x') +
                           "\r\n$2\r\nEX\r\n$1\r\n5\r\n");
  CHECK(c.size() >= 100'000);

  std::string text(50'000, 'y');
  const char* const was = text.data();
  redis_command moved("SET", "key", std::move(text));
  moved.write([](std::string_view) {},
              [&](const troupe::shared_bytes& shared) { seen = shared.data(); });
  CHECK(seen == static_cast<const void*>(was));

  redis_command joined("PUBLISH", "c");
  joined.add_joined("head", large);
  CHECK(bytes_of(joined) ==
        "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$100004\r\nhead" + std::string(100'000, 'x') + "\r\n");
}

TEST_CASE("what goes out is gathered, and taken as far as it was written", "[redis]") {
  const auto step = GENERATE(as<std::size_t>{}, 1, 7, 4096, 1'000'000);
  troupe::detail::redis_output out;
  std::string expected;
  for (int i = 0; i != 300; ++i) {
    redis_command c("SET", i, std::string(i % 50 == 0 ? 20'000 : 100, 'v'));
    expected += bytes_of(c);
    out.add(c);
  }
  CHECK(out.size() == expected.size());
  std::string written;
  std::size_t most_parts = 0;
  while (!out.empty()) {
    std::string_view parts[16];
    const std::size_t count = out.look(parts, 16);
    most_parts = (std::max)(most_parts, count);
    std::size_t room = step;
    for (std::size_t i = 0; i != count && room != 0; ++i) {
      const std::string_view piece = parts[i].substr(0, room);
      written += piece;
      room -= piece.size();
    }
    out.written(step - room);
  }
  CHECK(written == expected);
  CHECK(most_parts > 1);
  CHECK(out.size() == 0);
}

TEST_CASE("the server's failures have codes that say whether it was done", "[redis]") {
  using troupe::detail::redis_code_of;
  CHECK(redis_code_of("NOAUTH Authentication required.") == errc::refused);
  CHECK(redis_code_of("WRONGPASS invalid username-password pair") == errc::refused);
  CHECK(redis_code_of("NOPERM this user has no permissions") == errc::refused);
  CHECK(redis_code_of("READONLY You can't write against a read only replica.") == errc::refused);
  CHECK(redis_code_of("LOADING Redis is loading the dataset in memory") == errc::refused);
  CHECK(redis_code_of("MISCONF Redis is configured to save RDB snapshots") == errc::refused);
  CHECK(redis_code_of("OOM command not allowed when used memory > 'maxmemory'.") ==
        errc::mailbox_full);
  CHECK(redis_code_of("NOSCRIPT No matching script.") == errc::no_such_method);
  CHECK(redis_code_of("ERR Function not found") == errc::no_such_method);
  CHECK(redis_code_of("ERR unknown command 'FOO', with args beginning with: ") ==
        errc::no_such_method);
  CHECK(redis_code_of("WRONGTYPE Operation against a key") == errc::bad_message);
  CHECK(redis_code_of("ERR wrong number of arguments for 'get' command") == errc::bad_message);
  CHECK(redis_code_of("ERR user_script:3: oh no script: f, on @user_script:3.") ==
        errc::interrupted);
  CHECK(redis_code_of("OOMPH") == errc::interrupted);
  CHECK(redis_code_of("") == errc::interrupted);
}

troupe::detail::redis_reply parsed(std::string_view text) {
  ::redisReader* const reader = ::redisReaderCreate();
  void* made = nullptr;
  REQUIRE(::redisReaderFeed(reader, text.data(), text.size()) == REDIS_OK);
  REQUIRE(::redisReaderGetReply(reader, &made) == REDIS_OK);
  ::redisReaderFree(reader);
  return troupe::detail::redis_reply(static_cast<::redisReply*>(made));
}

TEST_CASE("an answer is looked at as what it is", "[redis]") {
  using troupe::detail::redis_kind;
  CHECK(troupe::detail::redis_reply().is_null());
  CHECK(parsed("$-1\r\n").is_null());
  CHECK(parsed("*-1\r\n").is_null());
  CHECK(parsed("*-1\r\n").size() == 0);
  CHECK(parsed("+OK\r\n").text() == "OK");
  CHECK(parsed("$0\r\n\r\n").text().empty());
  CHECK(parsed(std::string_view("$3\r\n\0\xff\r\r\n", 9)).text() ==
        std::string_view("\0\xff\r", 3));
  CHECK(parsed(":-42\r\n").integer() == -42);
  const auto failed = parsed("-OOM no\r\n");
  CHECK(failed.is_failure());
  CHECK(failed.text() == "OOM no");
  const auto list = parsed("*3\r\n$1\r\na\r\n:5\r\n*2\r\n$-1\r\n+x\r\n");
  REQUIRE(list.kind() == redis_kind::list);
  REQUIRE(list.size() == 3);
  CHECK(list[0].text() == "a");
  CHECK(list[1].integer() == 5);
  CHECK(list[2][0].is_null());
  CHECK(list[2][1].text() == "x");
  std::size_t seen = 0;
  for (const troupe::detail::redis_view v : list) seen += v.is_null() ? 100 : 1;
  CHECK(seen == 3);
  try {
    static_cast<void>(list[1].text());
    FAIL("a number is no text");
  } catch (const troupe::error& e) {
    CHECK(e.code() == errc::bad_message);
    CHECK_THAT(e.what(), Catch::Contains("text was expected, a number has come"));
  }
  CHECK_THROWS_AS(list[3], troupe::error);
  CHECK_THROWS_AS(failed[0], troupe::error);
}

}  // namespace
}  // namespace redis_values_tests

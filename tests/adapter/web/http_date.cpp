// SPDX-License-Identifier: MIT
#include <troupe/adapter/web/http_date.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <ctime>
#include <string>

namespace http_date_tests {

using troupe::detail::from_http_date;
using troupe::detail::to_http_date;

TEST_CASE("times are written and read as HTTP has them") {
  CHECK(to_http_date(784'111'777) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(from_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784'111'777);
  CHECK(to_http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
  CHECK(to_http_date(951'782'400) == "Tue, 29 Feb 2000 00:00:00 GMT");
  CHECK(to_http_date(4'107'542'399) == "Sun, 28 Feb 2100 23:59:59 GMT");
  CHECK(to_http_date(-5) == to_http_date(0));
  CHECK(to_http_date(INT64_MAX) == "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST_CASE("they are those of the C library") {
  for (std::int64_t at = 0; at < 8'000'000'000; at += 12'345'679) {
    const auto seconds = static_cast<std::time_t>(at);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[64] = {};
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    REQUIRE(to_http_date(at) == text);
    REQUIRE(from_http_date(text) == at);
  }
}

TEST_CASE("what is no time is none") {
  for (const char* no : {"", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
                         "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
                         "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 32 Nov 1994 08:49:37 GMT",
                         "Sun, 06 Nox 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
                         "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
                         "Sun, 6  Nov 1994 08:49:37 GMT", "Sun, 06 Nov -994 08:49:37 GMT"}) {
    INFO(no);
    CHECK_FALSE(from_http_date(no).has_value());
  }
}

}  // namespace http_date_tests

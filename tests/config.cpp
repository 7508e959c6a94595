// SPDX-License-Identifier: MIT

// The assertion. That a broken one ends the program is shown in a child process, where the system
// can make one.

#undef TROUPE_ASSERTIONS
#define TROUPE_ASSERTIONS 1
#include <troupe/config.hpp>

#include "support/catch.hpp"

#if defined(__unix__)
#  include <sys/wait.h>
#  include <unistd.h>

#  include <csignal>
#  include <string>
#endif

static_assert(TROUPE_TSAN == 0 || TROUPE_TSAN == 1);
static_assert(TROUPE_ASAN == 0 || TROUPE_ASAN == 1);
static_assert(TROUPE_POOL_FRAMES == 0 || TROUPE_POOL_FRAMES == 1);

namespace {

struct nothing {};
struct holds_nothing {
  TROUPE_NO_UNIQUE_ADDRESS nothing empty;
  char one = 1;
};
static_assert(sizeof(holds_nothing) == 1);

constexpr int asserting(int x) {
  TROUPE_ASSERT(x > 0, "usable in constant expressions");
  return x;
}
static_assert(asserting(1) == 1);

}  // namespace

TEST_CASE("an assertion that holds evaluates its condition once", "[config]") {
  int evaluated = 0;
  TROUPE_ASSERT(++evaluated == 1, "holds");
  CHECK(evaluated == 1);
}

#if defined(__unix__)
TEST_CASE("a broken assertion names its place, condition and message, and aborts", "[config]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    ::dup2(ends[1], STDERR_FILENO);
    TROUPE_ASSERT(1 + 1 == 3, "arithmetic holds");
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(said.find("config.cpp:") != std::string::npos);
  CHECK(said.find("assertion `1 + 1 == 3` failed: arithmetic holds") != std::string::npos);
}
#endif

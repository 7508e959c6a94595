// SPDX-License-Identifier: MIT
// Searching seeds: what counts as a failure, what the result says, what the environment may ask.

#include <troupe/exec/sim_search.hpp>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__unix__)
#  include <sys/wait.h>
#  include <unistd.h>
#endif

#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>

#include "../support/captured_errors.hpp"
#include "../support/catch.hpp"
#include "../support/with_variable.hpp"

namespace sim_search_tests {
namespace {

using troupe::sim_executor;
using troupe::sim_search;
using troupe::task;

using troupe::test::with_variable;

std::vector<std::uint64_t> seeds_run(troupe::sim_search_options options) {
  std::vector<std::uint64_t> seeds;
  const auto found = sim_search(options, [&](sim_executor& sim) { seeds.push_back(sim.seed()); });
  REQUIRE_FALSE(found.found());
  REQUIRE(found.runs() == seeds.size());
  return seeds;
}

task<> throw_in_task(sim_executor& sim) {
  co_await troupe::yield();
  if (sim.seed() == 5) throw std::runtime_error("five");
}

}  // namespace

TEST_CASE("a search runs each seed once, in order", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  REQUIRE(seeds_run({.first = 7, .count = 3}) == std::vector<std::uint64_t>{7, 8, 9});
  REQUIRE(seeds_run({.first = 7, .count = 0}).empty());
}

TEST_CASE("a search stops at the first seed that fails, and says which", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  const auto check = [](const troupe::sim_search_result& found, const char* what) {
    REQUIRE(found.found());
    REQUIRE(found.seed() == 5);
    REQUIRE(found.runs() == 5);
    REQUIRE(found.what() == what);
    REQUIRE(found.replay().starts_with("TROUPE_SEED=5 "));
  };
  const troupe::sim_search_options quiet{.quiet = true};
  check(sim_search(quiet, &throw_in_task), "five");
  check(sim_search(quiet, [](sim_executor& sim) { return sim.seed() != 5; }),
        "the test gave false");
  check(sim_search(quiet, [](sim_executor& sim) { troupe::sim_expect(sim.seed() != 5, "not 5"); }),
        "not 5");
  check(sim_search(quiet,
                   [](sim_executor& sim) {
                     if (sim.seed() == 5) throw 5;
                   }),
        "an exception that is no std::exception (a failed assertion of a test framework?)");
}

#if defined(__unix__)
TEST_CASE("who searches reads which seed has failed, how, and how to run it again", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  const troupe::test::captured_errors said;
  const auto found = sim_search({}, &throw_in_task);
  REQUIRE(found.found());
  REQUIRE(said.text() == "troupe: seed 5 fails: five\nreplay: " + found.replay() + "\n");
}

TEST_CASE("a search that succeeds says nothing", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  const troupe::test::captured_errors said;
  REQUIRE_FALSE(sim_search({.count = 3}, [](sim_executor&) {}).found());
  REQUIRE(said.text().empty());
}

TEST_CASE("a program that aborts under a seed says first which", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  const troupe::test::captured_errors said;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // the test framework's handler would report it as its own
    static_cast<void>(sim_search({.quiet = true}, [](sim_executor& sim) {
      if (sim.seed() == 3) std::abort();
    }));
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
  CHECK(said.text().starts_with("troupe: aborted under a seed; replay: TROUPE_SEED=3 "));
}
#endif

TEST_CASE("an expectation counts also where nobody hears of it", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  const auto found = sim_search({.quiet = true}, [](sim_executor& sim) {
    try {
      troupe::sim_expect(sim.seed() != 3, "first");
      troupe::sim_expect(sim.seed() != 3, "second");
    } catch (const troupe::sim_failure&) {
    }
  });
  REQUIRE(found.seed() == 3);
  REQUIRE(found.what() == "first");
  REQUIRE_THROWS_WITH(found.rethrow(), "first");
}

TEST_CASE("an expectation that holds does nothing", "[exec][sim]") {
  REQUIRE_NOTHROW(troupe::sim_expect(true, "x"));
  REQUIRE_THROWS_AS(troupe::sim_expect(false, "x"), troupe::sim_failure);
}

TEST_CASE("for_each_seed throws what the seed threw", "[exec][sim]") {
  const with_variable one("TROUPE_SEED", "");
  const with_variable many("TROUPE_SEEDS", "");
  REQUIRE_THROWS_WITH(troupe::for_each_seed({.quiet = true}, &throw_in_task), "five");
  REQUIRE_NOTHROW(troupe::for_each_seed({.count = 4}, &throw_in_task));
}

TEST_CASE("the environment chooses the seeds", "[exec][sim]") {
  const with_variable neither("TROUPE_SEED", "");
  {
    const with_variable many("TROUPE_SEEDS", "2");
    REQUIRE(seeds_run({.first = 10, .count = 5}) == std::vector<std::uint64_t>{10, 11});
  }
  const with_variable many("TROUPE_SEEDS", "100+3");
  REQUIRE(seeds_run({.first = 10, .count = 5}) == std::vector<std::uint64_t>{100, 101, 102});
  const with_variable one("TROUPE_SEED", "42");
  REQUIRE(seeds_run({.first = 10, .count = 5}) == std::vector<std::uint64_t>{42});
}

TEST_CASE("a typing error in the environment is no search that has found nothing", "[exec][sim]") {
  for (const char* bad : {"x", "1x", "+", "1+", "-1", "1 2", "0", "7+0", "18446744073709551616"}) {
    CAPTURE(bad);
    const with_variable neither("TROUPE_SEED", "");
    const with_variable many("TROUPE_SEEDS", bad);
    REQUIRE_THROWS_AS(troupe::for_each_seed({}, [](sim_executor&) {}), std::invalid_argument);
  }
  const with_variable one("TROUPE_SEED", "0x11");
  REQUIRE_THROWS_AS(troupe::for_each_seed({}, [](sim_executor&) {}), std::invalid_argument);
}

TEST_CASE("a word is quoted for a shell where it must be", "[exec][sim]") {
  REQUIRE(troupe::detail::shell_word("./a-b.c=1") == "./a-b.c=1");
  REQUIRE(troupe::detail::shell_word("a b") == "'a b'");
  REQUIRE(troupe::detail::shell_word("it's") == "'it'\\''s'");
  REQUIRE(troupe::detail::shell_word("") == "''");
}

}  // namespace sim_search_tests

// SPDX-License-Identifier: MIT
// What the system says of memory, and what a host makes of it.

#include <troupe/function/available_memory.hpp>

#include <sys/resource.h>

#include <string>

#include <troupe/function.hpp>

#include "kit.hpp"

namespace available_memory_tests {

using namespace troupe::detail;

TEST_CASE("numbers and lines are read from the system's files") {
  CHECK(number_in("123\n") == 123u);
  CHECK(number_in("   77 kB") == 77u);
  CHECK(!number_in("max\n"));
  CHECK(!number_in(""));
  CHECK(!number_in("99999999999999999999999"));
  const std::string text = "MemTotal:       100 kB\nMemAvailable:    50 kB\n";
  CHECK(number_in(line_after(text, "MemAvailable:")) == 50u);
  CHECK(line_after(text, "Swap:").empty());
}

TEST_CASE("a control group leaves what its limit leaves") {
  const functions_kit::folder at;
  at.put("memory.max", "1000\n");
  at.put("memory.current", "300\n");
  const std::string folder = at / "";
  CHECK(left_in_group(folder, "memory.max", "memory.current") == 700);
  at.put("memory.current", "2000\n");
  CHECK(left_in_group(folder, "memory.max", "memory.current") == 0);
  at.put("memory.max", "max\n");
  CHECK(left_in_group(folder, "memory.max", "memory.current") == no_memory_limit);
}

TEST_CASE("a host has room for at least one, and for as many as it is told") {
  CHECK(available_memory() > 0);
  troupe::broker broker({.threads = 1});
  const troupe::function_host by_memory(broker, functions_kit::in_process());
  CHECK(by_memory.stats().max_workers >= 1);
  auto options = functions_kit::in_process();
  options.max_workers = 7;
  const troupe::function_host told(broker, options);
  CHECK(told.stats().max_workers == 7);
}

TEST_CASE("a host starts no more processes by itself than it has descriptors for") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const std::size_t used = troupe::detail::open_descriptors();
  troupe::broker broker({.threads = 1});
  rlimit less = before;
  less.rlim_cur = used + 100;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
  CHECK(troupe::detail::available_descriptors() <= 100);
  const troupe::function_host few(broker);
  CHECK(few.stats().max_workers >= 1);
  CHECK(few.stats().max_workers <= 16);
  less.rlim_cur = 1;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
  const troupe::function_host one(broker);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(one.stats().max_workers >= 1);
}

}  // namespace available_memory_tests

// SPDX-License-Identifier: MIT
// Typed calls of a module through a broker.

#include <troupe/function/library.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "kit.hpp"

namespace library_tests {

using namespace std::chrono_literals;
using functions_kit::error_of;
using functions_kit::is;
using functions_kit::module_path;

/// What the program knows of the module: declarations.
struct icalculator {
  double mean(double a, double b);
  double add(double a, double b);
  int count() const;
  std::string hello(std::string_view name);
  std::string who();
  std::vector<std::byte> echo(std::vector<std::byte> bytes);
  troupe::task<int> sleep(int milliseconds);
  int not_there();
};
}  // namespace library_tests

TROUPE_METHODS(library_tests::icalculator, mean, add, count, hello, who, echo, sleep, not_there)

namespace library_tests {
namespace {

troupe::library calculator(bool per_key = false) {
  troupe::module_options options;
  options.kept = troupe::isolation::in_process;
  options.per_key = per_key;
  return troupe::library(module_path("calculator-v1.0.0"), options);
}

}  // namespace

TEST_CASE("a module is called like a worker") {
  troupe::broker broker({.threads = 2});
  const auto calls = [](troupe::broker& b) -> troupe::task<> {
    auto alice = b.worker<icalculator>(calculator(), "alice");
    auto bob = b.worker<icalculator>(calculator(), "bob");
    const double d = co_await alice->mean(2, 3);
    CHECK(d == 2.5);
    const std::string text = co_await alice->hello("World");
    CHECK(text == "Hello World");
    const std::vector<std::byte> bytes(10, std::byte{7});
    const auto back = co_await alice->echo(bytes);
    CHECK(back == bytes);
    static_cast<void>(co_await alice.call<&icalculator::add>(1, 2));
    const int mine = co_await alice->count();
    const int others = co_await bob->count();
    CHECK(mine == 1);
    CHECK(others == 0);
    const troupe::error late = co_await error_of(alice->sleep(10'000).within(20ms));
    CHECK(is(late, troupe::errc::timed_out));
    const troupe::error none = co_await error_of(alice->not_there());
    CHECK(is(none, troupe::errc::no_such_method));
  };
  broker.run(calls(broker));
}

TEST_CASE("tenants may have instances of their own") {
  const std::size_t mapped = functions_kit::mapped_modules();
  {
    troupe::broker broker({.threads = 2});
    const auto calls = [](troupe::broker& b) -> troupe::task<> {
      for (const char* key : {"alice", "bob"}) {
        auto one = b.worker<icalculator>(calculator(true), key);
        static_cast<void>(co_await one->add(1, 2));
        const int count = co_await one->count();
        CHECK(count == 1);
      }
    };
    broker.run(calls(broker));
    CHECK(functions_kit::mapped_modules() >= 2 * (mapped + 1));
  }
  CHECK(functions_kit::mapped_modules() == mapped);
}

}  // namespace library_tests

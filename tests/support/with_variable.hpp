// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Variables of the environment, for tests of what reads them and for tests that must not.

#include <cstdlib>
#include <string>

namespace troupe::test {

/// Sets a variable of the environment while it stands. Not while other threads run.
class with_variable {
public:
  with_variable(const char* name, const char* value) : name_(name) {
    const char* const before = std::getenv(name);
    if (before != nullptr) before_ = before;
    was_set_ = before != nullptr;
    setenv(name, value, 1);
  }
  with_variable(const with_variable&) = delete;
  with_variable& operator=(const with_variable&) = delete;
  ~with_variable() {
    if (was_set_) {
      setenv(name_, before_.c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

private:
  const char* name_;
  std::string before_;
  bool was_set_ = false;
};

/// While it stands, a search runs the seeds that its test names, whatever the environment asks for:
/// where a test is about what a search finds in so many seeds.
class seeds_of_the_test {
  with_variable one_{"TROUPE_SEED", ""};
  with_variable many_{"TROUPE_SEEDS", ""};
};

}  // namespace troupe::test

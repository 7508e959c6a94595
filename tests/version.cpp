// SPDX-License-Identifier: MIT

// The version is spelled twice, as numbers and as a string: they must say the same.

#include <troupe/version.hpp>

#include "support/catch.hpp"

#include <string>

TEST_CASE("the version string is made of the version numbers", "[version]") {
  const std::string numbers = std::to_string(TROUPE_VERSION_MAJOR) + "." +
                              std::to_string(TROUPE_VERSION_MINOR) + "." +
                              std::to_string(TROUPE_VERSION_PATCH);
  CHECK(numbers == TROUPE_VERSION_STRING);
}

// SPDX-License-Identifier: MIT
#pragma once

// A script in a library, in versions that differ by a macro.

#include <stdexcept>
#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct add {
  troupe::task<int> run(int a, int b) {
    if (a < 0) throw std::domain_error("only what is not negative is added");
    if (b < 0) co_await troupe::sleep_for(std::chrono::hours(1));
    co_return a + b + ADD_MORE;
  }
};
TROUPE_METHODS(add, run)

// SPDX-License-Identifier: MIT
// A module: a class, the names of its functions, a version. Nothing else.

#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct calculator {
  double add(double a, double b) { return a + b; }
  double mean(double a, double b) { return (a + b) / 2; }
};
TROUPE_METHODS(calculator, add, mean)
TROUPE_MODULE(calculator, "v1.0.0");

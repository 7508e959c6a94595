// SPDX-License-Identifier: MIT
// The module of a user.
#include <troupe.hpp>
#include <troupe/function/module.hpp>

#include <unistd.h>

struct calculator {
  double mean(double a, double b) { return (a + b) / 2; }
  long process() { return ::getpid(); }
};
TROUPE_METHODS(calculator, mean, process)
TROUPE_MODULE(calculator, "v1.0.0");

// SPDX-License-Identifier: MIT
// The module that bench/function.cpp calls.

#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct bench_module {
  double add(double a, double b) { return a + b; }
};
TROUPE_METHODS(bench_module, add)
TROUPE_MODULE(bench_module, "v1.0.0");

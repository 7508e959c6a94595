// SPDX-License-Identifier: MIT
// The second version gets the mean wrong, so that one can tell.
#define CALCULATOR_DIVISOR 4
#include "calculator.hpp"

TROUPE_MODULE(calculator, "v2.0.0");

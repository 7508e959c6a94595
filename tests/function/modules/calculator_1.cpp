// SPDX-License-Identifier: MIT
#define CALCULATOR_DIVISOR 2
#include "calculator.hpp"

TROUPE_MODULE(calculator, "v1.0.0");

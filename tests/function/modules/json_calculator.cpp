// SPDX-License-Identifier: MIT
// The same as calculator, for payloads in JSON as well.

#define CALCULATOR_DIVISOR 2
#include <troupe/adapter/json/json.hpp>

#include "calculator.hpp"

TROUPE_MODULE(calculator, "v3.0.0");

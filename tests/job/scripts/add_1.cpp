// SPDX-License-Identifier: MIT
#define ADD_MORE 0
#include "add.hpp"

TROUPE_MODULE(add, "1");

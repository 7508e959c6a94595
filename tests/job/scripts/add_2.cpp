// SPDX-License-Identifier: MIT
#define ADD_MORE 100
#include "add.hpp"

TROUPE_MODULE(add, "2");

// SPDX-License-Identifier: MIT
// The counting `operator new` of the tests of coroutines, in this program too.

#include "../coro/allocation_count.cpp"

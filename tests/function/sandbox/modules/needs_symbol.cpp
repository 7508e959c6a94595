// SPDX-License-Identifier: MIT
// A library that needs a function which is nowhere.

extern "C" int nowhere_to_be_found();
extern "C" [[gnu::visibility("default")]] int answer() { return nowhere_to_be_found(); }

// SPDX-License-Identifier: MIT
// A shared library, but no module.

extern "C" [[gnu::visibility("default")]] int answer() { return 42; }

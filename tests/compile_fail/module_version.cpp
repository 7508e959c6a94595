// SPDX-License-Identifier: MIT
// expect: troupe: the version in TROUPE_MODULE is not the one that the build was told
#ifdef CORRECT
#  define TROUPE_MODULE_VERSION "v1.0.0"
#else
#  define TROUPE_MODULE_VERSION "v1.0.1"
#endif
#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct target {
  int get() { return 1; }
};
TROUPE_METHODS(target, get)
TROUPE_MODULE(target, "v1.0.0");

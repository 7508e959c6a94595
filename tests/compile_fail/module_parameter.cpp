// SPDX-License-Identifier: MIT
// expect: troupe: a parameter of a method that is listed for a module cannot be decoded
#include <memory>
#include <troupe.hpp>
#include <troupe/function/module.hpp>

#ifdef CORRECT
using argument = int;
#else
using argument = std::unique_ptr<int>;
#endif

struct target {
  int get(argument) { return 1; }
};
TROUPE_METHODS(target, get)
TROUPE_MODULE(target, "v1.0.0");

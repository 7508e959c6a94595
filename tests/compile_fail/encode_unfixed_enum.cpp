// SPDX-License-Identifier: MIT
// expect: troupe: an enumeration without a fixed underlying type cannot be encoded
// A value that its enumerators do not span would be undefined behaviour.
#include <troupe.hpp>

#ifdef CORRECT
enum color : int { red, blue };
#else
enum color { red, blue };
#endif

auto f() { return troupe::encode(red); }

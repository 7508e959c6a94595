// SPDX-License-Identifier: MIT
// expect: troupe: a type without a default constructor cannot be decoded
// Fields are read into an object that is there.
#include <troupe.hpp>

struct id {
  explicit id(int n) : number(n) {}
#ifdef CORRECT
  id() = default;
#endif
  int number = 0;
};
TROUPE_FIELDS(id, number)

auto f(std::span<const std::byte> message) { return troupe::decode<std::vector<id>>(message); }

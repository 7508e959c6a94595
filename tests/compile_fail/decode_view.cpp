// SPDX-License-Identifier: MIT
// expect: troupe: a view cannot be decoded
// Nothing would own what it shows.
#include <troupe.hpp>

struct greeting {
#ifdef CORRECT
  std::string text;
#else
  std::string_view text;
#endif
};

auto f(std::span<const std::byte> message) { return troupe::decode<greeting>(message); }

// SPDX-License-Identifier: MIT
// expect: troupe: a smart pointer cannot be encoded
// Within a map within an aggregate: the sentence is about the part at fault.
#include <troupe.hpp>

struct tenants {
#ifdef CORRECT
  std::map<std::string, std::optional<int>> all;
#else
  std::map<std::string, std::unique_ptr<int>> all;
#endif
};

auto f(const tenants& t) { return troupe::encode(t); }

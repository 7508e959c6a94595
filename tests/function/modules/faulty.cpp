// SPDX-License-Identifier: MIT
// A class that cannot be made.

#include <stdexcept>
#include <troupe.hpp>
#include <troupe/function/module.hpp>

namespace shop {

struct faulty {
  faulty() { throw std::runtime_error("the stock is empty"); }
  int value() { return 1; }
};

}  // namespace shop

TROUPE_METHODS(shop::faulty, value)
TROUPE_MODULE(shop::faulty, "v1.0.0");

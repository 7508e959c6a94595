// SPDX-License-Identifier: MIT
// Leaves a destructor to the threads that it runs on.

#include <string>
#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct lingering {
  int length() {
    static thread_local std::string text(100, 'x');
    return static_cast<int>(text.size());
  }
};
TROUPE_METHODS(lingering, length)
TROUPE_MODULE(lingering, "v1.0.0");

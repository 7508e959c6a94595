// SPDX-License-Identifier: MIT
// A module whose static constructor crashes.

namespace {

struct dies {
  dies() {
    volatile int* volatile nowhere = nullptr;
    *nowhere = 1;
  }
} constructed;

}  // namespace

// SPDX-License-Identifier: MIT
// A module whose static constructor never returns.

#include "raw_module.hpp"

namespace {

struct hangs {
  hangs() {
    volatile bool for_ever = true;
    while (for_ever) {
    }
  }
} constructed;

}  // namespace

namespace raw {
const std::vector<entry> functions = {};
void on_stop(std::uint64_t) {}
void on_wake() {}
void on_create() {}
void on_close(void (*ended)(void*), void* context) { ended(context); }
}  // namespace raw

TROUPE_RAW_MODULE("hangs")

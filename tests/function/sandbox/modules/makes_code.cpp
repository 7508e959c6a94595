// SPDX-License-Identifier: MIT
// A module whose static constructor makes pages of code while libraries are still being mapped.
// Dies of each that it gets.

#include <cstdlib>

#include <sys/mman.h>

namespace {

struct makes_code {
  makes_code() {
    constexpr int memory = MAP_PRIVATE | MAP_ANONYMOUS;
    if (mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, memory, -1, 0) != MAP_FAILED) {
      std::_Exit(1);
    }
    if (mmap(nullptr, 4096, PROT_READ | PROT_EXEC, memory, -1, 0) != MAP_FAILED) std::_Exit(2);
    void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, memory, -1, 0);
    if (page == MAP_FAILED) std::_Exit(3);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0) std::_Exit(4);
  }
} constructed;

}  // namespace

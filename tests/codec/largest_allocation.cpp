// SPDX-License-Identifier: MIT
// Replaces the global `operator new` of this program by one that remembers the largest request. In
// a file of its own: where a compiler sees both sides, it warns about one without the other.

#include "largest_allocation.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

#include <troupe/config.hpp>

std::size_t& troupe::test::largest_allocation() noexcept {
  static std::size_t largest = 0;  // the tests of the codec have one thread
  return largest;
}

#if !TROUPE_ASAN && !TROUPE_TSAN

[[gnu::noinline]] void* operator new(std::size_t size) {
  std::size_t& largest = troupe::test::largest_allocation();
  if (size > largest) largest = size;
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

#endif

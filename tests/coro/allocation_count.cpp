// SPDX-License-Identifier: MIT
// Replaces the global `operator new` of this program by one that counts. In a file of its own:
// where a compiler sees both sides, it warns about one without the other.

#include "allocation_count.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include <troupe/config.hpp>

namespace {

std::atomic<long> count{0};
thread_local int countdown = -1;
thread_local bool has_failed = false;

}  // namespace

long troupe::test::allocations() noexcept { return count.load(std::memory_order_relaxed); }

bool troupe::test::allocations_can_fail() noexcept { return !TROUPE_ASAN && !TROUPE_TSAN; }
void troupe::test::fail_allocation(int after) noexcept {
  countdown = after;
  has_failed = false;
}
bool troupe::test::allocation_has_failed() noexcept { return has_failed; }

#if !TROUPE_ASAN && !TROUPE_TSAN

[[gnu::noinline]] void* operator new(std::size_t size) {
  count.fetch_add(1, std::memory_order_relaxed);
  if (countdown >= 0 && countdown-- == 0) {
    has_failed = true;
    throw std::bad_alloc();
  }
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

#endif

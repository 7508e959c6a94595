// SPDX-License-Identifier: MIT
// Replaces the global `operator new` of this program by one that counts bytes. In a file of its
// own: where a compiler sees both sides, it warns about one without the other.

#include "heap.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include <troupe/config.hpp>

#if defined(__GLIBC__) && !TROUPE_ASAN && !TROUPE_TSAN

#  include <malloc.h>

namespace {

std::atomic<long> in_use{0};
std::atomic<long> asked_for{0};
std::atomic<std::size_t> size_to_call_for{0};
std::atomic<void (*)(std::size_t)> to_call{nullptr};

void call_for(std::size_t size) {
  void (*const c)(std::size_t) = to_call.load();
  if (c != nullptr && size >= size_to_call_for.load()) c(size);
}

void* count(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  asked_for.fetch_add(1, std::memory_order_relaxed);
  in_use.fetch_add(static_cast<long>(malloc_usable_size(memory)), std::memory_order_relaxed);
  return memory;
}
void give_back(void* memory) noexcept {
  if (memory == nullptr) return;
  in_use.fetch_sub(static_cast<long>(malloc_usable_size(memory)), std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

bool troupe::test::counts_bytes() noexcept { return true; }
long troupe::test::bytes_in_use() noexcept { return in_use.load(std::memory_order_relaxed); }
long troupe::test::allocations() noexcept { return asked_for.load(std::memory_order_relaxed); }
void troupe::test::when_asked_for(std::size_t size, void (*c)(std::size_t)) noexcept {
  size_to_call_for.store(size);
  to_call.store(c);
}
long troupe::test::smallest_block() noexcept {
  void* const memory = std::malloc(1);
  const auto size = static_cast<long>(malloc_usable_size(memory));
  std::free(memory);
  return size;
}

void* operator new(std::size_t size) {
  call_for(size);
  return count(std::malloc(size != 0 ? size : 1));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  call_for(size);
  const auto to = static_cast<std::size_t>(alignment);
  return count(std::aligned_alloc(to, (size + to - 1) / to * to));
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }

#else

bool troupe::test::counts_bytes() noexcept { return false; }
long troupe::test::bytes_in_use() noexcept { return 0; }
long troupe::test::allocations() noexcept { return 0; }
void troupe::test::when_asked_for(std::size_t, void (*)(std::size_t)) noexcept {}
long troupe::test::smallest_block() noexcept { return 0; }

#endif

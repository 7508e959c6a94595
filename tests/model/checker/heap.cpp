// SPDX-License-Identifier: MIT
// Replaces the allocation functions of the program.

#include <model/checker/heap.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace troupe::model::heap {

bool in_use = false;

namespace {

constexpr std::size_t capacity = std::size_t{16} << 20;
constexpr unsigned char poison = 0xdd;

alignas(64) char memory[capacity];
std::size_t used = 0;

/// In front of each block.
struct alignas(std::max_align_t) header {
  std::size_t size;
};

void* take(std::size_t size, std::size_t alignment) {
  if (!in_use) {
    void* const p =
        alignment > alignof(std::max_align_t)
            ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
            : std::malloc(size != 0 ? size : 1);
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }
  if (alignment < alignof(header)) alignment = alignof(header);
  const std::size_t at = (used + sizeof(header) + alignment - 1) / alignment * alignment;
  if (at + size > capacity) {
    std::fputs("model: an execution allocates too much\n", stderr);
    std::abort();
  }
  used = at + size;
  ::new (memory + at - sizeof(header)) header{size};
  return memory + at;
}

void give_back(void* p) noexcept {
  if (p == nullptr) return;
  if (!holds(p)) return std::free(p);
  const auto* const h = reinterpret_cast<const header*>(static_cast<char*>(p) - sizeof(header));
  std::memset(p, poison, h->size);
}

}  // namespace

void clear() noexcept { used = 0; }

bool holds(const void* address) noexcept {
  const char* const at = static_cast<const char*>(address);
  return at >= memory && at < memory + capacity;
}

bool deleted(const void* address) noexcept {
  return holds(address) && *static_cast<const unsigned char*>(address) == poison;
}

}  // namespace troupe::model::heap

using troupe::model::heap::give_back;
using troupe::model::heap::take;

void* operator new(std::size_t size) { return take(size, 1); }
void* operator new[](std::size_t size) { return take(size, 1); }
void* operator new(std::size_t size, std::align_val_t a) {
  return take(size, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t size, std::align_val_t a) {
  return take(size, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { give_back(p); }
void operator delete[](void* p) noexcept { give_back(p); }
void operator delete(void* p, std::size_t) noexcept { give_back(p); }
void operator delete[](void* p, std::size_t) noexcept { give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete[](void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { give_back(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { give_back(p); }

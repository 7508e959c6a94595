// SPDX-License-Identifier: MIT

// What does it cost to encode and decode, beside a bare copy of the same bytes?

#include "support/measure.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>

namespace {

long allocations = 0;  // of the one thread there is

/// Keeps the compiler from dropping what nobody reads.
void use(const void* memory) { asm volatile("" : : "g"(memory) : "memory"); }

struct request {
  std::uint64_t id = 0;
  std::string name;
  std::int32_t amount = 0;
  std::optional<double> rate;
  std::vector<std::int32_t> lines;
};

template <class F>
double count_allocations(F f) {
  const long before = allocations;
  f();
  return static_cast<double>(allocations - before);
}

/// A copy of the message into memory that is there.
double copy_cost(const std::vector<std::byte>& message, std::size_t n) {
  std::vector<std::byte> to(message.size());
  return bench::ns_per_op(n, [&](std::size_t times) {
    for (std::size_t i = 0; i != times; ++i) {
      use(message.data());
      std::memcpy(to.data(), message.data(), message.size());
      use(to.data());
    }
  });
}

template <class T>
void measure(const char* what, const T& value, std::size_t n) {
  const auto message = troupe::encode(value);
  const double copy = copy_cost(message, n);
  std::printf("%s: %zu bytes, memcpy %.1f ns\n", what, message.size(), copy);

  const auto encode_anew = [&] { use(troupe::encode(value).data()); };
  std::vector<std::byte> buffer;
  const auto encode_into = [&] {
    buffer.clear();
    troupe::encode(value, buffer);
    use(buffer.data());
  };
  const auto decode = [&] {
    const auto read = troupe::decode<T>(message);
    use(&*read);
  };
  const auto report = [&](const char* name, auto f) {
    f();
    const double ns = bench::ns_per_op(n, [&](std::size_t times) {
      for (std::size_t i = 0; i != times; ++i) f();
    });
    bench::row(name, ns, copy, "memcpy");
    std::printf("%-58s %10.0f allocations\n", "", count_allocations(f));
  };
  report("  encode", encode_anew);
  report("  encode into a buffer that is there", encode_into);
  report("  decode", decode);
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main() {
  measure("a small aggregate", request{123456789, "alice", -5, 0.25, {1, 2, 300}}, 200'000);
  measure("1 MB of strings of 100 bytes", std::vector<std::string>(10'000, std::string(100, 'x')),
          50);
  measure("1 MB in one string", std::string(1'000'000, 'x'), 200);
}

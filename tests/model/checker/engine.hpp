// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the replacements of atomics, of blocking and of plain variables ask of the checker.
///
/// Everything here is called by the virtual thread that runs; outside of an execution the functions
/// act as if there were one thread only.

#include <atomic>
#include <cstdint>
#include <source_location>

namespace troupe::model {

using place = std::source_location;

/// The checker's part of an object that it watches: which record it has in which execution.
struct tag {
  static constexpr std::uint32_t destroyed = 0xffffffff;

  std::uint32_t record = 0;
  std::uint32_t execution = 0;  // 0: none so far; `destroyed`: its destructor has run
};

/// An atomic object without its type.
struct word {
  tag& known;
  void* bytes;  // its value, the newest in modification order
  std::uint32_t size;
};

enum class change : std::uint8_t { exchange, add, subtract, bit_or, bit_and };

void construct(word w) noexcept;
void destroy(word w) noexcept;
std::uint64_t load(word w, std::memory_order order, const place& at) noexcept;
void store(word w, std::uint64_t value, std::memory_order order, const place& at) noexcept;
std::uint64_t modify(word w, change how, std::uint64_t operand, std::memory_order order,
                     const place& at) noexcept;
bool compare_exchange(word w, std::uint64_t& expected, std::uint64_t desired,
                      std::memory_order success, std::memory_order failure, bool weak,
                      const place& at) noexcept;

/// Blocks while the word holds `expected`. False: its time limit passed.
bool wait(word w, std::uint64_t expected, bool limited, const place& at) noexcept;
void wake(const void* bytes, bool all, const place& at) noexcept;

/// A plain variable is read or written: a failure unless that is ordered with all that conflicts.
void read_plain(tag& known, const void* object, const place& at) noexcept;
void write_plain(tag& known, const void* object, const place& at) noexcept;
void destroy_plain(tag& known, const void* object) noexcept;

}  // namespace troupe::model

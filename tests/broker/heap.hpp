// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much memory this test program has from `operator new`.

#include <cstddef>

namespace troupe::test {

/// False where a sanitizer has its own heap: then nothing is counted.
bool counts_bytes() noexcept;
/// Bytes in blocks that are in use, as the heap rounds them.
long bytes_in_use() noexcept;
/// Blocks that were ever asked for.
long allocations() noexcept;
/// Called by who asks for a block of at least `size` bytes, with that size,
/// before it is there; nullptr: nothing is.
void when_asked_for(std::size_t size, void (*call)(std::size_t)) noexcept;
/// What the heap gives for one byte.
long smallest_block() noexcept;

}  // namespace troupe::test

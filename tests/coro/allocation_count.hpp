// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How often this program has called `operator new`.

namespace troupe::test {

/// Calls so far, on all threads. Always zero under the sanitizers that bring their own.
long allocations() noexcept;

/// Whether `fail_allocation` does anything: not under those sanitizers.
bool allocations_can_fail() noexcept;
/// The one after the next `after` on this thread throws `std::bad_alloc`; negative: none does.
void fail_allocation(int after) noexcept;
/// One was to fail and has.
bool allocation_has_failed() noexcept;

}  // namespace troupe::test

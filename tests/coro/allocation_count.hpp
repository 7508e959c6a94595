// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How often this program has called `operator new`.

namespace troupe::test {

/// Calls so far, on all threads. Always zero under the sanitizers that bring their own.
long allocations() noexcept;

}  // namespace troupe::test

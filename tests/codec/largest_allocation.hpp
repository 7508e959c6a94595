// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much this program has asked of `operator new` at once.

#include <cstddef>

namespace troupe::test {

/// The largest request since it was last set to 0; 0 under the sanitizers that bring their own.
std::size_t& largest_allocation() noexcept;

}  // namespace troupe::test

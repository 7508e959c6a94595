// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A copy of what a spin lock guards, without allocating under it.
///
/// Layer: sync.

#include <cstddef>
#include <vector>

#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// What `fill(std::vector<T>&)` puts in, under `lock`, where `size()` says how much that will be.
template <class T, class Size, class Fill>
std::vector<T> gathered(spin_lock& lock, Size size, Fill fill) {
  std::vector<T> all;
  for (;;) {
    std::size_t needed = 0;
    {
      const spin_guard guard(lock);
      needed = size();
      if (all.capacity() >= needed) {
        fill(all);
        return all;
      }
    }
    all.reserve(needed);
  }
}

}  // namespace troupe::detail

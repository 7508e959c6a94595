// SPDX-License-Identifier: MIT

// The alias is std::atomic unless somebody replaces it, and the short orders are the long ones.

#include <troupe/sync/atomic.hpp>

#include "../support/catch.hpp"

#include <atomic>
#include <type_traits>

namespace order = troupe::detail::order;

static_assert(std::is_same_v<troupe::detail::atomic<int>, std::atomic<int>>);
static_assert(order::relaxed == std::memory_order_relaxed);
static_assert(order::acquire == std::memory_order_acquire);
static_assert(order::release == std::memory_order_release);
static_assert(order::acq_rel == std::memory_order_acq_rel);
static_assert(order::seq_cst == std::memory_order_seq_cst);

TEST_CASE("the alias works as an atomic", "[atomic]") {
  troupe::detail::atomic<int> word{1};
  CHECK(word.exchange(2, order::acq_rel) == 1);
  CHECK(word.load(order::relaxed) == 2);
}

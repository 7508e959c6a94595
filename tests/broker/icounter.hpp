// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// An interface and its methods: all that its callers know. Who implements it is said in
/// counter_provided.cpp, and nowhere else.

#include <troupe.hpp>

namespace troupe::test {

class icounter {
public:
  virtual ~icounter() = default;
  virtual int add(int amount) = 0;
  virtual task<int> add_later(int amount) = 0;
};

/// Says who implements it.
void provide_counter(broker& b);

/// How many of those are there.
int living_counters();

}  // namespace troupe::test

TROUPE_METHODS(troupe::test::icounter, add, add_later)

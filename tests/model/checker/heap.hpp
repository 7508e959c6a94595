// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The heap of one execution: what `new` gives while a virtual thread runs the code under test.
///
/// Memory is never used twice in one execution, and is overwritten when it is deleted, so that a
/// use after free is met; all of it is free again after the execution, also one that was left in
/// the middle.

namespace troupe::model::heap {

/// Whether `new` takes from it; the checker's own allocations do not.
extern bool in_use;

void clear() noexcept;
bool holds(const void* address) noexcept;
/// True if that part of it was given out and has not been deleted since.
bool deleted(const void* address) noexcept;

/// The checker at work: what it allocates outlives the execution.
class outside {
public:
  outside() noexcept : before_(in_use) { in_use = false; }
  outside(const outside&) = delete;
  outside& operator=(const outside&) = delete;
  ~outside() { in_use = before_; }

private:
  bool before_;
};

}  // namespace troupe::model::heap

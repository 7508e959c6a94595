// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Runs something at the end of a block, however the block is left.
///
/// Layer: base. Allocates nothing.

#include <type_traits>
#include <utility>

namespace troupe {

/// Calls its function when destroyed, unless `release` was called.
///
/// Always a named variable: GCC 12 destroys a capturing lambda that is a temporary inside a
/// `co_await` expression twice. The function must not throw.
template <class F>
class [[nodiscard("the function runs at the end of the full expression")]] scope_exit {
public:
  explicit scope_exit(F function) noexcept(std::is_nothrow_move_constructible_v<F>)
      : function_(std::move(function)) {}
  scope_exit(const scope_exit&) = delete;
  scope_exit& operator=(const scope_exit&) = delete;

  ~scope_exit() {
    if (armed_) function_();
  }

  /// Gives the promise up: nothing runs.
  void release() noexcept { armed_ = false; }

private:
  F function_;
  bool armed_ = true;
};

template <class F>
scope_exit(F) -> scope_exit<F>;

}  // namespace troupe

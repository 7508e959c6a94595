// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Starts a thread that runs a member function.
///
/// Layer: coro. One instantiation of `std::thread`'s constructor serves all: it is not cheap to
/// compile.

#include <thread>

namespace troupe::detail {

/// A thread that calls `(static_cast<T*>(self)->*Run)()`. Throws `std::system_error`.
template <auto Run, class T>
std::thread start_thread(T& self) {
  void (*const run)(void*) noexcept = [](void* s) noexcept { (static_cast<T*>(s)->*Run)(); };
  return std::thread(run, static_cast<void*>(&self));
}

}  // namespace troupe::detail

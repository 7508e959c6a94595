// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sandbox_options`: how modules are kept in processes.
///
/// Layer: function. A value.

#include <chrono>
#include <string>

#include <troupe/function/sandbox/level.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How modules are kept in processes.
struct sandbox_options {
  /// The program that forks the children; empty: this program, if its `main` begins with
  /// `troupe::sandbox_main`, else `troupe-function` beside it.
  std::string helper{};

  /// No module runs where the kernel does not give all of this. `sandbox_level::process()` is for
  /// modules of one's own on kernels without filters: they have the user and the files of the host.
  sandbox_level require = sandbox_level::confined();

  /// For the start of a module, its static constructors and its own among it.
  duration start_limit = std::chrono::seconds(10);
};

}  // namespace troupe

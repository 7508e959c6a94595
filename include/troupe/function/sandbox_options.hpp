// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sandbox_options`: how modules are kept in processes.
///
/// Layer: function. A value.

#include <chrono>
#include <cstddef>
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

  /// Bytes of a reply, at most; its call ends as `errc::too_large` otherwise. A process may have
  /// 1024 calls in flight, and each reply is memory of the host until its caller has it.
  std::size_t largest_reply = std::size_t{32} << 20;

  /// For the start of a module, its static constructors and its own among it.
  duration start_limit = std::chrono::seconds(10);
};

}  // namespace troupe

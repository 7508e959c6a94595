// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The job of `redis_job_machine`.

#include <cstdint>
#include <string_view>

#include <troupe.hpp>
#include <troupe/job.hpp>

namespace redis_tests {

struct mark {
  static constexpr std::string_view name = "mark";
  struct params {
    std::uint64_t number = 0;
    std::uint64_t micros = 0;  // how long it takes
  };
  using result = std::uint64_t;
  troupe::task<result> operator()(params p, troupe::job_context& ctx);

  /// What it gives for a number.
  static std::uint64_t result_of(std::uint64_t number) { return number * 2654435761 + 1; }
};

}  // namespace redis_tests

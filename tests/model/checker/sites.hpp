// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The atomic operations that stand in the code under test, found by where they stand.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <model/checker/checker.hpp>

namespace troupe::model {

/// `troupe/sync/parker.hpp` for any path that ends in it; else the file's own name.
std::string short_name(std::string_view path);
std::string hex(std::uint64_t value);

class site_table {
public:
  /// The number of the operation; noted as met.
  std::uint32_t find(const place& at, const char* operation, std::memory_order order,
                     std::memory_order failure, bool is_load, bool is_store);

  const std::vector<site>& all() const noexcept { return sites_; }

  /// Forgets what was met, and tells what has been since.
  void forget() noexcept { met_.assign(met_.size(), false); }
  bool met(std::uint32_t index) const noexcept { return met_[index]; }

private:
  struct slot {
    const char* file = nullptr;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::uint32_t index = 0;
  };

  std::uint32_t add(const place& at, const char* operation, std::memory_order order,
                    std::memory_order failure, bool is_load, bool is_store);

  // A power of two, many times as large as there are operations in the library.
  static constexpr std::size_t slot_count = 4096;

  std::vector<slot> slots_ = std::vector<slot>(slot_count);
  std::vector<site> sites_;
  std::vector<bool> met_;
};

}  // namespace troupe::model

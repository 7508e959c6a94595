// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How many bytes a value will take, so that its message is allocated once.
///
/// Layer: codec. A guess for the allocator: nothing is written by it, so it may be wrong.

#include <troupe/codec/nesting.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// Takes what a `byte_writer` takes, and counts.
class byte_counter : public write_depth {
public:
  using write_depth::write_depth;

  void put(std::byte) noexcept { ++size_; }
  void put_varint(std::uint64_t value) noexcept {
    size_ += static_cast<std::size_t>(std::bit_width(value | 1) + 6) / 7;
  }
  void put_bytes(const void*, std::size_t size) noexcept { size_ += size; }
  void skip(std::size_t size) noexcept { size_ += size; }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
  std::size_t size_ = 0;
};

}  // namespace troupe::detail

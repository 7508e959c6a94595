// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Writes the primitives of the binary form at the end of a vector.
///
/// Layer: codec. Not safe for several threads; allocates only by growing the vector.

#include <troupe/codec/nesting.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace troupe::detail {

/// Seven bits in a byte, the lowest first; the eighth says that more follow.
inline constexpr std::size_t max_varint_size = 10;
inline constexpr std::uint64_t varint_mask = 0x7f;
inline constexpr std::uint64_t varint_more = 0x80;

class byte_writer : public write_depth {
public:
  byte_writer(std::vector<std::byte>& out, std::size_t depth) noexcept
      : write_depth(depth), out_(out) {}

  void put(std::byte one) {
    if (used_ == staged_.size()) flush();
    staged_[used_++] = one;
  }

  void put_varint(std::uint64_t value) {
    if (staged_.size() - used_ < max_varint_size) flush();
    for (; value > varint_mask; value >>= 7) {
      staged_[used_++] = static_cast<std::byte>((value & varint_mask) | varint_more);
    }
    staged_[used_++] = static_cast<std::byte>(value);
  }

  void put_bytes(const void* from, std::size_t size) {
    if (size == 0) return;
    // The first comparison is for GCC 12, which takes the second for one that can wrap round.
    if (size > staged_.size() || size > staged_.size() - used_) return put_directly(from, size);
    std::memcpy(staged_.data() + used_, from, size);
    used_ += size;
  }

  /// To be called at the end, or the last bytes are missing.
  void flush() {
    out_.insert(out_.end(), staged_.data(), staged_.data() + used_);
    used_ = 0;
  }

private:
  void put_directly(const void* from, std::size_t size) {
    flush();
    const auto* const bytes = static_cast<const std::byte*>(from);
    out_.insert(out_.end(), bytes, bytes + size);
  }

  std::vector<std::byte>& out_;
  std::size_t used_ = 0;
  // Many small appends to a vector cost more than one: bytes gather here first. Not initialised:
  // only what was written is read.
  std::array<std::byte, 256> staged_;
};

}  // namespace troupe::detail

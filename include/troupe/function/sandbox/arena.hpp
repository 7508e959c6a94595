// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which parts of a stretch of memory are in use. Knows only numbers: what is shared with another
/// process holds payloads, and nothing that whoever hands the parts out relies on.
///
/// Layer: function. Allocates in its constructor alone.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <troupe/config.hpp>

namespace troupe::detail::sandbox {

/// Hands out blocks, the lowest that fits first, so that pages that were touched are used again.
///
/// Thread safety: none; one user at a time.
class arena {
public:
  static constexpr std::uint64_t grain = cache_line_size;

  /// At most `blocks` blocks at a time, out of `size` bytes.
  arena(std::uint64_t size, std::size_t blocks) : size_(size) { used_.reserve(blocks); }

  /// The offset of a block of `size` bytes; nothing: there is no room now.
  std::optional<std::uint64_t> take(std::uint64_t size) noexcept;

  /// Gives a block back that `take` has handed out.
  void give(std::uint64_t offset) noexcept;

  bool empty() const noexcept { return used_.empty(); }
  std::uint64_t size() const noexcept { return size_; }

  /// The end of the highest block since `forget_highest`.
  std::uint64_t highest() const noexcept { return highest_; }
  void forget_highest() noexcept { highest_ = 0; }

private:
  struct block {
    std::uint64_t begin;
    std::uint64_t end;
  };

  const std::uint64_t size_;
  std::vector<block> used_;  // by offset; never grows beyond its first capacity
  std::uint64_t highest_ = 0;
};

inline std::optional<std::uint64_t> arena::take(std::uint64_t size) noexcept {
  if (size > size_ || used_.size() == used_.capacity()) return std::nullopt;
  const std::uint64_t length = (size + grain - 1) / grain * grain;
  std::uint64_t begin = 0;
  auto next = used_.begin();
  while (next != used_.end() && next->begin - begin < length) {
    begin = next->end;
    ++next;
  }
  if (next == used_.end() && (length > size_ || begin > size_ - length)) return std::nullopt;
  used_.insert(next, block{begin, begin + length});
  highest_ = (std::max)(highest_, begin + length);
  return begin;
}

inline void arena::give(std::uint64_t offset) noexcept {
  const auto found =
      std::lower_bound(used_.begin(), used_.end(), offset,
                       [](const block& b, std::uint64_t at) { return b.begin < at; });
  TROUPE_ASSERT(found != used_.end() && found->begin == offset, "a block is given back once");
  used_.erase(found);
}

}  // namespace troupe::detail::sandbox

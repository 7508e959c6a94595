// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much a message from elsewhere may ask for.
///
/// Layer: codec. A value.

#include <cstddef>

namespace troupe {

/// How deep values may nest, in messages that are written as well as in those that are read: each
/// container, record, optional, variant and hook is a level.
inline constexpr std::size_t default_codec_depth = 64;

/// The bounds of reading one message. What exceeds one is refused with `errc::too_large`, before
/// anything is allocated for it.
struct decode_limits {
  /// Levels of nesting.
  std::size_t depth = default_codec_depth;

  /// Bytes of the message.
  std::size_t size = std::size_t{64} << 20;

  /// Bytes of the elements of all containers in the decoded value together; 0: 64 for each byte of
  /// the message, and 64 KiB. (An element may take much more memory than bytes on the wire: an
  /// absent `optional<std::array<char, 4096>>` is one byte there.)
  std::size_t memory = 0;
};

}  // namespace troupe

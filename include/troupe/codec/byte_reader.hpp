// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Reads the primitives of the binary form, from bytes that a stranger may have written.
///
/// Layer: codec. Not safe for several threads. Nothing is believed: each length is compared with
/// what is left before anything is allocated, and each number has one spelling only.

#include <troupe/base/error.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/codec/byte_writer.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/codec/memory_budget.hpp>
#include <troupe/config.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::detail {

class byte_reader {
public:
  /// `owner` is null, or holds `message`. `type_name` is for the texts of errors.
  byte_reader(std::span<const std::byte> message, const shared_bytes* owner,
              std::string_view type_name, const decode_limits& limits)
      : message_(message),
        owner_(owner),
        type_name_(type_name),
        depth_(limits.depth),
        memory_(limits, message.size()) {
    if (message.size() > limits.size) fail(errc::too_large, "the message is above the limit");
  }
  byte_reader(const byte_reader&) = delete;
  byte_reader& operator=(const byte_reader&) = delete;

  [[nodiscard]] std::size_t left() const noexcept { return message_.size() - at_; }

  [[nodiscard]] std::byte take() {
    if (left() == 0) fail(errc::bad_message, "it ends too early");
    return message_[at_++];
  }

  [[nodiscard]] std::span<const std::byte> take(std::size_t size) {
    if (size > left()) fail(errc::bad_message, "it ends too early");
    at_ += size;
    return message_.subspan(at_ - size, size);
  }

  [[nodiscard]] std::uint64_t take_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto one = static_cast<std::uint64_t>(take());
      const std::uint64_t bits = one & varint_mask;
      if (shift == 63 && one > 1) fail(errc::bad_message, "a number has more than 64 bits");
      value |= bits << shift;
      if ((one & varint_more) != 0) continue;
      if (one == 0 && shift != 0) fail(errc::bad_message, "a number is not in its shortest form");
      return value;
    }
  }

  /// A number of elements, each of which takes at least `fewest` bytes.
  [[nodiscard]] std::size_t take_count(std::size_t fewest) {
    const std::uint64_t count = take_varint();
    if (count > left() / fewest) fail(errc::bad_message, "a count is above what is left");
    return static_cast<std::size_t>(count);
  }

  /// The next `size` bytes as a value of their own: without a copy, where the message can be
  /// shared.
  [[nodiscard]] shared_bytes take_shared(std::size_t size) {
    const std::size_t begin = at_;
    const std::span<const std::byte> bytes = take(size);
    return owner_ == nullptr ? shared_bytes(bytes) : owner_->slice(begin, size);
  }

  /// What its containers may still take: asked before anything is allocated for them.
  [[nodiscard]] memory_budget& memory() noexcept { return memory_; }

  void enter() {
    if (depth_ == 0) fail(errc::too_large, "it nests too deeply");
    --depth_;
  }
  void leave() noexcept { ++depth_; }

  [[noreturn]] TROUPE_COLD void fail(errc code, std::string_view what) const {
    std::string text(type_name_);
    text.append(": ").append(what).append(" (at byte ").append(std::to_string(at_)).append(")");
    throw error(code, worker_id{}, std::move(text));
  }

private:
  std::span<const std::byte> message_;
  std::size_t at_ = 0;
  const shared_bytes* owner_;
  std::string_view type_name_;
  std::size_t depth_;  // levels that may still be entered
  memory_budget memory_;
};

}  // namespace troupe::detail

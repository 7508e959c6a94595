// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What is asked of a `function_host`, or by one module of another.
///
/// Layer: function. Views: what is asked for is copied when the call is made.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// Bytes or text that somebody else owns.
class payload_view {
public:
  payload_view() noexcept = default;
  payload_view(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  payload_view(const std::vector<std::byte>& bytes) noexcept : bytes_(bytes) {}
  payload_view(const shared_bytes& bytes) noexcept : bytes_(bytes.bytes()) {}
  payload_view(std::string_view text) noexcept
      : bytes_(reinterpret_cast<const std::byte*>(text.data()), text.size()) {}
  payload_view(const std::string& text) noexcept : payload_view(std::string_view(text)) {}
  payload_view(const char* text) noexcept : payload_view(std::string_view(text)) {}

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

private:
  std::span<const std::byte> bytes_;
};

/// Which function of which module, and with what.
struct function_request {
  std::string_view module{};
  std::string_view version{};  ///< Empty: the one that was last given to `reload`, if any.
  std::string_view func{};
  payload_view payload{};  ///< Of a call without arguments of its own: what stands for them.
  payload_format format = payload_format::binary;  ///< Of the payload, and of what comes back.
  bool optional_payload = false;  ///< A function without parameters is called without the payload.
  std::string_view key{};         ///< Which worker of the module.
  duration limit = duration::zero();  ///< By when it settles; zero: as the module's options say.
};

// GCC 12 destroys an aggregate that is a temporary inside a `co_await` expression twice.
static_assert(std::is_trivially_destructible_v<function_request>);

}  // namespace troupe

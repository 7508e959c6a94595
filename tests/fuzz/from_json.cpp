// SPDX-License-Identifier: MIT
// Any text as JSON: refused by name, or a value that is the same after there and back.

#include <troupe/adapter/json/json.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "../codec/sample.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = troupe::from_json<sample::everything>(text);
  if (!read.has_value()) {
    const auto code = read.code();
    const bool is_named = code == troupe::errc::bad_message || code == troupe::errc::too_large ||
                          code == std::errc::state_not_recoverable;  // a hook's own
    if (!is_named) std::abort();
    return 0;
  }
  const auto again = troupe::from_json<sample::everything>(troupe::to_json(*read).dump());
  if (!again.has_value() || !(*again == *read)) std::abort();
  return 0;
}

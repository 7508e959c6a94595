// SPDX-License-Identifier: MIT
// Any text as a `traceparent`: nothing, or a complete context that reads the same once written.

#include <troupe/coro/trace_context.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = troupe::parse_traceparent(text);
  if (!read.has_value()) return 0;
  if (!troupe::is_complete(*read)) std::abort();
  const auto again = troupe::parse_traceparent(troupe::to_traceparent(*read));
  if (!again.has_value() || !(*again == *read) || again->span != read->span) std::abort();
  return 0;
}

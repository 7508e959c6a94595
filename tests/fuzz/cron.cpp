// SPDX-License-Identifier: MIT
// Any text as an expression: refused with a place inside it, or one whose moments come one after
// the other, each of them its own.

#include <troupe/job/cron.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

void follow(const troupe::cron& is) {
  troupe::wall_time t = std::chrono::sys_days(std::chrono::year(2026) / 11 / 22);
  for (int i = 0; i != 4; ++i) {
    const std::optional<troupe::wall_time> next = is.next_after(t);
    if (!next) return;
    if (*next <= t || !is.fires_at(*next)) std::abort();
    // Nothing lies between, as far as somebody looks.
    for (int k = 1; k != 50 && t + std::chrono::seconds(k) < *next; ++k) {
      if (is.fires_at(t + std::chrono::seconds(k))) std::abort();
    }
    t = *next;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const troupe::cron is(text);
    if (is.text() != text) std::abort();
    follow(is);
  } catch (const std::invalid_argument& e) {
    if (std::string_view(e.what()).find("cron \"") != 0) std::abort();
  }
  return 0;
}

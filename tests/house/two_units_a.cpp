// SPDX-License-Identifier: MIT
// Whatever a header defines without `inline` is defined twice in this program, and does not link.
#include <system_error>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

const void* address_seen_elsewhere();

namespace {

const void* address_seen_here() { return &std::error_code(troupe::errc::deadlock).category(); }

}  // namespace

// Both units must mean the same object: the one category of the library.
int main() { return address_seen_here() == address_seen_elsewhere() ? 0 : 1; }

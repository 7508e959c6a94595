// SPDX-License-Identifier: MIT
#include <cstdio>

#include <troupe.hpp>

namespace {

troupe::task<int> answer() { co_return 42; }

}  // namespace

int main() {
  const int found = troupe::sync_wait(answer());
  std::printf("troupe %s: %d\n", TROUPE_VERSION_STRING, found);
  return found == 42 ? 0 : 1;
}

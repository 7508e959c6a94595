// SPDX-License-Identifier: MIT
// State lives between calls, and apart for each key; a coroutine may wait.

#include <chrono>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

class counter {
public:
  int next() { return ++count_; }
  troupe::task<int> next_after(int milliseconds) {
    co_await troupe::sleep_for(std::chrono::milliseconds(milliseconds));
    co_return next();
  }

private:
  int count_ = 0;
};
TROUPE_METHODS(counter, next, next_after)
TROUPE_MODULE(counter, "v1.0.0");

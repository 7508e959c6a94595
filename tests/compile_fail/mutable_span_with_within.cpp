// SPDX-License-Identifier: MIT
// expect: troupe: within() and tell() own their arguments
// A span through which the worker writes cannot be owned: the caller would not see what is written.
#include <chrono>
#include <span>
#include <troupe.hpp>
#include <vector>

struct target {
#ifdef CORRECT
  void fill(std::span<const int>) {}
#else
  void fill(std::span<int>) {}
#endif
};

troupe::task<> f(troupe::proxy<target> p, std::vector<int>& v) {
  co_await p.call<&target::fill>(v).within(std::chrono::seconds(1));
}

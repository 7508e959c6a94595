// SPDX-License-Identifier: MIT
// expect: troupe: within() and tell() own their arguments
// Only string_view and span<const T> are known how to own.
#include <ranges>
#include <troupe.hpp>
#include <vector>

using view = std::ranges::take_view<std::ranges::ref_view<const std::vector<int>>>;

struct target {
#ifdef CORRECT
  void sum(std::vector<int>) {}
#else
  void sum(view) {}
#endif
};

bool f(troupe::proxy<target> p, const std::vector<int>& v) {
#ifdef CORRECT
  return p.tell<&target::sum>(v);
#else
  return p.tell<&target::sum>(v | std::views::take(2));
#endif
}

// SPDX-License-Identifier: MIT

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include <troupe/base/hash.hpp>
#include <troupe/net/leftist_heap.hpp>

namespace leftist_heap_tests {
namespace {

struct by_key;
struct item : troupe::detail::heap_hook<by_key> {
  std::pair<std::uint64_t, std::size_t> key;
};
int compared = 0;
struct before {
  bool operator()(const item& a, const item& b) const noexcept {
    ++compared;
    return a.key < b.key;
  }
};
using heap = troupe::detail::leftist_heap<item, by_key, before>;

}  // namespace

TEST_CASE("leftist_heap: gives the first, whatever was put in and taken out before", "[net]") {
  std::uint64_t seed = GENERATE(1u, 2u, 3u, 4u);
  std::vector<std::unique_ptr<item>> items;
  for (std::size_t i = 0; i != 200; ++i) {
    items.push_back(std::make_unique<item>());
    items.back()->key.second = i;
  }
  heap h;
  std::set<std::pair<std::uint64_t, std::size_t>> model;
  const auto check_top = [&] {
    if (h.empty() != model.empty()) return false;
    return model.empty() || h.top().key == *model.begin();
  };
  bool right = true;
  for (int step = 0; step != 20'000; ++step) {
    item& i = *items[troupe::splitmix64(seed) % items.size()];
    if (i.in_heap()) {
      model.erase(i.key);
      h.erase(i);
    } else {
      i.key.first = troupe::splitmix64(seed) % 50;
      model.insert(i.key);
      h.push(i);
    }
    right = right && check_top() && i.in_heap() == (model.count(i.key) != 0);
  }
  CHECK(right);
  while (!h.empty() && right) {
    right = check_top();
    model.erase(h.top().key);
    h.erase(h.top());
  }
  CHECK(right);
  CHECK(model.empty());
}

TEST_CASE("leftist_heap: no step takes longer than a logarithm, in whatever order", "[net]") {
  constexpr std::size_t many = 1 << 14;
  constexpr int most = 2 * 15;  // two ways down by the right
  const int order = GENERATE(0, 1, 2);
  std::uint64_t seed = 1;
  const auto items = std::make_unique<item[]>(many);
  heap h;
  int worst = 0;
  const auto measure = [&worst](auto step) {
    compared = 0;
    step();
    worst = (std::max)(worst, compared);
  };
  for (std::size_t i = 0; i != many; ++i) {
    const std::uint64_t keys[] = {i, many - i, troupe::splitmix64(seed)};
    items[i].key = {keys[order], i};
    measure([&] { h.push(items[i]); });
  }
  for (std::size_t i = 0; i < many; i += 3) measure([&] { h.erase(items[i]); });
  while (!h.empty()) measure([&] { h.erase(h.top()); });
  CHECK(worst <= most);
}

}  // namespace leftist_heap_tests

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What every benchmark uses: timing, a baseline taken in the same run, a table of ratios.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace bench {

/// Nanoseconds per operation of `f(n)`, which does `n` of them: the least of `rounds` runs, since
/// noise only adds.
template <class F>
double ns_per_op(std::size_t n, F f, int rounds = 7) {
  double best = 1e18;
  f(n / 10 + 1);
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    f(n);
    const auto end = std::chrono::steady_clock::now();
    best = std::min(best, std::chrono::duration<double, std::nano>(end - begin).count() /
                              static_cast<double>(n));
  }
  return best;
}

/// A counter whose method the compiler does not see through.
struct counter {
  [[gnu::noinline]] int add(int a) {
    value += a;
    return value;
  }
  int value = 0;
};

/// The baseline: an uncontended lock, the same method, unlock; with a second thread alive, since a
/// mutex skips its atomics in a process that has only one.
inline double mutex_call() {
  std::mutex m;
  counter c;
  return ns_per_op(5'000'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::lock_guard<std::mutex> guard(m);
      c.add(1);
    }
  });
}

/// One line of the table: a figure, as a multiple of a baseline, and the most it may be (0: none).
inline void row(const char* what, double ns, double baseline, const char* baseline_name,
                double limit = 0) {
  const double ratio = ns / baseline;
  std::printf("%-58s %10.1f ns  %6.2f x %s", what, ns, ratio, baseline_name);
  if (limit > 0) std::printf("  (at most %.2f%s)", limit, ratio <= limit ? "" : ": MISSED");
  std::printf("\n");
}

/// The same for a figure with an absolute limit, scaled by how this machine's mutex call compares
/// with the 13.3 ns of the machine for which the limit was written.
inline void row_scaled(const char* what, double ns, double limit_ns, double mutex_ns) {
  const double limit = limit_ns * mutex_ns / 13.3;
  std::printf("%-58s %10.1f ns  (at most %.0f ns, scaled%s)\n", what, ns, limit,
              ns <= limit ? "" : ": MISSED");
}

}  // namespace bench

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The single total order of the seq_cst operations of one execution (C++20, [atomics.order]).
///
/// It is not the order of execution: it has to agree with what is coherence-ordered and with what
/// strongly happens before, with no more. Kept as a partial order; a seq_cst load may read any
/// store that leaves it without a cycle.

#include <cstddef>
#include <cstdint>

#include <model/checker/clock.hpp>

namespace troupe::model {

struct location;

/// One seq_cst operation.
struct sc_operation {
  static constexpr std::size_t none = ~std::size_t{0};

  unsigned thread = 0;
  std::uint32_t step = 0;
  clock before;  // what its thread knew before it
  const location* where = nullptr;
  std::size_t reads = none;   // the store in the history of the location
  std::size_t writes = none;  // the same
};

class total_order {
public:
  void clear() noexcept { count_ = 0; }

  bool allows(const sc_operation& o) const noexcept {
    const std::uint64_t earlier = before(o);
    const std::uint64_t later = after(o);
    if ((earlier & later) != 0) return false;
    for (unsigned i = 0; i != count_; ++i) {
      if (has(later, i) && (after_[i] & earlier) != 0) return false;
    }
    return true;
  }

  /// Operations beyond the 64th are left out, which only means that fewer orders are tried.
  bool full() const noexcept { return count_ == capacity; }

  void add(const sc_operation& o) noexcept {
    if (full()) return;
    const std::uint64_t earlier = before(o);
    std::uint64_t later = after(o);
    for (unsigned i = 0; i != count_; ++i) {
      if (has(later, i)) later |= after_[i];
    }
    const std::uint64_t self = std::uint64_t{1} << count_;
    for (unsigned i = 0; i != count_; ++i) {
      if (has(earlier, i) || (after_[i] & earlier) != 0) after_[i] |= self | later;
    }
    after_[count_] = later;
    operations_[count_++] = o;
  }

private:
  static constexpr unsigned capacity = 64;

  static bool has(std::uint64_t set, unsigned i) noexcept { return ((set >> i) & 1) != 0; }

  /// True if, at one location, `a` is coherence-ordered before `b`.
  static bool coheres(const sc_operation& a, const sc_operation& b) noexcept {
    if (a.where != b.where) return false;
    constexpr std::size_t none = sc_operation::none;
    if (a.writes != none && b.reads != none && b.reads >= a.writes) return true;
    if (a.writes != none && b.writes != none && b.writes > a.writes) return true;
    if (a.reads != none && b.reads != none && b.reads > a.reads) return true;
    return a.reads != none && b.writes != none && b.writes > a.reads;
  }

  /// The operations that stand before `o`. Strongly happens before: in the same thread; or
  /// something after the one happens before something before the other. What synchronises with `o`
  /// itself is at the same location, hence coherence-ordered.
  std::uint64_t before(const sc_operation& o) const noexcept {
    std::uint64_t set = 0;
    for (unsigned i = 0; i != count_; ++i) {
      const sc_operation& x = operations_[i];
      if (x.thread == o.thread || o.before.at[x.thread] > x.step || coheres(x, o)) {
        set |= std::uint64_t{1} << i;
      }
    }
    return set;
  }

  /// Those that stand after it, although they were executed before: it reads an old store.
  std::uint64_t after(const sc_operation& o) const noexcept {
    std::uint64_t set = 0;
    for (unsigned i = 0; i != count_; ++i) {
      if (coheres(o, operations_[i])) set |= std::uint64_t{1} << i;
    }
    return set;
  }

  unsigned count_ = 0;
  sc_operation operations_[capacity];
  std::uint64_t after_[capacity] = {};  // by operation, all that stand after it
};

}  // namespace troupe::model

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `published`: a value that one thread writes and any thread may look at.
///
/// Layer: sync. A plain store and a plain load on all machines of today. Not `detail::atomic`: no
/// algorithm depends on what is published, so that a model checker need not try its orders.

#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// Carries nothing but itself: who sees it has seen nothing else by that.
template <class T>
class published {
public:
  constexpr published() noexcept = default;
  constexpr explicit published(T value) noexcept : value_(value) {}
  published(const published& other) noexcept : value_(other.load()) {}
  published& operator=(const published& other) noexcept {
    store(other.load());
    return *this;
  }
  ~published() = default;

  void store(T value) noexcept { value_.store(value, order::relaxed); }
  T load() const noexcept { return value_.load(order::relaxed); }

private:
  unmodelled_atomic<T> value_{};
};

}  // namespace troupe::detail

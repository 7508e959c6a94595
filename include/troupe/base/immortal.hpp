// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `immortal`: an object of static storage that is never destroyed.
///
/// Layer: base.

#include <utility>

namespace troupe::detail {

/// Brokers may be of static storage as well, and go after it whose destructor would have run
/// before: what was made first is destroyed last.
template <class T>
class immortal {
public:
  template <class... Arguments>
  constexpr explicit immortal(Arguments&&... a) : value_(std::forward<Arguments>(a)...) {}
  immortal(const immortal&) = delete;
  immortal& operator=(const immortal&) = delete;
  ~immortal() {}  // not defaulted: that of a union with such a member would be deleted

  T& get() noexcept { return value_; }
  const T& get() const noexcept { return value_; }

private:
  union {
    T value_;
  };
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `combine`: several cleaners as one.
///
/// Layer: broker.

#include <algorithm>
#include <utility>
#include <vector>

#include <troupe/base/put_off.hpp>
#include <troupe/broker/cleaner.hpp>

namespace troupe {

namespace detail {

template <class Lazy>
class combined_cleaners {
public:
  explicit combined_cleaners(std::vector<put_off<cleaner, Lazy>> all) noexcept
      : all_(std::move(all)) {}

  void operator()(const worker_event& event) {
    for (cleaner& c : all_) {
      if (event.kind != worker_event::get || c.wants_get()) c(event);
    }
  }
  duration look(broker& b) {
    duration next = endless;
    for (cleaner& c : all_) next = (std::min)(next, c.look(b));
    return next;
  }
  bool wants_get() const noexcept {
    return std::any_of(all_.begin(), all_.end(), [](const cleaner& c) { return c.wants_get(); });
  }

private:
  std::vector<put_off<cleaner, Lazy>> all_;
};

}  // namespace detail

/// Tells all of `cleaners`, in their order.
template <class... Cleaners>
[[nodiscard]] cleaner combine(Cleaners... cleaners) {
  std::vector<cleaner> all;
  all.reserve(sizeof...(Cleaners));
  (all.emplace_back(std::move(cleaners)), ...);
  return cleaner(detail::combined_cleaners<void>(std::move(all)));
}

}  // namespace troupe

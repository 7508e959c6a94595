// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `when_any`: await the first of several; the losers are asked to stop and awaited.
///
/// Layer: coro. Allocates as `when_all` does.

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <troupe/coro/join_point.hpp>
#include <troupe/coro/task.hpp>

namespace troupe {
namespace detail {

template <class... As>
class any_of : public join_point {
public:
  using result = std::variant<value_of_t<std::remove_cv_t<await_result_t<As>>>...>;

  explicit any_of(As&... awaitables)
      : join_point(link_kind::any), branches_(std::move(awaitables)...) {
    std::size_t i = 0;
    std::apply([&](auto&... b) { ((b.index = i, table_[i] = &b, ++i), ...); }, branches_);
  }

  auto ended_all() noexcept { return all_ended(table_, sizeof...(As)); }

  result take() { return take_from<0>(); }

private:
  template <std::size_t I>
  result take_from() {
    if constexpr (I + 1 < sizeof...(As)) {
      if (decisive() != I) return take_from<I + 1>();
    }
    return result(std::in_place_index<I>, std::get<I>(branches_).take());
  }

  std::tuple<branch_for<As>...> branches_;
  branch_base* table_[sizeof...(As)];
};

}  // namespace detail

/// Runs all `awaitables` at once and gives the result of the one that ends first, under its index;
/// if that one failed, throws its error. The others are asked to stop, and awaited, before this
/// ends: what they do not stop doing is waited for.
template <class... As>
  requires(sizeof...(As) > 0)
auto when_any(As... awaitables) -> task<typename detail::any_of<As...>::result> {
  detail::any_of<As...> any(awaitables...);
  co_await any.ended_all();
  co_return any.take();
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `when_all`: await several at once; the first error wins and stops the rest.
///
/// Layer: coro. One frame, and one for each awaitable that is not a task; the vector form also
/// allocates its table of children.

#include <cstddef>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/join_point.hpp>
#include <troupe/coro/task.hpp>

namespace troupe {
namespace detail {

template <class... As>
class all_of : public join_point {
public:
  using result = std::tuple<value_of_t<std::remove_cv_t<await_result_t<As>>>...>;

  explicit all_of(As&... awaitables)
      : join_point(link_kind::scope), branches_(std::move(awaitables)...) {
    std::size_t i = 0;
    std::apply([&](auto&... b) { ((b.index = i, table_[i] = &b, ++i), ...); }, branches_);
  }

  auto ended_all() noexcept { return all_ended(table_, sizeof...(As)); }

  result take() {
    const std::size_t first = decisive();
    if (first != none) {
      std::apply([&](auto&... b) { ((b.index == first ? void(b.take()) : void()), ...); },
                 branches_);
    }
    return std::apply([](auto&... b) { return result(b.take()...); }, branches_);
  }

private:
  std::tuple<branch_for<As>...> branches_;
  branch_base* table_[sizeof...(As) + 1];
};

/// The children of the vector forms.
template <class T>
class branch_table {
public:
  explicit branch_table(std::vector<task<T>>& tasks)
      : branches_(std::make_unique<std::optional<branch<T>>[]>(tasks.size())) {
    table_.reserve(tasks.size());
    for (task<T>& t : tasks) {
      auto& b = branches_[table_.size()].emplace(std::move(t));
      b.index = table_.size();
      table_.push_back(&b);
    }
  }

  branch<T>& operator[](std::size_t i) noexcept { return *branches_[i]; }
  branch_base* const* data() const noexcept { return table_.data(); }
  std::size_t size() const noexcept { return table_.size(); }

private:
  std::unique_ptr<std::optional<branch<T>>[]> branches_;
  std::vector<branch_base*> table_;
};

template <class... As>
auto run_all(As... awaitables) -> task<typename all_of<As...>::result> {
  all_of<As...> all(awaitables...);
  co_await all.ended_all();
  co_return all.take();
}

}  // namespace detail

/// Runs all `awaitables` at once and gives their results in order; `void` gives
/// `std::monostate`. Where one fails, the others are asked to stop, all are awaited, and the error
/// that came first is thrown.
///
/// Calls of workers are issued in the order in which they stand here.
template <class... As>
auto when_all(As... awaitables) {  // deduced, so that it is not asked about a vector of tasks
  return detail::run_all<As...>(std::move(awaitables)...);
}

/// The same for any number of tasks with results of one type.
template <class T>
  requires(!std::is_void_v<T>)
task<std::vector<T>> when_all(std::vector<task<T>> tasks) {
  detail::branch_table<T> branches(tasks);
  detail::join_point join(detail::link_kind::scope);
  co_await join.all_ended(branches.data(), branches.size());
  if (join.decisive() != detail::join_point::none) {
    static_cast<void>(branches[join.decisive()].take());  // throws
  }
  std::vector<T> results;
  results.reserve(branches.size());
  for (std::size_t i = 0; i < branches.size(); ++i) results.push_back(branches[i].take());
  co_return results;
}

/// The same for tasks without a result.
template <class T>
  requires(std::is_void_v<T>)
task<> when_all(std::vector<task<T>> tasks) {
  detail::branch_table<void> branches(tasks);
  detail::join_point join(detail::link_kind::scope);
  co_await join.all_ended(branches.data(), branches.size());
  if (join.decisive() != detail::join_point::none) branches[join.decisive()].take();
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `as_result`: errors as values, where the caller prefers them.
///
/// Layer: coro. One frame.

#include <exception>
#include <type_traits>
#include <utility>

#include <troupe/base/result.hpp>
#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/task.hpp>

namespace troupe {

/// Awaits `awaitable` and gives its value, or the exception it threw, as a `result`.
template <class A, class T = std::remove_cv_t<detail::await_result_t<A>>>
task<result<T>> as_result(A awaitable) {
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(awaitable);
      co_return result<T>();
    } else {
      co_return result<T>(co_await std::move(awaitable));
    }
  } catch (...) {
    co_return result<T>(std::current_exception());
  }
}

}  // namespace troupe

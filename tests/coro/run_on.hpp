// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the tests of coroutines share: a task run on a pool's threads, and errors as codes.

#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/when_all.hpp>

namespace troupe::test {

/// A child of `when_all` starts on the pool, whatever thread its parent is on.
template <class T>
task<T> as_child(task<T> t) {
  auto results = co_await when_all(std::move(t));
  if constexpr (!std::is_void_v<T>) co_return std::get<0>(std::move(results));
}

/// Runs `t` on the threads of `pool`; blocks until it has ended.
template <class T>
T run_on(executor& pool, task<T> t) {
  return detail::block_on(as_child(std::move(t)), &pool);
}

/// How `t` ends, as a code; zero if it gives a value.
template <class T>
task<std::error_code> code_of(task<T> t) {
  const auto outcome = co_await as_result(std::move(t));
  co_return outcome.code();
}

/// Whose loop runs on this thread now.
TROUPE_NOINLINE inline home* loop_of_this_thread() noexcept {
  return detail::this_thread_state().loop;
}

}  // namespace troupe::test

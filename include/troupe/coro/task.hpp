// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `task<T>`: a lazy coroutine that is awaited once.
///
/// Layer: coro. One frame per task, from the frame pool.

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/result_slot.hpp>

namespace troupe {

template <class T>
class task;

namespace detail {

/// What the promises of all tasks share.
struct task_promise_base : frame {
  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) const noexcept {
      complete(h.promise());
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_awaiter final_suspend() const noexcept { return {}; }

  template <class A>
  auto await_transform(A&& a) {
    return awaiter_for(static_cast<A&&>(a), *this);
  }

  TROUPE_ALWAYS_INLINE static void* operator new(std::size_t size) { return allocate_frame(size); }
  TROUPE_ALWAYS_INLINE static void operator delete(void* memory, std::size_t size) noexcept {
    deallocate_frame(memory, size);
  }
};

/// The result goes straight to the slot of whoever awaits the task, so that the frame need not be
/// read again once it has completed.
template <class T>
struct task_promise : task_promise_base {
  task<T> get_return_object() noexcept;

  template <class U = T>
    requires std::is_constructible_v<T, U&&> || std::is_reference_v<T>
  void return_value(U&& value) {
    result->emplace(std::forward<U>(value));
  }
  void unhandled_exception() noexcept { result->fail(std::current_exception()); }

  result_slot<T>* result;  // given by whoever starts the task
};

template <>
struct task_promise<void> : task_promise_base {
  task<void> get_return_object() noexcept;

  void return_void() noexcept { result->emplace(); }
  void unhandled_exception() noexcept { result->fail(std::current_exception()); }

  result_slot<void>* result;  // given by whoever starts the task
};

static_assert(alignof(task_promise<void>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
              "compilers do not align over-aligned promises");

/// Owns the frame of a task that has been started. Destroying it before the task has ended is a
/// broken precondition.
template <class T>
class started_task {
public:
  using handle = std::coroutine_handle<task_promise<T>>;

  started_task() noexcept = default;
  explicit started_task(handle h) noexcept : handle_(h) {}
  started_task(started_task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  started_task& operator=(started_task&& other) noexcept {
    TROUPE_ASSERT(!handle_, "only one task can be held");
    handle_ = std::exchange(other.handle_, nullptr);
    return *this;
  }
  ~started_task() {
    if (!handle_) return;
    TROUPE_ASSERT(handle_.promise().where == nullptr || handle_.done(),
                  "a task was destroyed while it was suspended; request a stop and await its end");
    handle_.destroy();
  }

  task_promise<T>& promise() const noexcept { return handle_.promise(); }

private:
  handle handle_ = nullptr;
};

/// Awaits one task: the parent's frame holds it, and the result.
template <class T>
class task_awaiter {
public:
  task_awaiter(std::coroutine_handle<task_promise<T>> h, frame& parent) noexcept
      : task_(h), resume_(parent) {}

  bool await_ready() const noexcept { return false; }

  bool await_suspend(std::coroutine_handle<>) noexcept {
    task_promise<T>& child = task_.promise();
    frame& parent = resume_.parent();
    child.inherit(parent);
    child.then = &resume_;
    child.result = &result_;
    return !run_child(child, parent);
  }

  T await_resume() { return result_.take(); }

private:
  result_slot<T> result_;
  started_task<T> task_;  // destroyed before the slot it writes to
  resume_parent resume_;
};

}  // namespace detail

/// A coroutine that starts when it is awaited and gives its result, or its exception, to the
/// coroutine that awaits it. `T` may be `void`, a reference or a move-only type.
///
/// A task that was never awaited may be destroyed; one that has started may not, before it has
/// ended. It continues on the executor on which it was started.
///
/// Thread safety: none; a task belongs to whoever holds it.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited")]] task {
public:
  using value_type = T;
  using promise_type = detail::task_promise<T>;

  /// No coroutine: there is nothing to await.
  task() noexcept = default;
  task(task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    task(std::move(other)).swap(*this);
    return *this;
  }
  ~task() {
    if (handle_) handle_.destroy();
  }

  /// False once it was awaited or moved from.
  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

  void swap(task& other) noexcept { std::swap(handle_, other.handle_); }

  detail::task_awaiter<T> await_by(detail::frame& parent) && noexcept {
    return detail::task_awaiter<T>(release(), parent);
  }

  /// For the library: the frame, which the caller owns from now on.
  std::coroutine_handle<promise_type> release() noexcept {
    TROUPE_ASSERT(handle_, "a task is awaited once");
    return std::exchange(handle_, nullptr);
  }

private:
  friend promise_type;

  explicit task(std::coroutine_handle<promise_type> h) noexcept : handle_(h) {}

  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  const auto h = std::coroutine_handle<task_promise>::from_promise(*this);
  self = h;
  return task<T>(h);
}

inline task<void> task_promise<void>::get_return_object() noexcept {
  const auto h = std::coroutine_handle<task_promise>::from_promise(*this);
  self = h;
  return task<void>(h);
}

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

}  // namespace detail
}  // namespace troupe

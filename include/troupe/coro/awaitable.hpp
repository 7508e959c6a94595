// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a coroutine of the library can await: awaitables of its own, which know the call chain, and
/// those of other libraries, after which the coroutine continues where it belongs.
///
/// Layer: coro. Awaiting a foreign awaitable that suspends takes one pooled frame.

#include <concepts>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>

namespace troupe::detail {

/// An awaitable of the library: `std::move(a).await_by(frame)` gives its awaiter.
template <class A>
concept native_awaitable = requires(A&& a, frame& f) { static_cast<A&&>(a).await_by(f); };

/// An awaitable of the library that is named instead of handed over.
template <class A>
concept named_native_awaitable = std::is_lvalue_reference_v<A> && !native_awaitable<A> &&
                                 native_awaitable<std::remove_cvref_t<A>>;

template <class A>
decltype(auto) foreign_awaiter_of(A&& a) {
  if constexpr (requires { static_cast<A&&>(a).operator co_await(); }) {
    return static_cast<A&&>(a).operator co_await();
  } else if constexpr (requires { operator co_await(static_cast<A&&>(a)); }) {
    return operator co_await(static_cast<A&&>(a));
  } else {
    return static_cast<A&&>(a);
  }
}

template <class A>
using foreign_awaiter_t = decltype(foreign_awaiter_of(std::declval<A>()));

/// A coroutine of one step: resumed by whoever, it sends `waiting` home and is gone.
struct relay {
  struct promise_type {
    relay get_return_object() noexcept {
      return relay{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }

    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
      deallocate_frame(memory, size);
    }
  };

  static relay to(frame& waiting) {
    waiting.where->post(waiting);
    co_return;
  }

  explicit relay(std::coroutine_handle<> h) noexcept : handle(h) {}
  std::coroutine_handle<> handle;
};

/// Wraps the awaiter of another library.
template <class A>
class foreign_await {
public:
  foreign_await(A&& awaitable, frame& waiting)
      : inner_(foreign_awaiter_of(static_cast<A&&>(awaitable))), waiting_(&waiting) {}

  bool await_ready() { return static_cast<bool>(inner_.await_ready()); }
  bool await_suspend(std::coroutine_handle<>) { return suspend(inner_, *waiting_); }
  decltype(auto) await_resume() { return inner_.await_resume(); }

private:
  using awaiter = foreign_awaiter_t<A>;

  TROUPE_NOINLINE static bool suspend(std::remove_reference_t<awaiter>& inner, frame& waiting) {
    const std::coroutine_handle<> handle = relay::to(waiting).handle;
    bool* const flag = std::exchange(waiting.completed_inline, nullptr);
    try {
      if (suspend_with(inner, handle)) return true;
    } catch (...) {
      handle.destroy();
      waiting.completed_inline = flag;
      throw;
    }
    handle.destroy();
    waiting.completed_inline = flag;
    return false;
  }

  static bool suspend_with(std::remove_reference_t<awaiter>& inner,
                           std::coroutine_handle<> handle) {
    using result = decltype(inner.await_suspend(handle));
    if constexpr (std::is_void_v<result>) {
      inner.await_suspend(handle);
      return true;
    } else if constexpr (std::is_same_v<result, bool>) {
      return inner.await_suspend(handle);
    } else {
      const std::coroutine_handle<> next = inner.await_suspend(handle);
      if (next == handle) return false;
      next.resume();
      return true;
    }
  }

  awaiter inner_;
  frame* waiting_;
};

/// The awaiter for anything that stands behind `co_await` in a coroutine of the library.
template <class A>
auto awaiter_for(A&& a, frame& f) {
  static_assert(!named_native_awaitable<A>,
                "troupe: this is awaited once, as an rvalue: write co_await std::move(it)");
  if constexpr (native_awaitable<A>) {
    return static_cast<A&&>(a).await_by(f);
  } else {
    return foreign_await<A>(static_cast<A&&>(a), f);
  }
}

template <class A>
using await_result_t =
    decltype(awaiter_for(std::declval<A>(), std::declval<frame&>()).await_resume());

}  // namespace troupe::detail

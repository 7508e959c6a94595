// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a coroutine may ask of its call chain: `co_await this_task::stop_token()` and the like.
///
/// Layer: coro. None of them suspends.

#include <coroutine>
#include <utility>

#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/span.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/trace_context.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// Awaits nothing: gives what `F` reads from the frame.
template <class F>
class frame_query {
public:
  explicit frame_query(F read) noexcept : read_(std::move(read)) {}

  class awaiter {
  public:
    awaiter(F& read, frame& f) noexcept : read_(read), frame_(f) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    auto await_resume() const { return read_(frame_); }

  private:
    F& read_;
    frame& frame_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(read_, f); }

private:
  F read_;
};

inline troupe::stop_token token_of(frame& f) {
  return troupe::stop_token(intrusive_ptr<stop_state>(f.chain->stop()));
}

}  // namespace detail

namespace this_task {

/// The token through which those above ask this coroutine to stop.
[[nodiscard]] inline auto stop_token() {
  return detail::frame_query([](detail::frame& f) { return detail::token_of(f); });
}

/// The time by which somebody above wants an answer; `never`: none.
[[nodiscard]] inline auto deadline() {
  return detail::frame_query(
      [](detail::frame& f) noexcept -> time_point { return f.chain->deadline; });
}

/// The trace this coroutine belongs to, and its span of it: that of the worker's turn it runs in,
/// or of whoever began the chain. Spans get their ids when somebody asks.
[[nodiscard]] inline auto trace() {
  return detail::frame_query([](detail::frame& f) noexcept -> trace_context {
    return detail::trace_of(*f.chain, f.where->base());
  });
}

}  // namespace this_task
}  // namespace troupe

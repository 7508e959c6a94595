// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `call_info`: what those who stand around a call are told of it.
///
/// Layer: actor. Lives on the stack for as long as they are told.

#include <cstdint>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/caller.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/span.hpp>
#include <troupe/coro/trace_context.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How a method is called.
enum class call_kind : std::uint8_t {
  call,     ///< Awaited.
  limited,  ///< Awaited with a time limit of its own (`within`).
  tell      ///< One way.
};

/// What has become of a call.
enum class call_outcome : std::uint8_t {
  running,  ///< It has its turn.
  ok,       ///< The method has returned.
  threw,    ///< The method has thrown.
  refused,  ///< An observer, or the actor's `before_call`, has refused it: not executed.
  not_run,  ///< It never had its turn, and `code()` says why: not executed.
  /// The caller has gone on while the method ran, which may still do so: the time was up, or the
  /// worker is stuck, as `code()` says.
  timed_out,
};

[[nodiscard]] constexpr std::string_view to_string(call_kind k) noexcept {
  switch (k) {
    case call_kind::call:
      return "call";
    case call_kind::limited:
      return "limited";
    case call_kind::tell:
      return "tell";
  }
  return "unknown";
}

[[nodiscard]] constexpr std::string_view to_string(call_outcome o) noexcept {
  switch (o) {
    case call_outcome::running:
      return "running";
    case call_outcome::ok:
      return "ok";
    case call_outcome::threw:
      return "threw";
    case call_outcome::refused:
      return "refused";
    case call_outcome::not_run:
      return "not_run";
    case call_outcome::timed_out:
      return "timed_out";
  }
  return "unknown";
}

namespace detail {

/// A method as its worker is told of it.
struct called_method {
  std::string_view name;
  const void* actor;  // the tag of the class as which its object is seen; nullptr: it is not run
};

/// What does not change about a call. Its `link` is the call's own: the turn, or what stands for it
/// where a plain method needs none.
struct call_facts {
  called_method method;
  call_kind kind;
  cell* from;  // the worker that calls; nullptr: nobody
  chain_link& link;
};

/// What is kept of a call from one hook to the next. Written only where somebody stands around it.
struct call_record {
  time_point began{};
  duration took{};
  std::uint64_t span = 0;  // of its own, if anybody has asked for it
  call_outcome outcome = call_outcome::running;
};

/// Stands for a turn where nothing else does: a span below the caller's, of the same depth.
class span_link final : public chain_link {
public:
  explicit span_link(chain_link* link_above, std::uint64_t id = 0) noexcept
      : chain_link(link_kind::traced) {
    join(link_above);
    span.store(id, order::relaxed);
  }
};

}  // namespace detail

/// What the hooks around a call are told. The views and references hold for as long as one runs.
///
/// Thread safety: none; it belongs to the hook that is told.
class call_info {
public:
  /// For the library.
  call_info(const detail::call_facts& facts, const troupe::caller& f, executor& e,
            call_outcome o = call_outcome::running, duration t = duration::zero(),
            std::exception_ptr thrown = nullptr) noexcept
      : method(facts.method.name),
        from(f),
        kind(facts.kind),
        depth(facts.link.depth),
        outcome(o),
        took(t),
        error(std::move(thrown)),
        link_(facts.link),
        executor_(e) {}
  call_info(const call_info&) = delete;
  call_info& operator=(const call_info&) = delete;

  std::string_view method;     ///< The method's name.
  const troupe::caller& from;  ///< Who calls.
  call_kind kind;
  unsigned depth;  ///< Workers' turns above it, each of which waits for the next. Tells: none.
  call_outcome outcome;  ///< In `before_call`: `running`.
  duration took;         ///< From the method's start to its end; zero where it did not end, or run.
  std::exception_ptr error;  ///< What the method or `before_call` threw, or why it was not run.

  /// The code of `error`, as `result::code` gives it.
  [[nodiscard]] std::error_code code() const noexcept { return detail::code_of(error); }

  /// The call as a span of its trace. Its id is drawn when somebody asks for it.
  [[nodiscard]] trace_context trace() const noexcept { return detail::trace_of(link_, executor_); }

  /// The span from which it was called; 0: there is none.
  [[nodiscard]] std::uint64_t parent_span() const noexcept {
    return detail::parent_span_of(link_, executor_);
  }

private:
  detail::chain_link& link_;
  executor& executor_;
};

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `context`: a worker's surroundings, as its class sees them.
///
/// Layer: actor.

#include <concepts>
#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/base/unique_function.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

template <class A>
class proxy;
namespace detail {
class cell;
struct context_access;
}

/// What a worker may ask of its surroundings. Handed to its constructor; outlives the instance.
///
/// Thread safety: `worker`, `self` and `key` from any thread; the rest from the worker's own turns,
/// and `memory()` gives something that any thread may use.
class context {
public:
  /// For the library.
  explicit context(detail::cell& c) noexcept : cell_(&c) {}
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  /// Who this worker is.
  [[nodiscard]] const worker_id& id() const;
  [[nodiscard]] std::string_view key() const noexcept;

  /// How often workers of this class have been reloaded: for factories that load what may change.
  [[nodiscard]] std::uint64_t version() const noexcept;

  /// A proxy to another worker of the same broker.
  template <class B>
  [[nodiscard]] proxy<B> worker(std::string_view key = {});

  /// A proxy to this worker. `A` is its class, as the broker knows it.
  template <class A>
  [[nodiscard]] proxy<A> self();

  /// Runs `t` beside the worker's turns, on the executor: it touches the worker's state only
  /// through `self()`. It is asked to stop, and awaited, before `on_stop`.
  void spawn(task<> t);

  /// Runs `f` (returning void or `task<>`) as a turn of this worker, once, after `d`. Does not keep
  /// the worker alive.
  template <std::invocable F>
  void after(duration d, F f) {
    start_timer(d, duration::zero(), as_steps(std::move(f)));
  }

  /// The same, again and again, `d` after the end of the turn before.
  template <std::invocable F>
  void every(duration d, F f) {
    start_timer(d, d, as_steps(std::move(f)));
  }

  /// Asked to stop when this worker is about to be closed.
  [[nodiscard]] troupe::stop_token stop_token() const;

  /// Memory that is counted for this worker. Beyond `actor_options::memory_limit` it throws
  /// `std::bad_alloc`.
  [[nodiscard]] std::pmr::memory_resource& memory() noexcept;

  /// No cleaner evicts the worker for this long from now on.
  void keep_alive(duration d);
  /// The worker is closed when its mailbox next runs dry.
  void deactivate_when_idle();

private:
  friend detail::context_access;

  using steps = unique_function<task<>()>;

  template <class F>
  static steps as_steps(F f) {
    if constexpr (std::is_same_v<std::invoke_result_t<F&>, task<>>) {
      return steps(std::move(f));
    } else {
      static_assert(std::is_void_v<std::invoke_result_t<F&>>,
                    "troupe: what a timer runs returns void or troupe::task<>");
      return steps([f = std::move(f)]() mutable -> task<> {
        f();
        return {};
      });
    }
  }

  void start_timer(duration first, duration again, steps f);

  detail::cell* cell_;
};

/// For the parts of the library that need what is behind a context.
struct detail::context_access {
  static cell& cell_of(const context& c) noexcept { return *c.cell_; }
};

}  // namespace troupe

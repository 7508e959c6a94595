// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a worker behaves: reentrancy, mailbox, placement, supervision.
///
/// Layer: actor. Plain values.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <troupe/actor/supervision.hpp>

namespace troupe {

/// What happens to a call whose target is above it in the same call chain.
enum class reentrancy : std::uint8_t {
  none,        ///< It is refused with `errc::deadlock`.
  call_chain,  ///< It runs as a nested turn, once the turn above is suspended.
  interleaved  ///< Turns interleave at their awaits, whoever calls.
};

/// What happens to a message when `mailbox_capacity` messages wait already.
enum class overflow : std::uint8_t {
  wait,     ///< A call waits, in its caller's memory; a tell is refused.
  refuse,   ///< Calls settle `errc::mailbox_full`, tells are refused.
  drop_old  ///< The oldest tell or owning call makes room.
};

/// Where the methods of a worker run.
enum class placement : std::uint8_t {
  shared,     ///< On the executor's threads; plain methods also on the caller's.
  own_thread  ///< On a thread of its own, which may block.
};

/// What a class says of its workers: `static constexpr troupe::actor_options options{...};`, in its
/// public part.
struct actor_options {
  std::size_t mailbox_capacity = 1024;
  troupe::overflow overflow = troupe::overflow::wait;
  troupe::reentrancy reentrancy = troupe::reentrancy::call_chain;
  troupe::placement placement = troupe::placement::shared;
  troupe::supervision supervise{};
  /// Beyond `broker_options::stall_limit` its id gets a new instance, and what waits moves there.
  /// The old one is reached by nobody any more, and is destroyed when its turn has ended. Not where
  /// turns interleave, nor for `own_thread`. Calls of one caller may then run at two instances;
  /// `remove` and `terminate` wait for the new one only, the broker's destructor for both.
  bool abandon_stalled = false;
  std::size_t memory_limit = 0;  ///< Bytes of `context::memory()`, at most; 0: no limit.
};

namespace detail {

/// A member `options` of another type, or one that is not public, is the class's own affair.
template <class A>
constexpr actor_options options_of() noexcept {
  if constexpr (requires {
                  requires std::is_same_v<std::remove_cvref_t<decltype(A::options)>, actor_options>;
                }) {
    static_assert(std::is_pointer_v<decltype(&A::options)>,
                  "troupe: the options of a class are a static member: "
                  "static constexpr troupe::actor_options options{...}");
    return A::options;
  } else {
    return {};
  }
}

/// Turns of one worker that may nest in each other.
inline constexpr unsigned max_nested_turns = 32;

}  // namespace detail
}  // namespace troupe

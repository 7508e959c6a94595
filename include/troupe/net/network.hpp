// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `network`: what processes have in common, whatever carries it.
///
/// Layer: net. Knows no actor.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

class executor;
class job_store;

/// What has come from somewhere else.
struct network_message {
  std::string from;  ///< The address of its sender.
  shared_bytes body;
};

/// A name that somebody holds.
struct network_claim {
  std::string name;
  std::string holder;
  /// Rises each time that the name is taken, also by who has had it before, by small steps: they
  /// stay below 2^32. Who has seen a higher one does not obey a lower one.
  std::uint64_t fence = 0;
};

/// An address of one's own. Closed by its destructor, when nobody awaits `receive` any more.
///
/// Thread safety: all members but the destructor from any thread; one coroutine receives at a time.
class network_endpoint {
public:
  virtual ~network_endpoint() = default;

  [[nodiscard]] virtual const std::string& address() const noexcept = 0;

  /// Sends at most once, and does not wait: what is sent to nobody, or lost on its way, is gone.
  /// What does arrive at one address from another arrives in the order in which it was sent, unless
  /// the network was told otherwise. Nothing is sent once it is closed.
  virtual void send(std::string_view to, shared_bytes body) = 0;

  /// The next message; nothing once the endpoint is closed.
  [[nodiscard]] virtual task<std::optional<network_message>> receive() = 0;

  virtual void close() noexcept = 0;

protected:
  network_endpoint() = default;
  network_endpoint(const network_endpoint&) = default;
  network_endpoint& operator=(const network_endpoint&) = default;
};

/// Messages between addresses, names that one at a time can hold, and jobs. Who takes part is
/// trusted: who must not take part is to be kept off the network.
///
/// What it is asked heeds a stop request, and so a time limit: nobody waits for it for longer than
/// he wants to.
///
/// Outlives its endpoints. Thread safety: all members but the destructor from any thread.
class network {
public:
  virtual ~network() = default;

  /// Throws `errc::refused` where somebody has this address, which only `close` gives back.
  [[nodiscard]] virtual std::unique_ptr<network_endpoint> open(std::string address) = 0;

  /// Takes the name for `holder` until `limit` has passed, or until it is released; its holder
  /// claims it again to keep it. The claim's fence; 0: somebody else holds it.
  ///
  /// Like the two below it throws `errc::connection_lost` where the network cannot be reached; what
  /// has happened to the name is not known then.
  [[nodiscard]] virtual task<std::uint64_t> claim(std::string name, std::string holder,
                                                  duration limit) = 0;

  /// Gives the name back, if `holder` holds it.
  [[nodiscard]] virtual task<> release(std::string name, std::string holder) = 0;

  /// All names that are held and begin with `prefix`, in their order.
  [[nodiscard]] virtual task<std::vector<network_claim>> claims(std::string prefix) = 0;

  /// The jobs that all have in common; see net/job_store.hpp. As long as the network lives.
  [[nodiscard]] virtual job_store& jobs() = 0;

  /// Whose clock and random numbers are used here; what belongs to a network, and to no broker,
  /// runs there.
  [[nodiscard]] virtual executor& runs_on() noexcept = 0;

protected:
  network() = default;
  network(const network&) = default;
  network& operator=(const network&) = default;
};

}  // namespace troupe

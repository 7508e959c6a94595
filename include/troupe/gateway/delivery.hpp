// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Whom a message is for, whom it has reached, and what the others have answered.
///
/// Layer: gateway. Plain values.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/base/result.hpp>

namespace troupe {

/// Who hears what a socket says to many.
enum class audience : std::uint8_t {
  others,         ///< All but the sockets of the sender's id.
  other_sockets,  ///< All but the very socket: the sender's other devices hear it.
  everyone        ///< All, the socket as well.
};

namespace detail {

/// Whom what a socket says is not for. A view: the socket outlives what is said.
struct exclusion {
  std::string_view uid{};    // of who speaks
  std::uint64_t number = 0;  // of the very socket; 0: nobody's
  audience to = audience::everyone;

  bool skips(std::string_view other_uid, std::uint64_t other) const noexcept {
    if (number == 0 || to == audience::everyone) return false;
    return to == audience::others ? other_uid == uid : other == number;
  }
};

}  // namespace detail

/// What has become of a message to many.
struct delivery {
  /// A shard that could not be reached, or not in time. An empty name: the gateway's keeper,
  /// without whom none can be.
  struct failure {
    std::string shard;
    std::error_code why;
  };

  std::size_t sockets = 0;  ///< It is on its way to so many,
  std::size_t dropped = 0;  ///< and so many read too slowly to get it.
  std::size_t shards = 0;   ///< Shards that were reached.
  std::vector<failure> failures{};

  [[nodiscard]] bool complete() const noexcept { return dropped == 0 && failures.empty(); }

  delivery& operator+=(delivery&& more) {
    sockets += more.sockets;
    dropped += more.dropped;
    shards += more.shards;
    for (failure& f : more.failures) failures.push_back(std::move(f));
    return *this;
  }
};

/// What one shard has answered to gossip.
struct gossip_reply {
  gossip_reply(std::string from, result<std::string> said)
      : shard(std::move(from)), answer(std::move(said)) {}

  std::string shard;
  result<std::string> answer;  ///< Or the error that it was answered with.
};

}  // namespace troupe

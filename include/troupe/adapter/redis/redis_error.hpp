// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the failures of a Redis server mean here.
///
/// Layer: adapter.

#include <string>
#include <string_view>

#include <troupe/base/error.hpp>

namespace troupe::detail {

/// Whether the server's words are about `topic`: its first word in capitals, or the beginning.
[[nodiscard]] inline bool redis_says(std::string_view words, std::string_view topic) noexcept {
  return words.starts_with(topic) && (words.size() == topic.size() || words[topic.size()] == ' ');
}

/// The code for what a server has refused to do. What it may have done in part, as a script that
/// has failed on its way, is `errc::interrupted`.
[[nodiscard]] inline errc redis_code_of(std::string_view words) noexcept {
  const auto says_one_of = [&](auto... topics) { return (redis_says(words, topics) || ...); };
  if (says_one_of("NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "READONLY", "MISCONF", "BUSY",
                  "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN",
                  "CROSSSLOT", "DENIED")) {
    return errc::refused;
  }
  if (says_one_of("OOM")) return errc::mailbox_full;
  if (says_one_of("NOSCRIPT", "ERR Function not found", "ERR unknown command")) {
    return errc::no_such_method;
  }
  if (says_one_of("WRONGTYPE", "NOGROUP", "BUSYKEY", "BUSYGROUP", "ERR wrong number of arguments",
                  "ERR syntax error", "ERR invalid", "ERR value is not", "ERR unknown subcommand",
                  "ERR Protocol error")) {
    return errc::bad_message;
  }
  return errc::interrupted;
}

/// What is thrown for it: the server's own words, and where the server is.
[[nodiscard]] inline error redis_failure(std::string_view words, const std::string& url) {
  return error(redis_code_of(words), {}, url + " says: " + std::string(words));
}

}  // namespace troupe::detail

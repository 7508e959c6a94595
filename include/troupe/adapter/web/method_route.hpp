// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How methods and functions are reached by HTTP.
///
/// Layer: adapter. A plain value.

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <troupe/gateway/request.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

struct method_route {
  /// The parameter of a query that names the worker's key: `"id"` for `?id=alice`. Empty: clients
  /// do not choose. It is no argument.
  std::string key_parameter{};
  /// Says the key instead, for each request; it is also where requests are refused, by throwing
  /// `http_error`. Called by many threads at once.
  std::function<std::string(const request&)> key{};
  /// Of modules; empty: the one that was last given to `reload`.
  std::string version{};
  /// Of each call, behind which it is answered with 504; `endless`: none but those that hold
  /// anyway. A client that has gone is noticed no sooner.
  duration limit = std::chrono::seconds(30);
  /// True: `GET` and `HEAD` call nothing. Any page can make a browser send those.
  bool by_post_alone = false;
  /// True: clients are told what an exception says. For development.
  bool tell_exceptions = false;
  /// The names of a method's parameters, so that they can be given by name:
  /// `{"transfer", {"to", "amount"}}`.
  std::map<std::string, std::vector<std::string>, std::less<>> names{};
};

}  // namespace troupe

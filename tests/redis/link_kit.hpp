// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A link to a server, and a program around it.

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

namespace redis_tests {

using troupe::detail::redis_command;
using troupe::detail::redis_link;
using troupe::detail::redis_reply;

/// Patient, as tests run on machines that do much else.
inline troupe::redis_options options_for(const std::string& url) {
  using namespace std::chrono_literals;
  troupe::redis_options o = troupe::redis_options::parse(url);
  o.reconnect.max = 200ms;
  o.connect_limit = 20s;
  o.command_limit = 20s;
  return o;
}

struct linked {
  explicit linked(const troupe::redis_options& o)
      : link(std::make_unique<redis_link>(broker.runs_on(), o)) {}
  explicit linked(const std::string& url) : linked(options_for(url)) {}

  template <class... Args>
  redis_reply ask(std::string_view name, Args&&... args) {
    return broker.run(link->ask(redis_command(name, std::forward<Args>(args)...)));
  }
  template <class... Args>
  redis_reply ask_raw(std::string_view name, Args&&... args) {
    return broker.run(link->ask_raw(redis_command(name, std::forward<Args>(args)...)));
  }
  /// The failure of a command: its code, and what it says.
  template <class... Args>
  std::pair<troupe::errc, std::string> failure(std::string_view name, Args&&... args) {
    try {
      static_cast<void>(ask(name, std::forward<Args>(args)...));
    } catch (const troupe::error& e) {
      return {static_cast<troupe::errc>(e.code().value()), e.what()};
    }
    return {troupe::errc{}, "it has not failed"};
  }
  /// Asks, whatever becomes of it, until it is answered.
  void wait_for_server() {
    for (int i = 0; i != 100; ++i) {
      if (failure("PING").first == troupe::errc{}) return;
    }
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  std::unique_ptr<redis_link> link;
};

}  // namespace redis_tests

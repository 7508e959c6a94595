// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where a Redis server is, who asks there, and how long one waits for it.
///
/// Layer: adapter. Plain values.

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How the connection is encrypted, and who the two sides are. Files are in PEM.
struct redis_tls_options {
  bool enabled = false;
  /// Those who vouch for the server; empty: those that the system trusts.
  std::string authorities_file{};
  std::string server_name{};       ///< That it must prove; empty: `redis_options::host`.
  std::string certificate_file{};  ///< Our own, where the server wants one.
  std::string key_file{};
  std::string key_password{};
  /// False: whoever answers is believed to be the server. For tests.
  bool verify = true;
};

struct redis_options {
  std::string host = "127.0.0.1";  ///< A name is looked up anew for each connection.
  std::uint16_t port = 6379;
  std::string user{};      ///< Empty: the server's default user.
  std::string password{};  ///< Empty: none is needed.
  std::uint32_t database = 0;
  redis_tls_options tls{};

  /// Networks of different names have nothing in common, on one server as well. Not empty, without
  /// braces.
  std::string name = "troupe";
  std::string client_name = "troupe";  ///< What `CLIENT LIST` shows; no blanks.

  duration connect_limit = std::chrono::seconds(3);  ///< Until the server has answered first.
  duration command_limit = std::chrono::seconds(5);  ///< Of each command, its wait included.
  /// Waits between attempts to connect.
  backoff_options reconnect{std::chrono::milliseconds(50), std::chrono::seconds(5), 2.0};

  /// Commands that nobody waits for, at most so many and so much of them, are kept while there is
  /// no connection; what comes beyond that is lost.
  std::size_t told_commands = 65536;
  std::size_t told_bytes = std::size_t{64} << 20;
  std::size_t inbox = 65536;  ///< So many messages wait at an address; the rest is lost.

  /// True: also a server that may forget what it was told is good enough: one without
  /// `appendonly yes`, or that evicts keys when it is full.
  bool accept_volatile = false;

  /// `redis://[[user]:password@]host[:port][/database]`; `rediss:` for TLS. What stands before the
  /// host may be percent-encoded. Throws `std::invalid_argument`, which says what is wrong but
  /// repeats no password.
  [[nodiscard]] static redis_options parse(std::string_view url);

  /// What all keys and channels of the network begin with. The braces keep them in one slot of a
  /// cluster.
  [[nodiscard]] std::string prefix() const { return "troupe:{" + name + "}:"; }

  /// Without the password.
  [[nodiscard]] std::string url() const;
};

// --- bodies -------------------------------------------------------------------------------------

namespace detail {

[[noreturn]] inline void refuse_redis_url(const std::string& why) {
  throw std::invalid_argument("the URL of a Redis server: " + why);
}

template <class T>
T redis_url_number(std::string_view text, const char* what) {
  T number{};
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, number);
  if (text.empty() || read.ec != std::errc() || read.ptr != end) {
    refuse_redis_url(std::string(what) + " is no number, or too large");
  }
  return number;
}

inline std::string redis_url_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i != text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned value = 0;
    const char* const first = text.data() + i + 1;
    const bool is_whole = text.size() - i > 2;
    if (!is_whole || std::from_chars(first, first + 2, value, 16).ptr != first + 2) {
      refuse_redis_url("a percent sign is not followed by two hexadecimal digits");
    }
    decoded += static_cast<char>(value);
    i += 2;
  }
  return decoded;
}

inline void read_redis_url_user(std::string_view text, redis_options& o) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    refuse_redis_url("a user has a password: redis://user:password@host");
  }
  o.user = redis_url_decoded(text.substr(0, colon));
  o.password = redis_url_decoded(text.substr(colon + 1));
}

inline void read_redis_url_host(std::string_view text, redis_options& o) {
  std::string_view port;
  if (text.starts_with('[')) {  // an address of IPv6
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) refuse_redis_url("'[' without ']'");
    o.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
  } else {
    const std::size_t colon = text.find(':');
    o.host = text.substr(0, colon);
    if (colon != std::string_view::npos) port = text.substr(colon);
  }
  if (o.host.empty()) refuse_redis_url("there is no host");
  if (port.empty()) return;
  if (port.front() != ':') refuse_redis_url("behind the host comes something else than a port");
  o.port = redis_url_number<std::uint16_t>(port.substr(1), "the port");
  if (o.port == 0) refuse_redis_url("the port is 0");
}

}  // namespace detail

inline redis_options redis_options::parse(std::string_view url) {
  redis_options o;
  const std::size_t colon = url.find("://");
  const std::string_view scheme = url.substr(0, colon);
  if (colon == std::string_view::npos || (scheme != "redis" && scheme != "rediss")) {
    detail::refuse_redis_url("it begins with redis:// or rediss://");
  }
  o.tls.enabled = scheme == "rediss";
  std::string_view rest = url.substr(colon + 3);
  if (rest.find_first_of("?#") != std::string_view::npos) {
    detail::refuse_redis_url("'?' and '#' mean nothing in it");
  }
  const std::size_t slash = rest.find('/');
  std::string_view database;
  if (slash != std::string_view::npos) {
    database = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
  }
  const std::size_t at = rest.rfind('@');
  if (at != std::string_view::npos) {
    detail::read_redis_url_user(rest.substr(0, at), o);
    rest.remove_prefix(at + 1);
  }
  detail::read_redis_url_host(rest, o);
  if (!database.empty()) {
    o.database = detail::redis_url_number<std::uint32_t>(database, "the database");
  }
  return o;
}

inline std::string redis_options::url() const {
  std::string text = tls.enabled ? "rediss://" : "redis://";
  if (!user.empty()) text += user + '@';
  const bool is_v6 = host.find(':') != std::string::npos;
  text += is_v6 ? '[' + host + ']' : host;
  text += ':' + std::to_string(port);
  if (database != 0) text += '/' + std::to_string(database);
  return text;
}

}  // namespace troupe

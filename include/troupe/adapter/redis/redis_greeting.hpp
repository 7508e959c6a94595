// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What is said first on a connection: who we are, and whether this is a server to work with.
///
/// Layer: adapter. Everything is asked in one go; the answers are judged as they come.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_error.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/adapter/redis/redis_output.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/base/error.hpp>

namespace troupe::detail {

/// What a connection is for.
enum class redis_purpose : std::uint8_t { commands, channels };

/// Why there is no connection.
struct redis_problem {
  errc code = errc::connection_lost;
  std::string text{};
  bool is_final = false;  ///< Who waits for a connection is told, instead of waiting on.
  bool is_short = false;  ///< It will soon be over: the next attempt does not wait long.
};

/// Thread safety: none; it is the link's thread's own.
class redis_greeting {
public:
  redis_greeting(const redis_options& options, redis_purpose purpose) noexcept
      : options_(options), purpose_(purpose) {}

  /// Says everything, anew.
  inline void begin(redis_output& to);

  /// The next answer. True: that was the last one, and all is well. Throws a `redis_problem`.
  [[nodiscard]] inline bool hear(const redis_reply& r, redis_output& to);

private:
  enum class step : std::uint8_t { login, database, name, about, setting };

  void say(step s, redis_output& to, const redis_command& c) {
    to.add(c);
    open_.push_back(s);
  }
  void login(redis_output& to);
  void judge(step s, std::string_view words);
  void learn(std::string_view info);
  void learn_setting(const redis_reply& r);
  bool conclude(redis_output& to);
  bool lacks_settings() const;
  void require_version() const;
  void require_master() const;
  void require_durability() const;
  const std::string& known(const std::string& what) const;
  [[noreturn]] void refuse(std::string why) const {
    throw redis_problem{errc::refused, options_.url() + ' ' + std::move(why), true};
  }

  const redis_options& options_;
  const redis_purpose purpose_;
  std::deque<step> open_;                     // what has no answer yet
  std::map<std::string, std::string> known_;  // about the server
  bool asked_settings_ = false;
};

// --- bodies -------------------------------------------------------------------------------------

inline void redis_greeting::begin(redis_output& to) {
  open_.clear();
  known_.clear();
  asked_settings_ = false;
  if (!options_.password.empty()) login(to);
  if (purpose_ == redis_purpose::commands && options_.database != 0) {
    say(step::database, to, redis_command("SELECT", options_.database));
  }
  say(step::name, to, redis_command("CLIENT", "SETNAME", options_.client_name));
  if (purpose_ != redis_purpose::commands) return;
  // One by one: servers that are too old know no other way, and are to be told by their version.
  for (const char* const section : {"server", "persistence", "memory", "replication"}) {
    say(step::about, to, redis_command("INFO", section));
  }
}

inline void redis_greeting::login(redis_output& to) {
  redis_command c("AUTH");
  if (!options_.user.empty()) c.add(options_.user);
  c.add(options_.password);
  say(step::login, to, c);
}

inline bool redis_greeting::hear(const redis_reply& r, redis_output& to) {
  if (open_.empty()) refuse("says more than it was asked");
  const step s = open_.front();
  open_.pop_front();
  if (r.is_failure()) {
    judge(s, r.text());
  } else if (s == step::about) {
    if (r.kind() != redis_kind::text) refuse("is no Redis server");
    learn(r.text());
  } else if (s == step::setting) {
    learn_setting(r);
  }
  return open_.empty() && conclude(to);
}

/// It has refused something. The words are its own.
inline void redis_greeting::judge(step s, std::string_view words) {
  const std::string said = "says: " + std::string(words);
  if (redis_says(words, "LOADING")) {
    throw redis_problem{errc::refused, options_.url() + ' ' + said, false, true};
  }
  if (redis_says(words, "ERR max number of clients reached") || redis_says(words, "BUSY") ||
      redis_says(words, "MASTERDOWN")) {
    throw redis_problem{errc::refused, options_.url() + ' ' + said};
  }
  if (redis_says(words, "NOAUTH")) refuse(said + " (redis_options::password)");
  if (s == step::name || s == step::setting) return;  // one can do without
  if (s == step::about) refuse(said + " (what it is has to be known: allow +info)");
  refuse(said);
}

inline void redis_greeting::learn(std::string_view info) {
  while (!info.empty()) {
    const std::size_t end = info.find('\n');
    std::string_view line = info.substr(0, end);
    info.remove_prefix(end == std::string_view::npos ? info.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    known_.insert_or_assign(std::string(line.substr(0, colon)),
                            std::string(line.substr(colon + 1)));
  }
}

/// What INFO lacks in some places where servers are hired.
inline void redis_greeting::learn_setting(const redis_reply& r) {
  if (r.size() != 2) return;
  const std::string_view name = r[0].text();
  const std::string_view value = r[1].text();
  if (name == "appendonly") known_["aof_enabled"] = value == "yes" ? "1" : "0";
  if (name == "maxmemory-policy") known_["maxmemory_policy"] = value;
}

inline bool redis_greeting::lacks_settings() const {
  return known("aof_enabled").empty() || known("maxmemory_policy").empty();
}

inline bool redis_greeting::conclude(redis_output& to) {
  if (purpose_ != redis_purpose::commands) return true;
  if (!asked_settings_) {
    require_version();
    if (known("loading") == "1") {
      throw redis_problem{errc::refused, options_.url() + " is loading its data", false, true};
    }
    require_master();
    asked_settings_ = true;
    if (!options_.accept_volatile && lacks_settings()) {
      say(step::setting, to, redis_command("CONFIG", "GET", "appendonly"));
      say(step::setting, to, redis_command("CONFIG", "GET", "maxmemory-policy"));
      return false;
    }
  }
  if (!options_.accept_volatile) require_durability();
  return true;
}

inline const std::string& redis_greeting::known(const std::string& what) const {
  static const std::string nothing;
  const auto at = known_.find(what);
  return at == known_.end() ? nothing : at->second;
}

inline void redis_greeting::require_version() const {
  const std::string& version = known("redis_version");
  if (version.empty()) refuse("is no Redis server: it does not say its version");
  unsigned major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (major < 7) refuse("is Redis " + version + "; 7.0 or later is needed");
}

inline void redis_greeting::require_master() const {
  if (known("role") == "slave") {
    refuse("is a replica, which is READONLY; its master is " + known("master_host") + ':' +
           known("master_port"));
  }
}

inline void redis_greeting::require_durability() const {
  if (lacks_settings()) {
    refuse(
        "does not say whether it keeps what it is told: INFO lacks it, and CONFIG GET is not "
        "allowed; redis_options::accept_volatile does without");
  }
  if (known("aof_enabled") != "1") {
    refuse(
        "forgets what it was told when it is restarted: its appendonly is no, and has to be yes "
        "(redis_options::accept_volatile does without)");
  }
  if (known("maxmemory_policy") != "noeviction") {
    refuse("throws keys away when it is full: its maxmemory-policy is " +
           known("maxmemory_policy") +
           ", and has to be noeviction (redis_options::accept_volatile does without)");
  }
}

}  // namespace troupe::detail

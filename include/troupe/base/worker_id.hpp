// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The name of a worker: which class or module, and which segregation key.
///
/// Layer: base. A value; here rather than in actor/, because every error names the worker it is
/// about.

#include <troupe/base/hash.hpp>

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {

/// Identifies a worker, not one of its instances: the id outlives evictions and restarts.
///
/// Not an aggregate, although it looks like one: GCC 12 destroys an aggregate that is a temporary
/// inside a `co_await` expression twice.
struct worker_id {
  worker_id() = default;
  worker_id(std::string actor_type, std::string segregation_key)
      : type(std::move(actor_type)), key(std::move(segregation_key)) {}

  friend bool operator==(const worker_id&, const worker_id&) = default;
  friend std::strong_ordering operator<=>(const worker_id&, const worker_id&) = default;

  std::string type;  ///< The actor's class or the module's name.
  std::string key;   ///< The segregation key; empty for the shared instance.
};

/// Renders `account("alice")`. Keys come from users: quotes, backslashes and control characters
/// are escaped, so that no key can forge a line of a log.
[[nodiscard]] std::string to_string(const worker_id& id);

[[nodiscard]] inline std::uint64_t hash_value(const worker_id& id) noexcept {
  return hash_bytes(id.key, hash_bytes(id.type));
}

namespace detail {

inline void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 0xf];
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
}

}  // namespace detail

inline std::string to_string(const worker_id& id) {
  std::string out;
  out.reserve(id.type.size() + id.key.size() + 4);
  out += id.type;
  out += "(\"";
  detail::append_escaped(out, id.key);
  out += "\")";
  return out;
}

}  // namespace troupe

template <>
struct std::hash<troupe::worker_id> {
  std::size_t operator()(const troupe::worker_id& id) const noexcept {
    return static_cast<std::size_t>(troupe::hash_value(id));
  }
};

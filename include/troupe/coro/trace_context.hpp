// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `trace_context`: which trace a piece of work belongs to, and which span of it; and the text by
/// which other programs are told so (W3C Trace Context, https://www.w3.org/TR/trace-context/).
///
/// Layer: coro. A value.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace troupe {

/// A trace is a whole call chain, across workers and programs; a span is one call within it.
///
/// Thread safety: a value.
struct trace_context {
  std::uint64_t trace_high = 0;  ///< 128 bits, drawn by whoever began the trace ...
  std::uint64_t trace_low = 0;   ///< ... and this is their lower half. All zero: no trace.
  std::uint64_t span = 0;        ///< The span; 0: none.
  bool sampled = false;          ///< Whoever began the trace may have recorded it.

  /// True if both belong to one trace, whatever their spans.
  friend bool operator==(const trace_context& a, const trace_context& b) noexcept {
    return a.trace_high == b.trace_high && a.trace_low == b.trace_low;
  }
};

static_assert(std::is_trivially_destructible_v<trace_context>,
              "GCC 12 destroys an aggregate that is a temporary in a co_await expression twice");

/// True if it names a trace and a span, so that another program can be told.
[[nodiscard]] constexpr bool is_complete(const trace_context& t) noexcept {
  return (t.trace_high | t.trace_low) != 0 && t.span != 0;
}

/// The value of the header `traceparent`; empty where the context is not complete: then the header
/// is left out.
[[nodiscard]] std::string to_traceparent(const trace_context& t);

/// Reads such a value; nothing, where it is not well-formed. Of a version to come, what version 00
/// would understand is read, as the specification asks.
[[nodiscard]] std::optional<trace_context> parse_traceparent(std::string_view text) noexcept;

namespace detail {

// Where the four fields stand: version, trace, span, flags, with dashes between them.
inline constexpr std::size_t trace_at = 3, span_at = 36, flags_at = 53, traceparent_size = 55;

inline void append_hex(std::string& out, std::uint64_t value, int digits = 16) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(value >> shift) & 0xf];
  }
}

/// Reads `digits` of lower-case hexadecimal at `at`; false if they are anything else.
inline bool read_hex(std::string_view text, std::size_t at, std::size_t digits,
                     std::uint64_t& value) noexcept {
  value = 0;
  for (const char c : text.substr(at, digits)) {
    const bool is_decimal = c >= '0' && c <= '9';
    if (!is_decimal && (c < 'a' || c > 'f')) return false;
    value = value << 4 | static_cast<std::uint64_t>(is_decimal ? c - '0' : c - 'a' + 10);
  }
  return true;
}

/// True if the text has the dashes of version 00, and ends with it or goes on as a later one may.
inline bool has_traceparent_shape(std::string_view text, std::uint64_t version) noexcept {
  constexpr std::uint64_t forbidden_version = 0xff;
  if (version == forbidden_version) return false;
  if (text[trace_at - 1] != '-' || text[span_at - 1] != '-' || text[flags_at - 1] != '-') {
    return false;
  }
  if (text.size() == traceparent_size) return true;
  return version != 0 && text[traceparent_size] == '-';
}

}  // namespace detail

inline std::string to_traceparent(const trace_context& t) {
  std::string out;
  if (!is_complete(t)) return out;
  out.reserve(detail::traceparent_size);
  out += "00-";
  detail::append_hex(out, t.trace_high);
  detail::append_hex(out, t.trace_low);
  out += '-';
  detail::append_hex(out, t.span);
  out += t.sampled ? "-01" : "-00";
  return out;
}

inline std::optional<trace_context> parse_traceparent(std::string_view text) noexcept {
  using namespace detail;
  std::uint64_t version = 0;
  std::uint64_t flags = 0;
  trace_context t;
  if (text.size() < traceparent_size || !read_hex(text, 0, 2, version) ||
      !has_traceparent_shape(text, version) || !read_hex(text, trace_at, 16, t.trace_high) ||
      !read_hex(text, trace_at + 16, 16, t.trace_low) || !read_hex(text, span_at, 16, t.span) ||
      !read_hex(text, flags_at, 2, flags) || !is_complete(t)) {
    return std::nullopt;
  }
  t.sampled = (flags & 1) != 0;
  return t;
}

}  // namespace troupe

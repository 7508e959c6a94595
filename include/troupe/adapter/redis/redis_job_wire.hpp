// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How jobs travel to the functions of `redis_job_library` and back.
///
/// Layer: adapter. Numbers are big-endian and of fixed width, as Lua's `struct` has them; times are
/// microseconds, and never points in time: only the server's clock counts. What the library need
/// not know of a request travels in troupe's own form, and its params as they are.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The digits of a number that names a job: always as many.
inline constexpr std::size_t redis_job_digits = 16;

inline std::string redis_job_text(std::uint64_t n) {
  std::string text(redis_job_digits, '0');
  for (std::size_t i = text.size(); i-- != 0; n /= 10) text[i] = static_cast<char>('0' + n % 10);
  return text;
}

inline std::uint64_t redis_job_number(std::string_view text) {
  std::uint64_t n = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, n);
  if (read.ec != std::errc() || read.ptr != end) {
    throw error(errc::bad_message, {}, "what Redis has kept names no job");
  }
  return n;
}

/// Writes what Lua's `struct` reads: `>B`, `>I4`, `>I5`, `>I7`, `>I8`, `>I4c0`, and the numbers of
/// jobs.
class redis_packer {
public:
  redis_packer& u8(std::uint64_t n) { return put(n, 1); }
  redis_packer& u32(std::uint64_t n) { return put(n, 4); }
  redis_packer& u40(std::uint64_t n) { return put(n, 5); }
  redis_packer& u56(std::uint64_t n) { return put(n, 7); }
  redis_packer& u64(std::uint64_t n) { return put(n, 8); }
  redis_packer& text(std::string_view t) {
    u32(t.size());
    return raw(t);
  }
  redis_packer& job(std::uint64_t n) { return raw(redis_job_text(n)); }
  redis_packer& raw(std::string_view t) {
    out_ += t;
    return *this;
  }
  [[nodiscard]] std::size_t size() const noexcept { return out_.size(); }
  [[nodiscard]] std::string take() { return std::move(out_); }

private:
  redis_packer& put(std::uint64_t n, unsigned bytes) {
    for (unsigned i = bytes; i-- != 0;) out_ += static_cast<char>(n >> (8 * i) & 0xff);
    return *this;
  }

  std::string out_;
};

/// Reads what `struct` has packed. Throws `errc::bad_message` where there is too little.
class redis_unpacker {
public:
  explicit redis_unpacker(std::string_view from) noexcept : rest_(from) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(get(1)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(get(4)); }
  std::uint64_t u56() { return get(7); }
  std::uint64_t u64() { return get(8); }
  std::uint64_t job() { return redis_job_number(raw(redis_job_digits)); }
  std::string_view text() { return raw(u32()); }
  std::string_view raw(std::size_t size) {
    if (rest_.size() < size) throw error(errc::bad_message, {}, "what Redis has kept is cut off");
    const std::string_view part = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return part;
  }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

private:
  std::uint64_t get(std::size_t bytes) {
    std::uint64_t n = 0;
    for (const char c : raw(bytes)) n = n << 8 | static_cast<unsigned char>(c);
    return n;
  }

  std::string_view rest_;
};

// --- times --------------------------------------------------------------------------------------

/// Whole microseconds, rounded up; more than 35 years are as good as any.
inline std::uint64_t redis_microseconds(duration d) noexcept {
  constexpr std::int64_t longest = std::int64_t{1} << 50;
  if (d <= duration::zero()) return 0;
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(d);
  const std::int64_t n = whole.count() + (whole < d ? 1 : 0);
  return static_cast<std::uint64_t>((std::min)(n, longest));
}

/// The library says `2^53` for `never`.
inline time_point redis_time_from(time_point now, std::uint64_t microseconds) noexcept {
  constexpr std::uint64_t most = std::uint64_t{1} << 52;
  if (microseconds >= most) return never;
  return saturating_add(now, std::chrono::microseconds(microseconds));
}

// --- requests -----------------------------------------------------------------------------------

/// The name of a script with its version, as the library uses it in keys.
inline std::string redis_script_key(std::string_view name, std::uint32_t version) {
  return redis_packer().u32(version).text(name).take();
}

/// Lower is sooner.
inline std::uint64_t redis_job_rank(const job_request& r) noexcept {
  const auto raised =
      static_cast<std::uint64_t>(std::int64_t{r.priority} + (std::int64_t{1} << 31));
  const std::uint64_t inverted = 0xffff'ffffU - raised;
  return (r.ahead ? 0U : std::uint64_t{1} << 32) + inverted;
}

/// A request that is longer has a key of its own.
inline constexpr std::size_t redis_short_request = 1024;

/// What the library knows of a job: the head of its record, in which a short request is.
inline std::string redis_job_head(const job_request& r, std::string_view request) {
  const bool is_short = request.size() <= redis_short_request;
  const std::size_t size = is_short ? 0 : request.size();
  redis_packer parts;
  parts.u40(redis_job_rank(r)).u32(r.attempts).u32(r.losses).u32(r.together);
  parts.u64(redis_microseconds(r.lease)).u64(redis_microseconds(r.keep));
  parts.u32((std::min)(size, std::size_t{0xffff'ffffU}));
  parts.text(redis_script_key(r.script, r.version)).text(r.key);
  std::string once;
  if (!r.once.empty()) once = redis_packer().text(r.script).raw(r.once).take();
  parts.text(once).text(is_short ? request : std::string_view());
  const std::string rest = parts.take();
  return redis_packer().u32(rest.size() + 4).raw(rest).take();
}

/// A request without its params. Fields are added at the end of a new form, with
/// `previous_version`.
struct redis_job_form {
  std::string script;
  std::uint32_t version = 1;
  bool ahead = false;
  std::int32_t priority = 0;
  duration delay{};
  std::uint32_t attempts = 1;
  duration retry_first{};
  duration retry_max{};
  double retry_factor = 2.0;
  std::uint32_t losses = 3;
  duration time_limit{};
  duration lease{};
  duration keep{};
  std::string once;
  std::string key;
  std::uint32_t together = 0;
};

inline std::string_view redis_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::string redis_encoded(const job_request& r) {
  const redis_job_form form{r.script,       r.version,  r.ahead,       r.priority,
                            r.delay,        r.attempts, r.retry.first, r.retry.max,
                            r.retry.factor, r.losses,   r.time_limit,  r.lease,
                            r.keep,         r.once,     r.key,         r.together};
  const std::vector<std::byte> packed = encode(form);
  redis_packer all;
  return all.text(redis_text(packed)).raw(r.params.view()).take();
}

/// Throws what `decode` does.
inline std::shared_ptr<const job_request> redis_decoded(const shared_bytes& bytes) {
  redis_unpacker from(bytes.view());
  const std::string_view packed = from.text();
  redis_job_form f =
      decode<redis_job_form>(std::as_bytes(std::span(packed.data(), packed.size()))).value();
  auto r = std::make_shared<job_request>();
  r->script = std::move(f.script);
  r->version = f.version;
  r->ahead = f.ahead;
  r->priority = f.priority;
  r->delay = f.delay;
  r->attempts = f.attempts;
  r->retry = {f.retry_first, f.retry_max, f.retry_factor};
  r->losses = f.losses;
  r->time_limit = f.time_limit;
  r->lease = f.lease;
  r->keep = f.keep;
  r->once = std::move(f.once);
  r->key = std::move(f.key);
  r->together = f.together;
  r->params = bytes.slice(packed.size() + 4);
  return r;
}

// --- ends ---------------------------------------------------------------------------------------

/// Empty: no error.
inline std::string redis_encoded(const std::shared_ptr<const job_error>& e) {
  if (!e) return {};
  redis_packer p;
  p.u32(static_cast<std::uint32_t>(e->code)).text(e->type).text(e->text).text(e->reason);
  return p.take();
}

inline std::shared_ptr<const job_error> redis_decoded_error(std::string_view bytes) {
  if (bytes.empty()) return nullptr;
  redis_unpacker from(bytes);
  auto e = std::make_shared<job_error>();
  e->code = static_cast<std::int32_t>(from.u32());
  e->type = from.text();
  e->text = from.text();
  e->reason = from.text();
  return e;
}

inline job_state redis_job_state(std::uint8_t n) {
  if (n >= job_state_count) throw error(errc::bad_message, {}, "no job is in such a state");
  return static_cast<job_state>(n);
}

/// A job that has ended.
struct redis_job_end {
  static constexpr std::uint8_t is_apart = 255;  // instead of a state: it is to be fetched

  std::uint64_t number = 0;
  std::optional<job_outcome> outcome;  // nothing: it is to be fetched
};

inline redis_job_end redis_unpacked_end(std::string_view bytes) {
  redis_unpacker from(bytes);
  redis_job_end end;
  end.number = from.job();
  const std::uint8_t state = from.u8();
  if (state == redis_job_end::is_apart) return end;
  job_outcome o;
  o.state = redis_job_state(state);
  o.result = shared_bytes(from.text());
  o.error = redis_decoded_error(from.text());
  end.outcome = std::move(o);
  return end;
}

}  // namespace troupe::detail

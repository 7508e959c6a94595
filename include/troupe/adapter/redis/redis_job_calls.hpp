// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_calls`: calls of the functions of `redis_job_library`.
///
/// Layer: adapter. Loads the library where the server has not got it, and watches over the epoch: a
/// Redis that was emptied has another one.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_error.hpp>
#include <troupe/adapter/redis/redis_job_library.hpp>
#include <troupe/adapter/redis/redis_job_wire.hpp>
#include <troupe/adapter/redis/redis_link.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// How much is kept. A process that has other limits than the others keeps to its own where it
/// adds, commits and sweeps.
struct redis_job_limits {
  std::size_t jobs = std::size_t{1} << 24;
  std::size_t ended = 100'000;  // completed or cancelled
  std::size_t dead = 100'000;
  std::size_t output = std::size_t{1} << 20;  // bytes of one job
  std::size_t pieces = 1024;                  // of one job
};

/// An answer, shared by all that look into it.
using redis_shared_reply = std::shared_ptr<const redis_reply>;

/// A part of an answer. A small one is copied, a large one keeps the answer.
inline shared_bytes redis_bytes(const redis_shared_reply& of, std::string_view part) {
  constexpr std::size_t large = 16384;
  if (part.size() < large) return shared_bytes(part);
  const auto keep = [of]() noexcept {};
  return shared_bytes::adopt(part.data(), part.size(), keep);
}

/// What each call says first, beside the epoch.
struct redis_job_header {
  std::uint64_t seq = 0;    // of this kind of calls of this process; it rises
  std::uint32_t ack = 0;    // so many ends were had
  std::uint64_t acked = 0;  // the last of them
  bool wants_ends = false;
};

/// Thread safety: all members from any thread.
class redis_job_calls {
public:
  /// The prefix of a network, as `redis_options` makes it. `on_reset` is called where the epoch has
  /// become another one.
  redis_job_calls(redis_link& link, const redis_job_limits& limits,
                  unique_function<void()> on_reset)
      : link_(link),
        limits_(limits),
        key_(link.options().prefix() + "jobs"),
        process_(sixteen_digits(by_chance())),
        on_reset_(std::move(on_reset)) {}

  [[nodiscard]] redis_link& link() noexcept { return link_; }
  /// Of all keys and channels.
  [[nodiscard]] const std::string& key() const noexcept { return key_; }
  /// Names this store among all that use the same network.
  [[nodiscard]] const std::string& process() const noexcept { return process_; }
  [[nodiscard]] const redis_job_limits& limits() const noexcept { return limits_; }
  /// 0: not known, or there is none yet.
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_.load(order::acquire); }

  /// Asks once. `fill(redis_command&)` adds what comes behind the name of the process. Throws as
  /// `redis_link::ask`; `errc::network_reset` where the epoch is another one; and `errc::refused`
  /// where jobs of another version are kept.
  template <class Fill>
  task<redis_shared_reply> call(const std::string& function, redis_job_header h, const Fill& fill);

private:
  /// The numbers of an executor are the same in each program.
  static std::uint64_t by_chance() {
    std::random_device chance;
    return std::uint64_t{chance()} << 32 | chance();
  }
  static std::string sixteen_digits(std::uint64_t n) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text(16, '0');
    for (std::size_t i = text.size(); i-- != 0; n >>= 4) text[i] = digits[n & 15];
    return text;
  }

  std::string packed(const redis_job_header& h, std::uint64_t epoch);
  task<> load();
  void learn(std::string_view about, std::uint64_t asked_with);
  [[noreturn]] void fail(std::string_view words, std::uint64_t asked_with);
  void reset(std::uint64_t was, std::uint64_t is);

  redis_link& link_;
  const redis_job_limits limits_;
  const std::string key_;
  const std::string process_;
  unique_function<void()> on_reset_;
  atomic<std::uint64_t> chance_{by_chance()};
  // Written with release and read with acquire, as what it goes with is guarded by other means.
  atomic<std::uint64_t> epoch_{0};
};

inline std::string redis_job_calls::packed(const redis_job_header& h, std::uint64_t epoch) {
  constexpr std::uint64_t ends_live = 300;  // seconds: results that nobody has fetched
  std::uint64_t next = chance_.fetch_add(1, order::relaxed);
  const std::uint64_t candidate = (splitmix64(next) >> 16) | 1;
  redis_packer p;
  p.u64(epoch).u64(candidate).u64(h.seq).u32(h.ack).job(h.acked).u8(h.wants_ends ? 1 : 0);
  p.u64(limits_.jobs).u64(limits_.ended).u64(limits_.dead).u64(limits_.output);
  return p.u64(limits_.pieces).u64(ends_live).take();
}

template <class Fill>
task<redis_shared_reply> redis_job_calls::call(const std::string& function, redis_job_header h,
                                               const Fill& fill) {
  for (bool is_loaded = false;;) {
    const std::uint64_t known = epoch();
    redis_command c("FCALL", function, 1, key_, packed(h, known), process_);
    fill(c);
    redis_reply got = co_await link_.ask_raw(std::move(c));
    auto reply = std::make_shared<const redis_reply>(std::move(got));
    if (!reply->is_failure()) {
      learn((*reply)[0].text(), known);
      co_return reply;
    }
    const bool is_missing = redis_says(reply->text(), "ERR Function not found");
    if (!is_missing || is_loaded) fail(reply->text(), known);
    co_await load();
    is_loaded = true;
  }
}

inline task<> redis_job_calls::load() {
  redis_command c("FUNCTION", "LOAD", redis_job_library());
  const redis_reply loaded = co_await link_.ask_raw(std::move(c));
  const bool is_there =
      !loaded.is_failure() || loaded.text().find("already exists") != std::string_view::npos;
  if (!is_there) throw redis_failure(loaded.text(), link_.options().url());
}

/// A store that is empty is not made by who only looks: it says 0.
inline void redis_job_calls::learn(std::string_view about, std::uint64_t asked_with) {
  const std::uint64_t epoch = redis_unpacker(about).u64();
  if (asked_with != 0 || epoch == 0) return;
  std::uint64_t none = 0;
  epoch_.compare_exchange_strong(none, epoch, order::acq_rel, order::acquire);
}

inline void redis_job_calls::fail(std::string_view words, std::uint64_t asked_with) {
  constexpr std::string_view is_reset = "TROUPERESET ";
  constexpr std::string_view is_other = "TROUPEVERSION ";
  if (words.starts_with(is_reset)) {
    std::uint64_t epoch = 0;
    const std::string_view digits = words.substr(is_reset.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), epoch);
    reset(asked_with, epoch);
    throw error(errc::network_reset, {}, link_.options().url() + " has lost all jobs");
  }
  if (words.starts_with(is_other)) {
    throw error(errc::refused, {},
                "the jobs of " + link_.options().url() + " are of version " +
                    std::string(words.substr(is_other.size())) + ", this is version 1");
  }
  // Not done, and no reason to give up: it will be another one, or ready, after a while.
  for (const std::string_view passes : {"READONLY", "LOADING", "MASTERDOWN"}) {
    if (!redis_says(words, passes)) continue;
    throw error(errc::connection_lost, {}, link_.options().url() + " says: " + std::string(words));
  }
  throw redis_failure(words, link_.options().url());
}

/// Only the first to learn it tells it.
inline void redis_job_calls::reset(std::uint64_t was, std::uint64_t is) {
  const bool is_news = epoch_.compare_exchange_strong(was, is, order::acq_rel, order::acquire);
  if (is_news) on_reset_();
}

}  // namespace troupe::detail

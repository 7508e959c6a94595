// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Names that one at a time can hold, kept in Redis and by its clock.
///
/// Layer: adapter. Each step is a script, which the server runs as a whole. A claim is one field of
/// a hash; two sorted sets beside it hold its name, to be found by its beginning, and the time when
/// it lapses. Lapsed ones count for nothing, and are taken away when others are claimed.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_link.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/net/network.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// A claim reads "<when it lapses> <fence> <holder>"; times are microseconds of the server's clock.
///
/// Fences rise by one, but are at least the clock's seconds: so they rise also where the server has
/// lost its last moments, or all it had.
inline constexpr std::string_view redis_claim_script = R"lua(
local claims, names, due, fences = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, holder, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

for _, old in ipairs(redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('HDEL', claims, old)
  redis.call('ZREM', names, old)
  redis.call('ZREM', due, old)
end

local fence
local held = redis.call('HGET', claims, name)
if held then
  local lapses, its, by = string.match(held, '^(%d+) (%d+) (.*)$')
  if tonumber(lapses) > now then
    if by ~= holder then return 0 end
    fence = tonumber(its)
  end
end
if not fence then
  fence = math.max(tonumber(redis.call('GET', fences) or '0') + 1, tonumber(time[1]))
  redis.call('SET', fences, string.format('%.0f', fence))
end
local lapses = string.format('%.0f', now + limit)
redis.call('HSET', claims, name, lapses .. ' ' .. string.format('%.0f', fence) .. ' ' .. holder)
redis.call('ZADD', names, 0, name)
redis.call('ZADD', due, lapses, name)
return fence
)lua";

inline constexpr std::string_view redis_release_script = R"lua(
local claims, names, due = KEYS[1], KEYS[2], KEYS[3]
local held = redis.call('HGET', claims, ARGV[1])
if not held or string.match(held, '^%d+ %d+ (.*)$') ~= ARGV[2] then return 0 end
redis.call('HDEL', claims, ARGV[1])
redis.call('ZREM', names, ARGV[1])
redis.call('ZREM', due, ARGV[1])
return 1
)lua";

/// Name, holder and fence, one behind the other.
inline constexpr std::string_view redis_claims_script = R"lua(
local claims, names = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local found = {}
for _, name in ipairs(redis.call('ZRANGE', names, ARGV[1], ARGV[2], 'BYLEX')) do
  local held = redis.call('HGET', claims, name)
  local lapses, fence, by = string.match(held or '', '^(%d+) (%d+) (.*)$')
  if lapses and tonumber(lapses) > now then
    found[#found + 1] = name
    found[#found + 1] = by
    found[#found + 1] = fence
  end
end
return found
)lua";

/// Thread safety: all members from any thread. The link outlives it.
class redis_claims {
public:
  redis_claims(redis_link& link, const std::string& prefix)
      : link_(link),
        claims_(prefix + "claims"),
        names_(prefix + "claims:names"),
        due_(prefix + "claims:due"),
        fences_(prefix + "claims:fences") {}

  task<std::uint64_t> claim(std::string name, std::string holder, duration limit) {
    const auto micros = std::chrono::ceil<std::chrono::microseconds>(
        (std::clamp)(limit, duration::zero(), longest));
    redis_command c("EVAL", redis_claim_script, 4, claims_, names_, due_, fences_);
    c.add(name).add(holder).add(micros.count());
    const redis_reply fence = co_await reached(std::move(c));
    co_return static_cast<std::uint64_t>(fence.integer());
  }

  task<> release(std::string name, std::string holder) {
    redis_command c("EVAL", redis_release_script, 3, claims_, names_, due_);
    c.add(name).add(holder);
    static_cast<void>(co_await reached(std::move(c)));
  }

  task<std::vector<network_claim>> beginning_with(std::string prefix) {
    redis_command c("EVAL", redis_claims_script, 2, claims_, names_);
    c.add("[" + prefix).add(behind(prefix));
    const redis_reply found = co_await reached(std::move(c));
    std::vector<network_claim> all;
    all.reserve(found.size() / 3);
    for (std::size_t i = 0; i + 2 < found.size(); i += 3) {
      network_claim& one = all.emplace_back();
      one.name = found[i].text();
      one.holder = found[i + 1].text();
      one.fence = number(found[i + 2].text());
    }
    co_return all;
  }

private:
  static constexpr duration longest = std::chrono::hours(24 * 365 * 50);

  /// Asks; a server that does not answer in time is one that cannot be reached.
  task<redis_reply> reached(redis_command c) {
    try {
      co_return co_await link_.ask(std::move(c));
    } catch (const error& e) {
      if (e.code() != errc::timed_out) throw;
      throw error(errc::connection_lost, {}, e.detail());
    }
  }

  /// Where the names that begin with this end, as ZRANGE BYLEX has it.
  static std::string behind(std::string prefix) {
    while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
    if (prefix.empty()) return "+";
    ++prefix.back();
    return "(" + prefix;
  }

  static std::uint64_t number(std::string_view text) {
    std::uint64_t n = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), n).ec != std::errc()) {
      throw error(errc::bad_message, {}, "a claim in Redis has no fence");
    }
    return n;
  }

  redis_link& link_;
  const std::string claims_;
  const std::string names_;
  const std::string due_;
  const std::string fences_;
};

}  // namespace troupe::detail

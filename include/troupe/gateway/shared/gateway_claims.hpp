// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The names that a process of a shared gateway holds in the network, and who else is there.
///
/// Layer: gateway.

#include <cstdint>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/net/network.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// One that no process has had before. A simulation gives its own, so that it repeats itself.
inline std::string fresh_process_name(executor& on) {
  std::uint64_t number = on.random();
  if (on.simulated() == nullptr) {
    std::random_device chance;
    for (int i = 0; i != 2; ++i) number = (number << 32) ^ (number >> 32) ^ chance();
  }
  return std::to_string(number);
}

/// Who is there, as far as the network says so. One of them is the keeper, who places connections.
struct gateway_members {
  std::set<std::string, std::less<>> all;
  std::vector<std::string> hosts;  // where shards may be put
  std::string keeper;              // empty: there is none

  bool has(std::string_view address) const noexcept { return all.find(address) != all.end(); }
};

/// A process has its own name, another one where it takes shards, and one of all has the keeper's.
///
/// Used by one coroutine at a time, but that `host` may run beside the others.
class gateway_claims {
public:
  /// `prefix`: of all names of the gateway. The process claims them for `lease` each time.
  gateway_claims(network& n, const std::string& prefix, std::string own, duration lease)
      : over_(n),
        member_(prefix + "member/"),
        host_(prefix + "host/"),
        keeper_(prefix + "keeper"),
        prefix_(prefix),
        own_(std::move(own)),
        lease_(lease) {}
  gateway_claims(const gateway_claims&) = delete;
  gateway_claims& operator=(const gateway_claims&) = delete;

  /// The fence of its own name. Throws `errc::refused` where another process has this address.
  task<std::uint64_t> member() {
    const std::uint64_t fence = co_await over_.claim(member_ + own_, own_, lease_);
    if (fence == 0) throw error(errc::refused, {}, "another process has this address");
    co_return fence;
  }

  /// The fence of its place among the hosts.
  task<std::uint64_t> host() { return over_.claim(host_ + own_, own_, lease_); }

  /// The fence with which it may keep; 0: somebody else does. `keeps`: it has kept with this claim
  /// all the time. Where it has not, a claim that may be left from before is given back first:
  /// nobody begins to keep twice with one fence.
  task<std::uint64_t> keeper(bool keeps) {
    if (may_have_keeper_ && !keeps) co_await over_.release(keeper_, own_);
    may_have_keeper_ = true;  // until the answer says otherwise: there may be none
    const std::uint64_t fence = co_await over_.claim(keeper_, own_, lease_);
    may_have_keeper_ = fence != 0;
    co_return fence;
  }

  /// Who is there now. A keeper or a host that is no member is gone, though its claim has not
  /// lapsed yet.
  task<gateway_members> members() {
    gateway_members is;
    std::vector<network_claim> held = co_await over_.claims(prefix_);
    std::string keeper;
    for (network_claim& c : held) {
      if (c.name == keeper_) {
        keeper = std::move(c.holder);
      } else if (c.name.starts_with(host_)) {
        is.hosts.push_back(std::move(c.holder));
      } else if (c.name.starts_with(member_)) {
        is.all.insert(std::move(c.holder));
      }
    }
    if (is.has(keeper)) is.keeper = std::move(keeper);
    std::erase_if(is.hosts, [&is](const std::string& host) { return !is.has(host); });
    co_return is;
  }

  /// As far as the network can be reached; else they lapse.
  task<> give_back() {
    static_cast<void>(co_await as_result(over_.release(keeper_, own_)));
    static_cast<void>(co_await as_result(over_.release(host_ + own_, own_)));
    static_cast<void>(co_await as_result(over_.release(member_ + own_, own_)));
  }

private:
  network& over_;
  const std::string member_;  // of all members; so are the two below
  const std::string host_;
  const std::string keeper_;
  const std::string prefix_;
  const std::string own_;
  const duration lease_;
  bool may_have_keeper_ = false;
};

}  // namespace troupe::detail

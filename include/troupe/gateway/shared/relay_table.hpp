// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The ends of WebSockets that a process of a shared gateway has.
///
/// Layer: gateway.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <troupe/gateway/shared/socket_relay.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// By the number of the socket; both ends of one may be in the same process.
///
/// Thread safety: all members from any thread.
class relay_table {
public:
  using relay_ptr = std::shared_ptr<socket_relay>;

  /// False: there is one of this number.
  [[nodiscard]] bool add(relay_ptr r) {
    const side key(r->session, r->to_host);
    relays fresh;
    fresh.emplace(key, std::move(r));
    auto node = fresh.extract(fresh.begin());
    relays::insert_return_type put;  // what is not needed goes behind the lock
    const spin_guard guard(lock_);
    put = relays_.insert(std::move(node));
    return put.inserted;
  }

  void forget(const socket_relay& r) noexcept {
    relays::node_type freed;
    const spin_guard guard(lock_);
    const auto at = relays_.find(side(r.session, r.to_host));
    if (at != relays_.end() && at->second.get() == &r) freed = relays_.extract(at);
  }

  relay_ptr find(std::uint64_t session, bool has_client) const noexcept {
    const spin_guard guard(lock_);
    const auto at = relays_.find(side(session, has_client));
    return at == relays_.end() ? relay_ptr() : at->second;
  }

  std::vector<relay_ptr> all() const {
    return gathered<relay_ptr>(
        lock_, [this] { return relays_.size(); },
        [this](std::vector<relay_ptr>& found) {
          for (const auto& [key, r] : relays_) found.push_back(r);
        });
  }

  /// What all of them feel, by the addresses of their other ends.
  std::map<std::string, wire::beat> beats() const {
    std::map<std::string, wire::beat> felt;
    for (const relay_ptr& r : all()) {
      if (r->is_known()) felt[r->peer].all.push_back(r->feel());
    }
    return felt;
  }

  /// They are lost, and forgotten.
  void abort_all() noexcept {
    relays ended;
    {
      const spin_guard guard(lock_);
      ended.swap(relays_);
    }
    for (const auto& [key, r] : ended) r->abort();
  }

private:
  using side = std::pair<std::uint64_t, bool>;  // the session; this end has the client
  using relays = std::map<side, relay_ptr>;

  mutable spin_lock lock_;
  relays relays_;  // guarded by `lock_`
};

}  // namespace troupe::detail

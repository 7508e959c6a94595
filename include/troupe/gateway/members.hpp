// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The sockets that have joined a shard.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Messages are given out from a list that was made beforehand, so that nothing is allocated or
/// sent under the lock; the list is made anew when somebody has come or gone.
///
/// Thread safety: all members from any thread.
class members {
public:
  using socket_ptr = intrusive_ptr<socket_state>;
  using list = std::vector<socket_ptr>;

  /// How often all were told to close; who joins names the count from before `on_open`, and is told
  /// as well where it has risen since.
  std::uint64_t closings() const noexcept {
    const spin_guard guard(lock_);
    return closings_;
  }

  void join(socket_ptr s, std::uint64_t closings_before) {
    socket_state& joining = *s;
    const std::shared_ptr<const close_info> how = put(std::move(s), closings_before);
    if (how) joining.out.close(*how);
  }

  /// All who are there, and those who are about to join.
  void close_all(const close_info& how) {
    auto latest = std::make_shared<const close_info>(how);
    {
      const spin_guard guard(lock_);
      ++closings_;
      closed_as_.swap(latest);  // the one before dies behind the lock
    }
    const auto everyone = all();
    for (const socket_ptr& s : *everyone) s->out.close(how);
  }

  /// The same, and from now on everybody who joins.
  void close_for_good(const close_info& how) {
    {
      const spin_guard guard(lock_);
      is_closed_ = true;
    }
    close_all(how);
  }
  bool is_closed() const noexcept {
    const spin_guard guard(lock_);
    return is_closed_;
  }

  void leave(const socket_state& s) noexcept {
    by_id::node_type node;
    std::shared_ptr<const list> stale;
    const spin_guard guard(lock_);
    auto [at, end] = sockets_.equal_range(s.uid);
    while (at != end && at->second.get() != &s) ++at;
    if (at == end) return;
    node = sockets_.extract(at);
    change(stale);
  }

  /// All who are there now.
  std::shared_ptr<const list> all() const {
    {
      const spin_guard guard(lock_);
      if (all_) return all_;
    }
    const auto fresh = std::make_shared<list>();
    std::uint64_t changes = 0;
    *fresh = gathered<socket_ptr>(
        lock_, [this] { return sockets_.size(); },
        [&](list& found) {
          for (const auto& [uid, s] : sockets_) found.push_back(s);
          changes = changes_;
        });
    const spin_guard guard(lock_);
    if (changes == changes_) all_ = fresh;
    return fresh;
  }

  /// Those of one id.
  list of(std::string_view uid) const {
    return gathered<socket_ptr>(
        lock_, [&] { return sockets_.count(uid); },
        [&](list& found) {
          const auto [first, last] = sockets_.equal_range(uid);
          for (auto at = first; at != last; ++at) found.push_back(at->second);
        });
  }

  /// Sends `m` to all that `skips(socket_state&)` does not name, and adds to `told`.
  template <class Skips>
  void deliver(const socket_message& m, delivery& told, Skips skips) const {
    const auto everyone = all();
    for (const socket_ptr& s : *everyone) {
      if (!skips(*s)) count(s->send(m), told);
    }
    ++told.shards;
  }

  static void count(outbox::fate became, delivery& told) noexcept {
    if (became == outbox::fate::queued) ++told.sockets;
    if (became == outbox::fate::dropped || became == outbox::fate::overflown) ++told.dropped;
  }

private:
  using by_id = std::multimap<std::string_view, socket_ptr, std::less<>>;  // views into the states

  /// How it is to be closed, if it is.
  std::shared_ptr<const close_info> put(socket_ptr s, std::uint64_t closings_before) {
    by_id one;
    const std::string_view uid = s->uid;
    one.emplace(uid, std::move(s));
    auto node = one.extract(one.begin());
    std::shared_ptr<const list> stale;  // dies behind the lock
    const spin_guard guard(lock_);
    sockets_.insert(std::move(node));
    change(stale);
    return closings_ == closings_before && !is_closed_ ? nullptr : closed_as_;
  }

  /// Under the lock.
  void change(std::shared_ptr<const list>& stale) noexcept {
    ++changes_;
    all_.swap(stale);
  }

  mutable spin_lock lock_;  // guards all below
  by_id sockets_;
  mutable std::shared_ptr<const list> all_;  // of `sockets_`; nullptr: to be made
  std::uint64_t changes_ = 0;                // of `sockets_`
  std::uint64_t closings_ = 0;
  bool is_closed_ = false;                       // for good
  std::shared_ptr<const close_info> closed_as_;  // the last time; nullptr: never
};

}  // namespace troupe::detail

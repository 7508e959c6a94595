// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which id is at which shard, and how full the shards are.
///
/// Layer: gateway. Nothing here waits.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What a gateway's class says of its clusters.
struct cluster_limits {
  std::size_t limit = 0;       // connections of a shard that takes new ids
  std::size_t hard_limit = 0;  // connections of a shard, of all ids
  std::size_t max_shards = 0;
};

/// What has come of the wish for a place.
enum class placing : std::uint8_t {
  placed,
  full,        // the id's shard takes no more
  needs_shard  // none has room for another id
};

/// The table of one cluster. A connection is counted from when it is placed until it leaves; an id
/// stays with its shard from its first connection to its last.
///
/// Placing costs the same however many shards there are, but for the logarithm of their number.
/// Nodes are made and freed outside of the lock.
///
/// Thread safety: all members from any thread.
class routes {
public:
  using shard_ptr = intrusive_ptr<shard_peer>;

  explicit routes(const cluster_limits& l) noexcept : limits(l) {}

  const cluster_limits limits;

  /// Finds a place for a connection of `uid`, and counts it; the shard is put in `to`.
  placing place(const std::string& uid, shard_ptr& to) {
    auto fresh = node_of(ids{}, uid, {});
    const spin_guard guard(lock_);
    const auto known = ids_.find(uid);
    if (known != ids_.end()) {
      shard_peer& own = *known->second.shard;
      if (own.standing.load >= limits.hard_limit) return placing::full;
      ++known->second.connections;
      to = known->second.shard;
      change_load(own, own.standing.load + 1);
      return placing::placed;
    }
    if (by_load_.empty()) return placing::needs_shard;
    shard_peer& emptiest = *by_load_.begin()->second;
    if (emptiest.standing.load >= limits.limit) return placing::needs_shard;
    to = shard_ptr(&emptiest);
    fresh.mapped() = {to, 1};
    ids_.insert(std::move(fresh));
    change_load(emptiest, emptiest.standing.load + 1);
    return placing::placed;
  }

  /// A connection of `uid` that was placed at `s` is gone. True: the shard is empty.
  bool leave(const std::string& uid, shard_peer& s, time_point now) noexcept {
    ids::node_type freed;
    const spin_guard guard(lock_);
    if (s.standing.is_out) {
      --s.standing.load;
      return false;
    }
    const auto known = ids_.find(uid);
    TROUPE_ASSERT(known != ids_.end() && known->second.shard.get() == &s,
                  "who leaves a shard was placed there");
    if (--known->second.connections == 0) freed = ids_.extract(known);
    change_load(s, s.standing.load - 1);
    s.standing.idle_since = now;
    return s.standing.load == 0;
  }

  /// Adds a shard that nobody is at. False: there is one of this id.
  bool add(const shard_ptr& s) {
    auto by_name = node_of(names{}, s->id, s);
    auto by_load = node_of(loads{}, load_key(0, s->number), s.get());
    const spin_guard guard(lock_);
    if (shards_.find(s->id) != shards_.end()) return false;
    shards_.insert(std::move(by_name));
    by_load_.insert(std::move(by_load));
    return true;
  }

  /// Counts a connection of `uid` at `s`, whatever the limits. False: the id has another shard, or
  /// this one has been taken out.
  bool adopt(const std::string& uid, const shard_ptr& s) {
    auto fresh = node_of(ids{}, uid, {s, 0});
    ids::insert_return_type put;  // what is not needed goes behind the lock
    const spin_guard guard(lock_);
    if (s->standing.is_out) return false;
    put = ids_.insert(std::move(fresh));
    const auto known = put.position;
    if (known->second.shard != s) return false;
    ++known->second.connections;
    change_load(*s, s->standing.load + 1);
    return true;
  }

  /// Takes the shard out at once, whoever is there: they leave it all the same. Its ids are free to
  /// go elsewhere.
  void take_out(shard_peer& s) noexcept {
    ids freed_ids;
    names::node_type freed;
    loads::node_type freed_load;
    const spin_guard guard(lock_);
    if (std::exchange(s.standing.is_out, true)) return;
    for (auto at = ids_.begin(); at != ids_.end();) {
      const auto it = at++;
      if (it->second.shard.get() == &s) freed_ids.insert(ids_.extract(it));
    }
    freed_load = by_load_.extract(load_key(s.standing.load, s.number));
    freed = shards_.extract(s.id);
  }

  /// Takes out one shard that nobody has been at since `before`; nothing: there is none.
  shard_ptr take_idle(time_point before) noexcept {
    names::node_type freed;
    loads::node_type freed_load;
    const spin_guard guard(lock_);
    for (const auto& [key, s] : by_load_) {
      if (key.first != 0) break;
      if (s->standing.visitors != 0 || s->standing.idle_since > before) continue;
      shard_ptr idle(s);
      freed_load = by_load_.extract(key);
      freed = shards_.extract(idle->id);
      s->standing.is_out = true;
      return idle;
    }
    return {};
  }

  /// True if some shard takes new ids.
  bool has_room() const noexcept {
    const spin_guard guard(lock_);
    return !by_load_.empty() && by_load_.begin()->first.first < limits.limit;
  }

  /// True if a shard waits to be taken out.
  bool has_idle() const noexcept {
    const spin_guard guard(lock_);
    return !by_load_.empty() && by_load_.begin()->first.first == 0;
  }

  std::size_t count() const noexcept {
    const spin_guard guard(lock_);
    return shards_.size();
  }

  /// All shards, in the order in which they were made. They stay until `let_go` is called with
  /// them.
  std::vector<shard_ptr> visit() {
    auto all = gathered<shard_ptr>(
        lock_, [this] { return shards_.size(); },
        [this](std::vector<shard_ptr>& found) {
          for (const auto& [id, s] : shards_) {
            ++s->standing.visitors;
            found.push_back(s);
          }
        });
    std::sort(all.begin(), all.end(),
              [](const shard_ptr& a, const shard_ptr& b) { return a->number < b->number; });
    return all;
  }
  void let_go(const std::vector<shard_ptr>& visited) noexcept {
    const spin_guard guard(lock_);
    for (const shard_ptr& s : visited) --s->standing.visitors;
  }

  /// One shard by its id, or the one of a connected id.
  shard_ptr find(std::string_view id) const noexcept {
    const spin_guard guard(lock_);
    const auto at = shards_.find(id);
    return at == shards_.end() ? shard_ptr() : at->second;
  }
  shard_ptr shard_of(std::string_view uid) const noexcept {
    const spin_guard guard(lock_);
    const auto at = ids_.find(uid);
    return at == ids_.end() ? shard_ptr() : at->second.shard;
  }

  std::size_t load_of(const shard_peer& s) const noexcept {
    const spin_guard guard(lock_);
    return s.standing.load;
  }

private:
  struct stay {
    shard_ptr shard;
    std::size_t connections = 0;
  };
  using load_key = std::pair<std::size_t, std::uint64_t>;  // load, then the older one first
  using ids = std::map<std::string, stay, std::less<>>;
  using names = std::map<std::string, shard_ptr, std::less<>>;
  using loads = std::map<load_key, shard_peer*>;

  template <class Map>
  static typename Map::node_type node_of(Map map, typename Map::key_type key,
                                         typename Map::mapped_type value) {
    map.emplace(std::move(key), std::move(value));
    return map.extract(map.begin());
  }

  void change_load(shard_peer& s, std::size_t load) noexcept {
    auto node = by_load_.extract(load_key(s.standing.load, s.number));
    s.standing.load = load;
    node.key().first = load;
    by_load_.insert(std::move(node));
  }

  mutable spin_lock lock_;  // guards all below, and the `standing` of the shards
  ids ids_;
  names shards_;
  loads by_load_;
};

}  // namespace troupe::detail

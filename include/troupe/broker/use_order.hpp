// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The workers of a broker in the order of their last use, as far as a cleaner knows it.
///
/// Layer: broker. Nothing of this is touched by a call: a worker's place is brought up to date when
/// it comes to the front. So each step costs a logarithm of the number of workers, and a worker
/// that is in use moves back at most once for each time it was used.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include <troupe/base/put_off.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What became of the worker that was taken for the least recently used.
enum class front_fate : std::uint8_t {
  gone,        // it was closed before: out of the order
  used_since,  // it has moved to its place
  evicted,     // now: out of the order
  in_use       // or newborn, or kept alive: it stays where it is
};

/// Thread safety: none; a cleaner is called by one thread at a time.
template <class Lazy = void>
class use_order {
public:
  void add(const worker_id& id, time_point last_used) {
    const auto [at, is_new] = places_.try_emplace(id, place{last_used, next_number_++});
    if (!is_new) return;
    try {
      order_.insert({at->second, &at->first});
    } catch (...) {
      places_.erase(at);
      throw;
    }
  }

  void remove(const worker_id& id) noexcept {
    const auto at = places_.find(id);
    if (at == places_.end()) return;
    order_.erase({at->second, &at->first});
    places_.erase(at);
  }

  void clear() noexcept {
    order_.clear();
    places_.clear();
  }

  [[nodiscard]] std::size_t size() const noexcept { return places_.size(); }
  [[nodiscard]] bool empty() const noexcept { return places_.empty(); }

  /// The least recently used, as far as is known. Not empty; until the next change.
  [[nodiscard]] const worker_id& front() const noexcept { return *order_.begin()->second; }
  [[nodiscard]] time_point front_used() const noexcept { return order_.begin()->first.used; }

  /// It turned out to be used later. Not empty.
  void move_front(time_point used) noexcept {
    auto node = order_.extract(order_.begin());
    place& p = places_.find(*node.value().second)->second;
    p = {used, next_number_++};
    node.value().first = p;
    order_.insert(std::move(node));
  }

  /// It is in use. Not empty.
  void move_front_back() noexcept { move_front(order_.rbegin()->first.used); }

  /// Closes the least recently used, if it is that, and idle. Not empty.
  front_fate evict_front(broker& b) {
    const std::optional<worker_info> info = b.find(front());
    if (!info) {
      drop_front();
      return front_fate::gone;
    }
    if (info->last_used > front_used()) {
      move_front(info->last_used);
      return front_fate::used_since;
    }
    if (info->busy || info->waiting != 0 || !b.evict(info->id)) return front_fate::in_use;
    drop_front();
    return front_fate::evicted;
  }

  void drop_front() noexcept {
    const auto at = places_.find(front());
    order_.erase(order_.begin());
    places_.erase(at);
  }

private:
  struct place {
    time_point used;
    std::uint64_t number;  // among those used at the same time, the order in which that was seen
    friend auto operator<=>(const place&, const place&) = default;
  };
  using entry = std::pair<place, const worker_id*>;
  struct by_place {
    bool operator()(const entry& a, const entry& b) const noexcept { return a.first < b.first; }
  };

  std::unordered_map<put_off<worker_id, Lazy>, place> places_;
  std::set<entry, by_place> order_;  // points into places_
  std::uint64_t next_number_ = 0;
};

}  // namespace troupe::detail

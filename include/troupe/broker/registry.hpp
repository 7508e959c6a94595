// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The cells of one broker, found by class and key.
///
/// Layer: broker. Sharded; finding a cell takes one lock and allocates nothing.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Finds the one cell of an id, or makes it. Does not count as a reference to its cells.
///
/// Thread safety: all members from any thread.
class registry {
public:
  registry() = default;
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  static std::uint64_t hash_of(const actor_class& a, std::string_view key) noexcept {
    return hash_bytes(key, hash_bytes(a.name));  // as hash_value(worker_id) does
  }

  /// The cell of the id, counted; made if there is none. Throws `std::bad_alloc`.
  intrusive_ptr<cell> find_or_make(cell_owner& owner, const actor_class& a, std::string_view key);

  /// The cell of the id, counted; empty if there is none.
  intrusive_ptr<cell> find(const actor_class& a, std::string_view key) const noexcept;

  /// The same, by name.
  intrusive_ptr<cell> find(const worker_id& id) const noexcept;

  /// Gives one reference back; deletes the cell if it was the last.
  void retire(cell& c) noexcept;

  /// Calls `f(cell&)` for each cell, under the lock of its shard.
  template <class F>
  void for_each(F f) const noexcept;

  /// All cells at one moment, counted.
  std::vector<intrusive_ptr<cell>> all() const;

private:
  struct alignas(cache_line_size) shard {
    mutable spin_lock lock;  // guards all below
    std::vector<cell*> buckets;
    std::size_t count = 0;
  };

  static constexpr std::size_t shard_count = 64;

  shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 58]; }
  const shard& shard_of(std::uint64_t hash) const noexcept { return shards_[hash >> 58]; }
  static cell* look_up(const shard& s, const actor_class& a, std::string_view key,
                       std::uint64_t hash) noexcept;
  static void grow(shard& s);

  shard shards_[shard_count];
};

inline cell* registry::look_up(const shard& s, const actor_class& a, std::string_view key,
                               std::uint64_t hash) noexcept {
  if (s.buckets.empty()) return nullptr;
  for (cell* c = s.buckets[hash & (s.buckets.size() - 1)]; c != nullptr; c = c->next_in_bucket) {
    if (c->hash() == hash && &c->type() == &a && c->key() == key) return c;
  }
  return nullptr;
}

/// Doubles the table of a shard. Its lock is held.
inline void registry::grow(shard& s) {
  std::vector<cell*> larger(s.buckets.empty() ? 8 : 2 * s.buckets.size(), nullptr);
  for (cell* c : s.buckets) {
    while (c != nullptr) {
      cell* const next = c->next_in_bucket;
      cell*& bucket = larger[c->hash() & (larger.size() - 1)];
      c->next_in_bucket = bucket;
      bucket = c;
      c = next;
    }
  }
  s.buckets = std::move(larger);
}

inline intrusive_ptr<cell> registry::find_or_make(cell_owner& owner, const actor_class& a,
                                                  std::string_view key) {
  const std::uint64_t hash = hash_of(a, key);
  shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  if (cell* const c = look_up(s, a, key, hash)) return intrusive_ptr<cell>(c);
  if (s.count >= s.buckets.size()) grow(s);
  intrusive_ptr<cell> made(new cell(owner, a, key, hash));
  cell*& bucket = s.buckets[hash & (s.buckets.size() - 1)];
  made->next_in_bucket = bucket;
  bucket = made.get();
  ++s.count;
  return made;
}

inline intrusive_ptr<cell> registry::find(const actor_class& a,
                                          std::string_view key) const noexcept {
  const std::uint64_t hash = hash_of(a, key);
  const shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  return intrusive_ptr<cell>(look_up(s, a, key, hash));
}

inline intrusive_ptr<cell> registry::find(const worker_id& id) const noexcept {
  const std::uint64_t hash = hash_value(id);
  const shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  if (s.buckets.empty()) return {};
  for (cell* c = s.buckets[hash & (s.buckets.size() - 1)]; c != nullptr; c = c->next_in_bucket) {
    if (c->hash() == hash && c->type().name == id.type && c->key() == id.key) {
      return intrusive_ptr<cell>(c);
    }
  }
  return {};
}

template <class F>
void registry::for_each(F f) const noexcept {
  for (const shard& s : shards_) {
    const spin_guard guard(s.lock);
    for (cell* c : s.buckets) {
      for (; c != nullptr; c = c->next_in_bucket) f(*c);
    }
  }
}

inline void registry::retire(cell& c) noexcept {
  shard& s = shard_of(c.hash());
  {
    const spin_guard guard(s.lock);
    if (!c.release_last()) return;  // found again, under this lock
    cell** link = &s.buckets[c.hash() & (s.buckets.size() - 1)];
    while (*link != &c) link = &(*link)->next_in_bucket;
    *link = c.next_in_bucket;
    --s.count;
  }
  delete &c;
}

inline std::vector<intrusive_ptr<cell>> registry::all() const {
  std::vector<intrusive_ptr<cell>> found;
  for (const shard& s : shards_) {
    std::size_t count = 0;
    {
      const spin_guard guard(s.lock);
      count = s.count;
    }
    found.reserve(found.size() + count + 8);
    const spin_guard guard(s.lock);
    for (cell* c : s.buckets) {
      for (; c != nullptr; c = c->next_in_bucket) found.emplace_back(c);
    }
  }
  return found;
}

}  // namespace troupe::detail

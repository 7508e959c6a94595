// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The cells of one broker, found by class and key.
///
/// Layer: broker. Sharded; finding a cell takes one lock and allocates nothing. Each shard is a
/// table with linear probing and backward-shift deletion (D. Knuth, The Art of Computer Programming
/// 3, section 6.4, algorithms L and R): churn leaves no tombstones, and a look-up of a key that is
/// there mostly reads one cache line of the table and one of cells' records.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_record.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Finds the one cell of an id, or makes it. Does not count as a reference to its cells.
///
/// Thread safety: all members from any thread.
template <class Lazy = void>
class registry {
public:
  registry() = default;
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  /// The cell of the id, counted; made if there is none. Throws `std::bad_alloc`.
  intrusive_ptr<cell> find_or_make(cell_owner& owner, const actor_class& a, std::string_view key);

  /// The cell of the id, counted; empty if there is none.
  intrusive_ptr<cell> find(const actor_class& a, std::string_view key) const noexcept;

  /// The same, by name.
  intrusive_ptr<cell> find(const worker_id& id) const noexcept;

  /// The cell at an address that may be any, counted; empty if there is none. Looks at all of them.
  intrusive_ptr<cell> find(const cell* address) const noexcept;

  /// Puts `next`, of the same id, in the place of `old`.
  void replace(const cell& old, cell& next) noexcept;

  /// Gives one reference back; deletes the cell if it was the last. False, having done nothing, if
  /// another one stands in its place.
  bool retire(cell& c) noexcept;

  /// Calls `f(cell&)` for each cell, under the lock of its shard.
  template <class F>
  void for_each(F f) const noexcept;

  /// All cells at one moment, counted.
  std::vector<intrusive_ptr<cell>> all() const;

private:
  /// The low half of a hash, which names the place in the table; never 0, which marks a free one.
  using tag = std::uint32_t;
  static tag tag_of(std::uint64_t hash) noexcept {
    const auto low = static_cast<tag>(hash);
    return low != 0 ? low : 1;
  }

  /// A tag and an address, twelve bytes together: the address has no alignment.
  struct place {
    tag t = 0;
    std::array<std::byte, sizeof(cell_record*)> address{};

    bool is_free() const noexcept { return t == 0; }
    cell_record* get() const noexcept { return std::bit_cast<cell_record*>(address); }
    void set(cell_record* r) noexcept { address = std::bit_cast<decltype(address)>(r); }
  };

  using table = std::vector<put_off<place, Lazy>>;

  struct alignas(cache_line_size) shard {
    mutable spin_lock lock;  // guards all below
    std::size_t count = 0;
    table places;  // a power of two of them, or none

    std::size_t mask() const noexcept { return places.size() - 1; }
    template <class Matches>
    cell_record* find(tag t, Matches matches) const noexcept;
    void insert(tag t, cell_record& r) noexcept;
    bool holds(tag t, const cell_record& r) const noexcept {
      return find(t, [&r](const cell_record& other) noexcept { return &other == &r; }) != nullptr;
    }
    void erase(tag t, const cell_record& r) noexcept;
    /// False where the table is seven eighths full.
    bool has_room() const noexcept { return 8 * (count + 1) <= 7 * places.size(); }
    std::size_t next_size() const noexcept {
      return places.empty() ? smallest_table : 2 * places.size();
    }
    void move_to(table& next) noexcept;
  };

  static constexpr std::size_t shard_count = 64;
  static constexpr std::size_t smallest_table = 8;

  /// As `hash_value(worker_id)`.
  static std::uint64_t hash_of(const actor_class& a, std::string_view key) noexcept {
    return hash_bytes(key, a.hash);
  }
  /// What matches the record of a class and a key. It refers to both: what is copied onto the stack
  /// in halves and read there as a whole costs 5 ns.
  static auto is_called(const actor_class& a, const std::string_view& key) noexcept {
    return [&a, &key](const cell_record& r) noexcept { return &r.type == &a && r.key() == key; };
  }
  /// The cell of a record, counted. The lock is held.
  static intrusive_ptr<cell> counted(cell_record& r) noexcept {
    r.references.fetch_add(1, order::relaxed);
    return intrusive_ptr<cell>(&cell::of(r), adopt_ref);
  }
  /// Of a cell that came into no table.
  struct destroys {
    void operator()(cell* c) const noexcept { cell::destroy(*c); }
  };
  intrusive_ptr<cell> make(cell_owner& owner, const actor_class& a, std::string_view key,
                           std::uint64_t hash);
  shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 58]; }
  const shard& shard_of(std::uint64_t hash) const noexcept { return shards_[hash >> 58]; }

  shard shards_[shard_count];
};

template <class Lazy>
template <class Matches>
cell_record* registry<Lazy>::shard::find(tag t, Matches matches) const noexcept {
  if (places.empty()) return nullptr;
  for (std::size_t i = t & mask(); !places[i].is_free(); i = (i + 1) & mask()) {
    if (places[i].t == t && matches(*places[i].get())) return places[i].get();
  }
  return nullptr;
}

template <class Lazy>
inline void registry<Lazy>::shard::insert(tag t, cell_record& r) noexcept {
  std::size_t i = t & mask();
  while (!places[i].is_free()) i = (i + 1) & mask();
  places[i].t = t;
  places[i].set(&r);
}

/// Moves what follows back over the gap, as far as it may stand there.
template <class Lazy>
inline void registry<Lazy>::shard::erase(tag t, const cell_record& r) noexcept {
  std::size_t gap = t & mask();
  while (places[gap].get() != &r) gap = (gap + 1) & mask();
  for (std::size_t i = (gap + 1) & mask(); !places[i].is_free(); i = (i + 1) & mask()) {
    const std::size_t from_home = (i - (places[i].t & mask())) & mask();
    const std::size_t from_gap = (i - gap) & mask();
    if (from_home < from_gap) continue;
    places[gap] = places[i];
    gap = i;
  }
  places[gap] = {};
  --count;
}

/// Leaves the old table in `next`, which is empty and larger.
template <class Lazy>
inline void registry<Lazy>::shard::move_to(table& next) noexcept {
  next.swap(places);
  for (const place& p : next) {
    if (!p.is_free()) insert(p.t, *p.get());
  }
}

template <class Lazy>
inline intrusive_ptr<cell> registry<Lazy>::find_or_make(cell_owner& owner, const actor_class& a,
                                                        std::string_view key) {
  const std::uint64_t hash = hash_of(a, key);
  {
    const shard& s = shard_of(hash);
    const spin_guard guard(s.lock);
    if (cell_record* const r = s.find(tag_of(hash), is_called(a, key))) return counted(*r);
  }
  return make(owner, a, key, hash);
}

/// What needs memory is made without the lock, and given back without it where another thread has
/// been faster.
template <class Lazy>
inline intrusive_ptr<cell> registry<Lazy>::make(cell_owner& owner, const actor_class& a,
                                                std::string_view key, std::uint64_t hash) {
  std::unique_ptr<put_off<cell, Lazy>, destroys> made(cell::make(owner, a, key));
  made->record().references.store(1, order::relaxed);  // the caller's; nobody else sees it yet
  table room;
  shard& s = shard_of(hash);
  for (;;) {
    std::size_t wanted = 0;
    {
      const spin_guard guard(s.lock);
      if (cell_record* const r = s.find(tag_of(hash), is_called(a, key))) return counted(*r);
      if (!s.has_room() && room.size() >= s.next_size()) s.move_to(room);
      if (s.has_room()) {
        s.insert(tag_of(hash), made->record());
        ++s.count;
        return intrusive_ptr<cell>(made.release(), adopt_ref);
      }
      wanted = s.next_size();
    }
    room = table(wanted);
  }
}

template <class Lazy>
inline intrusive_ptr<cell> registry<Lazy>::find(const actor_class& a,
                                                std::string_view key) const noexcept {
  const std::uint64_t hash = hash_of(a, key);
  const shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  cell_record* const r = s.find(tag_of(hash), is_called(a, key));
  return r != nullptr ? counted(*r) : intrusive_ptr<cell>();
}

template <class Lazy>
inline intrusive_ptr<cell> registry<Lazy>::find(const worker_id& id) const noexcept {
  const std::uint64_t hash = hash_value(id);
  const shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  cell_record* const r = s.find(tag_of(hash), [&](const cell_record& other) noexcept {
    return other.type.name == id.type && other.key() == id.key;
  });
  return r != nullptr ? counted(*r) : intrusive_ptr<cell>();
}

template <class Lazy>
inline intrusive_ptr<cell> registry<Lazy>::find(const cell* address) const noexcept {
  for (const shard& s : shards_) {
    const spin_guard guard(s.lock);
    for (const place& p : s.places) {
      if (!p.is_free() && &cell::of(*p.get()) == address) return counted(*p.get());
    }
  }
  return {};
}

template <class Lazy>
template <class F>
void registry<Lazy>::for_each(F f) const noexcept {
  for (const shard& s : shards_) {
    const spin_guard guard(s.lock);
    for (const place& p : s.places) {
      if (!p.is_free()) f(cell::of(*p.get()));
    }
  }
}

template <class Lazy>
inline void registry<Lazy>::replace(const cell& old, cell& next) noexcept {
  const std::uint64_t hash = hash_of(old.type(), old.key());
  shard& s = shard_of(hash);
  const spin_guard guard(s.lock);
  for (std::size_t i = tag_of(hash) & s.mask();; i = (i + 1) & s.mask()) {
    if (s.places[i].get() != &old.record()) continue;
    s.places[i].set(&next.record());
    return;
  }
}

/// Whoever replaces a cell refers to it: one that is here stays here if this was the last
/// reference.
template <class Lazy>
inline bool registry<Lazy>::retire(cell& c) noexcept {
  const std::uint64_t hash = hash_of(c.type(), c.key());
  shard& s = shard_of(hash);
  {
    const spin_guard guard(s.lock);
    if (!s.holds(tag_of(hash), c.record())) return false;
    if (!c.release_last()) return true;  // found again, under this lock
    s.erase(tag_of(hash), c.record());
  }
  cell::destroy(c);
  return true;
}

template <class Lazy>
inline std::vector<intrusive_ptr<cell>> registry<Lazy>::all() const {
  std::vector<intrusive_ptr<put_off<cell, Lazy>>> found;
  for (const shard& s : shards_) {
    std::size_t count = 0;
    {
      const spin_guard guard(s.lock);
      count = s.count;
    }
    found.reserve(found.size() + count + 8);
    const spin_guard guard(s.lock);
    for (const place& p : s.places) {
      if (!p.is_free()) found.emplace_back(&cell::of(*p.get()));
    }
  }
  return found;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a look-up reads of a cell: its class, its key and how often it is referred to.
///
/// Layer: actor. Half a cache line, apart from the rest of the cell (cell_memory.hpp): what is read
/// of a hundred thousand cells is to stay in a cache.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

struct actor_class;

/// Class and key do not change; the count is the cell's. Aligned as a cell may be, also where
/// addresses are short.
struct alignas(8) cell_record {
  /// Throws `std::bad_alloc`.
  cell_record(const actor_class& a, std::string_view key) : type(a) {
    if (key.size() <= most_inside) {
      set_size(static_cast<unsigned char>(key.size()));
      if (!key.empty()) std::memcpy(text_, key.data(), key.size());
      return;
    }
    char* const copy = static_cast<char*>(::operator new(key.size()));
    std::memcpy(copy, key.data(), key.size());
    const auto key_size = static_cast<std::uint32_t>(key.size());
    std::memcpy(text_, &copy, sizeof copy);
    std::memcpy(text_ + sizeof copy, &key_size, sizeof key_size);
    set_size(is_outside);
  }
  cell_record(const cell_record&) = delete;
  cell_record& operator=(const cell_record&) = delete;
  ~cell_record() {
    if (size() == is_outside) ::operator delete(key_outside().text);
  }

  /// Lies in the record, or in memory of its own.
  std::string_view key() const noexcept {
    if (size() != is_outside) return {text_, size()};
    const outside there = key_outside();
    return {there.text, there.size};
  }

  /// Keys up to this size lie in the record.
  static constexpr std::size_t most_inside = 19;

  const actor_class& type;
  atomic<std::uint32_t> references{0};  // to the cell

private:
  /// Where a key is that has no room inside.
  struct outside {
    char* text;
    std::uint32_t size;
  };
  static constexpr unsigned char is_outside = 0xff;
  static_assert(sizeof(outside::text) + sizeof(outside::size) <= most_inside);

  unsigned char size() const noexcept { return static_cast<unsigned char>(text_[most_inside]); }
  void set_size(unsigned char size) noexcept { text_[most_inside] = static_cast<char>(size); }
  outside key_outside() const noexcept {
    outside there{};
    std::memcpy(&there.text, text_, sizeof there.text);
    std::memcpy(&there.size, text_ + sizeof there.text, sizeof there.size);
    return there;
  }

  char text_[most_inside + 1];  // of the key, or an `outside`; in the last byte the size
};

}  // namespace troupe::detail

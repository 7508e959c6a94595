// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A 64-bit hash that is the same on every platform, in every build and in every release.
///
/// Layer: base. Constexpr; allocates nothing, never throws. Used for shard choice and on the wire,
/// where `std::hash` must not be. Not keyed against an attacker: who lets strangers choose keys
/// passes a secret seed.
/// Algorithms: `mix64` is the finaliser of G. Steele, D. Lea, C. Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014, with D. Stafford's constants (mix 13).

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace troupe {

/// A bijection whose every output bit depends on every input bit.
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// Advances `state` and returns the next number of the SplitMix64 sequence. Every seed is good,
/// including 0; the period is 2^64.
constexpr std::uint64_t splitmix64(std::uint64_t& state) noexcept {
  state += 0x9e3779b97f4a7c15ULL;
  return mix64(state);
}

/// The hash of a sequence, element by element; the order matters.
[[nodiscard]] constexpr std::uint64_t hash_combine(std::uint64_t seed,
                                                   std::uint64_t value) noexcept {
  return mix64(std::rotl(seed, 23) + 0x9e3779b97f4a7c15ULL + mix64(value));
}

namespace detail {

/// Reads `count` (at most 8) bytes as a little-endian number, whatever the machine's own order.
template <class Byte>
[[nodiscard]] constexpr std::uint64_t load_little_endian(const Byte* from,
                                                         std::size_t count) noexcept {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i != count; ++i) {
    word |= static_cast<std::uint64_t>(static_cast<unsigned char>(from[i])) << (8 * i);
  }
  return word;
}

// Each step is a bijection in the word and in the state, so two inputs of equal length that differ
// in one word never collide. The length is mixed in first: it tells "a" from "a\0".
template <class Byte>
[[nodiscard]] constexpr std::uint64_t hash_byte_range(const Byte* from, std::size_t size,
                                                      std::uint64_t seed) noexcept {
  constexpr std::size_t word_size = 8;
  std::uint64_t hash = mix64(seed + 0x9e3779b97f4a7c15ULL * (size + 1));
  for (; size >= word_size; from += word_size, size -= word_size) {
    hash = (hash ^ mix64(load_little_endian(from, word_size))) * 0x9fb21c651e98df25ULL;
    hash = std::rotl(hash, 29);
  }
  if (size != 0) hash ^= mix64(load_little_endian(from, size));
  return mix64(hash);
}

}  // namespace detail

[[nodiscard]] constexpr std::uint64_t hash_bytes(std::string_view bytes,
                                                 std::uint64_t seed = 0) noexcept {
  return detail::hash_byte_range(bytes.data(), bytes.size(), seed);
}

/// Gives the same value as the overload above for the same bytes.
[[nodiscard]] constexpr std::uint64_t hash_bytes(const std::byte* data, std::size_t size,
                                                 std::uint64_t seed = 0) noexcept {
  return detail::hash_byte_range(data, size, seed);
}

}  // namespace troupe

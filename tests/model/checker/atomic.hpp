// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `model::atomic`: stands in for `std::atomic` behind the alias of sync/atomic.hpp, and for the
/// functions of sync/futex.hpp. Each operation goes to the checker, with the line it stands in.

#include <model/checker/engine.hpp>

#include <chrono>
#include <cstring>
#include <type_traits>

namespace troupe::model {

template <class T>
class atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));

public:
  static constexpr bool is_always_lock_free = true;
  using value_type = T;

  constexpr atomic() noexcept : atomic(T()) {}
  constexpr atomic(T value) noexcept : value_(value) {
    if (!std::is_constant_evaluated()) construct(self());
  }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;
  constexpr ~atomic() {
    if (!std::is_constant_evaluated()) destroy(self());
  }

  T load(std::memory_order order, const place& at = place::current()) const noexcept {
    return from_bits(model::load(self(), order, at));
  }
  void store(T value, std::memory_order order, const place& at = place::current()) noexcept {
    model::store(self(), to_bits(value), order, at);
  }
  T exchange(T value, std::memory_order order, const place& at = place::current()) noexcept {
    return from_bits(modify(self(), change::exchange, to_bits(value), order, at));
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure,
                               const place& at = place::current()) noexcept {
    return swap_if(expected, desired, success, failure, false, at);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure,
                             const place& at = place::current()) noexcept {
    return swap_if(expected, desired, success, failure, true, at);
  }
  T fetch_add(T by, std::memory_order order, const place& at = place::current()) noexcept {
    return from_bits(modify(self(), change::add, to_bits(by), order, at));
  }
  T fetch_sub(T by, std::memory_order order, const place& at = place::current()) noexcept {
    return from_bits(modify(self(), change::subtract, to_bits(by), order, at));
  }
  T fetch_or(T bits, std::memory_order order, const place& at = place::current()) noexcept {
    return from_bits(modify(self(), change::bit_or, to_bits(bits), order, at));
  }
  T fetch_and(T bits, std::memory_order order, const place& at = place::current()) noexcept {
    return from_bits(modify(self(), change::bit_and, to_bits(bits), order, at));
  }

  /// For the futex.
  word self() const noexcept { return word{known_, &value_, sizeof(T)}; }

private:
  static std::uint64_t to_bits(T value) noexcept {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  }
  static T from_bits(std::uint64_t bits) noexcept {
    T value;
    std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
    return value;
  }
  bool swap_if(T& expected, T desired, std::memory_order success, std::memory_order failure,
               bool weak, const place& at) noexcept {
    std::uint64_t bits = to_bits(expected);
    const bool done = compare_exchange(self(), bits, to_bits(desired), success, failure, weak, at);
    if (!done) expected = from_bits(bits);
    return done;
  }

  mutable T value_;
  mutable tag known_;
};

inline void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected,
                       const place& at = place::current()) noexcept {
  wait(word.self(), expected, false, at);
}

inline bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected,
                             std::chrono::steady_clock::time_point deadline,
                             const place& at = place::current()) noexcept {
  const bool limited = deadline != (std::chrono::steady_clock::time_point::max)();
  return wait(word.self(), expected, limited, at);
}

// These only know the word's address: it may be gone.
inline void futex_wake_one(const atomic<std::uint32_t>* word,
                           const place& at = place::current()) noexcept {
  wake(word, false, at);
}
inline void futex_wake_all(const atomic<std::uint32_t>* word,
                           const place& at = place::current()) noexcept {
  wake(word, true, at);
}

}  // namespace troupe::model

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A counted pointer to something that counts its owners itself.
///
/// Layer: base. One pointer wide, allocates nothing, never throws.

#include <troupe/config.hpp>

#include <concepts>
#include <cstddef>
#include <utility>

namespace troupe {

/// Says that the reference passed in is already counted.
struct adopt_ref_t {
  explicit adopt_ref_t() = default;
};
inline constexpr adopt_ref_t adopt_ref{};

/// Owns one reference to `*get()`, or nothing.
///
/// Finds `add_ref(T*)` and `release(T*)` by argument-dependent lookup; both must not throw, and
/// `release` destroys the object with its last reference.
///
/// Thread safety: as a plain pointer. Copies on different threads need a count that is atomic.
template <class T>
class intrusive_ptr {
public:
  using element_type = T;

  constexpr intrusive_ptr() noexcept = default;
  constexpr intrusive_ptr(std::nullptr_t) noexcept {}

  /// Counts a new reference.
  explicit intrusive_ptr(T* object) noexcept : object_(object) { retain(); }

  /// Takes over a reference that is already counted.
  intrusive_ptr(T* object, adopt_ref_t) noexcept : object_(object) {}

  intrusive_ptr(const intrusive_ptr& other) noexcept : object_(other.object_) { retain(); }
  intrusive_ptr(intrusive_ptr&& other) noexcept : object_(other.detach()) {}

  template <class U>
    requires(!std::same_as<U, T> && std::convertible_to<U*, T*>)
  intrusive_ptr(const intrusive_ptr<U>& other) noexcept : object_(other.get()) {
    retain();
  }
  template <class U>
    requires(!std::same_as<U, T> && std::convertible_to<U*, T*>)
  intrusive_ptr(intrusive_ptr<U>&& other) noexcept : object_(other.detach()) {}

  ~intrusive_ptr() {
    if (object_ != nullptr) release(object_);
  }

  // By value: one function serves copies, moves and self-assignment, and the old object is released
  // only after the new one is in place.
  intrusive_ptr& operator=(intrusive_ptr other) noexcept {
    swap(other);
    return *this;
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

  [[nodiscard]] T& operator*() const noexcept {
    TROUPE_ASSERT(object_ != nullptr, "an empty intrusive_ptr points to nothing");
    return *object_;
  }
  [[nodiscard]] T* operator->() const noexcept {
    TROUPE_ASSERT(object_ != nullptr, "an empty intrusive_ptr points to nothing");
    return object_;
  }

  /// Gives the reference up without releasing it; the caller owes the `release`.
  [[nodiscard]] T* detach() noexcept { return std::exchange(object_, nullptr); }

  void reset() noexcept { intrusive_ptr().swap(*this); }
  void swap(intrusive_ptr& other) noexcept { std::swap(object_, other.object_); }

  friend bool operator==(const intrusive_ptr& a, const intrusive_ptr& b) noexcept {
    return a.object_ == b.object_;
  }
  friend bool operator==(const intrusive_ptr& a, std::nullptr_t) noexcept {
    return a.object_ == nullptr;
  }

private:
  void retain() const noexcept {
    if (object_ != nullptr) add_ref(object_);
  }

  T* object_ = nullptr;
};

}  // namespace troupe

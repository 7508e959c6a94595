// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A callable that is owned by one place: `std::function` for what can only be moved.
///
/// Layer: base. Allocates only for callables larger than three pointers, more strictly aligned than
/// one, or whose move may throw.

#include <troupe/config.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace troupe {

template <class Signature>
class unique_function;

/// Holds a callable or nothing. Moving never throws, whatever is inside.
template <class R, class... Args>
class unique_function<R(Args...)> {
public:
  unique_function() noexcept = default;
  unique_function(std::nullptr_t) noexcept {}

  /// Takes a callable; a null function pointer gives an empty `unique_function`.
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, unique_function> &&
             !std::is_member_pointer_v<std::decay_t<F>> &&
             std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
  unique_function(F&& callable) {
    // In the class, because Clang does not match a constraint that names the class outside of it.
    using stored = std::decay_t<F>;
    if constexpr (std::is_pointer_v<stored>) {
      const stored pointer = callable;
      if (pointer == nullptr) return;
    }
    if constexpr (fits_inside<stored>) {
      emplace<stored_inside<stored>, stored>(std::forward<F>(callable));
    } else {
      emplace<stored_outside<stored>, stored*>(new stored(std::forward<F>(callable)));
    }
  }

  unique_function(const unique_function&) = delete;
  unique_function(unique_function&& other) noexcept { take(other); }
  unique_function& operator=(const unique_function&) = delete;
  unique_function& operator=(unique_function&& other) noexcept;
  unique_function& operator=(std::nullptr_t) noexcept;
  ~unique_function() { clear(); }

  [[nodiscard]] explicit operator bool() const noexcept { return operations_ != nullptr; }

  R operator()(Args... args) {
    TROUPE_ASSERT(operations_ != nullptr, "called an empty unique_function");
    return operations_->invoke(buffer_, std::forward<Args>(args)...);
  }

private:
  // What can be done with the callable in a buffer. One constant table per type of callable.
  struct operations {
    R (*invoke)(void* buffer, Args&&... args);
    void (*relocate)(void* from, void* to) noexcept;  // moves to raw memory, leaves raw memory
    void (*destroy)(void* buffer) noexcept;
  };

  template <class F>
  struct stored_inside;
  template <class F>
  struct stored_outside;

  static constexpr std::size_t buffer_size = 3 * sizeof(void*);

  template <class F>
  static constexpr bool fits_inside = sizeof(F) <= buffer_size && alignof(F) <= alignof(void*) &&
                                      std::is_nothrow_move_constructible_v<F>;

  template <class Storage>
  static constexpr operations operations_of{&Storage::invoke, &Storage::relocate,
                                            &Storage::destroy};

  template <class Storage, class Stored, class From>
  void emplace(From&& from) {
    ::new (static_cast<void*>(buffer_)) Stored(std::forward<From>(from));
    operations_ = &operations_of<Storage>;
  }

  void take(unique_function& other) noexcept;
  void clear() noexcept;

  // Null while empty. Otherwise buffer_ holds the callable or a pointer to it, as the table knows.
  const operations* operations_ = nullptr;
  alignas(void*) std::byte buffer_[buffer_size];
};

// -- How a callable is stored --------------------------------------------------------------------

template <class R, class... Args>
template <class F>
struct unique_function<R(Args...)>::stored_inside {
  static F& in(void* buffer) noexcept { return *std::launder(static_cast<F*>(buffer)); }

  static R invoke(void* buffer, Args&&... args) {
    return static_cast<R>(in(buffer)(std::forward<Args>(args)...));
  }
  static void relocate(void* from, void* to) noexcept {
    ::new (to) F(std::move(in(from)));
    in(from).~F();
  }
  static void destroy(void* buffer) noexcept { in(buffer).~F(); }
};

template <class R, class... Args>
template <class F>
struct unique_function<R(Args...)>::stored_outside {
  static F*& in(void* buffer) noexcept { return *std::launder(static_cast<F**>(buffer)); }

  static R invoke(void* buffer, Args&&... args) {
    return static_cast<R>((*in(buffer))(std::forward<Args>(args)...));
  }
  static void relocate(void* from, void* to) noexcept { ::new (to) F*(in(from)); }
  static void destroy(void* buffer) noexcept { delete in(buffer); }
};

// -- unique_function -----------------------------------------------------------------------------

template <class R, class... Args>
auto unique_function<R(Args...)>::operator=(unique_function&& other) noexcept -> unique_function& {
  if (this == &other) return *this;
  clear();
  take(other);
  return *this;
}

template <class R, class... Args>
auto unique_function<R(Args...)>::operator=(std::nullptr_t) noexcept -> unique_function& {
  clear();
  return *this;
}

template <class R, class... Args>
void unique_function<R(Args...)>::take(unique_function& other) noexcept {
  if (other.operations_ == nullptr) return;
  operations_ = std::exchange(other.operations_, nullptr);
  operations_->relocate(other.buffer_, buffer_);
}

template <class R, class... Args>
void unique_function<R(Args...)>::clear() noexcept {
  // Emptied first: what is destroyed may ask whether the function it was held by is empty.
  const operations* const old = std::exchange(operations_, nullptr);
  if (old != nullptr) old->destroy(buffer_);
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The place in the awaiter's frame where a coroutine or a method puts its result.
///
/// Layer: coro. Allocates nothing; throws only what it was given, or what a move throws.

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <troupe/config.hpp>

namespace troupe::detail {

enum class slot_state : unsigned char { empty, value, error };

/// Room for one value of type `T`, or for the exception that came instead.
///
/// Thread safety: none; whoever fills it makes the awaiting coroutine ready afterwards.
template <class T>
class result_slot {
public:
  result_slot() noexcept {}
  result_slot(const result_slot&) = delete;
  result_slot& operator=(const result_slot&) = delete;
  ~result_slot() { clear(); }

  template <class... Args>
  void emplace(Args&&... args) {
    std::construct_at(&value_, std::forward<Args>(args)...);
    state_ = slot_state::value;
  }

  /// Constructs the value from what `f` returns, in place.
  template <class F>
  void emplace_from(F&& f) {
    ::new (static_cast<void*>(std::addressof(value_))) T(std::forward<F>(f)());
    state_ = slot_state::value;
  }

  void fail(std::exception_ptr e) noexcept {
    clear();
    std::construct_at(&error_, std::move(e));
    state_ = slot_state::error;
  }

  bool failed() const noexcept { return state_ == slot_state::error; }
  bool has_value() const noexcept { return state_ == slot_state::value; }
  const std::exception_ptr& error() const noexcept { return error_; }

  /// The value, moved out; or throws what came instead.
  T take() {
    if (failed()) rethrow();
    TROUPE_ASSERT(has_value(), "a result is taken only once it is there");
    return std::move(value_);
  }

private:
  [[noreturn]] void rethrow() {
    const std::exception_ptr e = std::move(error_);
    std::rethrow_exception(e);
  }

  // On the path of every call, where a compiler may think it too long to be inlined.
  TROUPE_ALWAYS_INLINE void clear() noexcept {
    if (state_ == slot_state::value) std::destroy_at(&value_);
    if (state_ == slot_state::error) std::destroy_at(&error_);
    state_ = slot_state::empty;
  }

  union {
    T value_;
    std::exception_ptr error_;
  };
  slot_state state_ = slot_state::empty;  // which member of the union is alive
};

/// References travel as pointers.
template <class T>
  requires std::is_reference_v<T>
class result_slot<T> {
public:
  result_slot() noexcept = default;
  result_slot(const result_slot&) = delete;
  result_slot& operator=(const result_slot&) = delete;

  void emplace(T value) noexcept { value_ = std::addressof(value); }

  template <class F>
  void emplace_from(F&& f) {
    T value = std::forward<F>(f)();
    value_ = std::addressof(value);
  }

  void fail(std::exception_ptr e) noexcept { error_ = std::move(e); }

  bool failed() const noexcept { return static_cast<bool>(error_); }
  bool has_value() const noexcept { return value_ != nullptr; }
  const std::exception_ptr& error() const noexcept { return error_; }

  T take() {
    if (failed()) {
      const std::exception_ptr e = std::move(error_);
      std::rethrow_exception(e);
    }
    TROUPE_ASSERT(has_value(), "a result is taken only once it is there");
    return static_cast<T>(*value_);
  }

private:
  std::remove_reference_t<T>* value_ = nullptr;
  std::exception_ptr error_;
};

template <>
class result_slot<void> {
public:
  result_slot() noexcept = default;
  result_slot(const result_slot&) = delete;
  result_slot& operator=(const result_slot&) = delete;

  void emplace() noexcept { done_ = true; }

  template <class F>
  void emplace_from(F&& f) {
    std::forward<F>(f)();
    done_ = true;
  }

  void fail(std::exception_ptr e) noexcept { error_ = std::move(e); }

  bool failed() const noexcept { return static_cast<bool>(error_); }
  bool has_value() const noexcept { return done_; }
  const std::exception_ptr& error() const noexcept { return error_; }

  void take() {
    if (!failed()) return;
    const std::exception_ptr e = std::move(error_);
    std::rethrow_exception(e);
  }

private:
  std::exception_ptr error_;
  bool done_ = false;
};

}  // namespace troupe::detail

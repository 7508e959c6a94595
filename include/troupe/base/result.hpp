// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The outcome of something that may throw, as a value.
///
/// Layer: base. Allocates nothing itself. Not `std::expected`: what failed keeps the very
/// exception, so that asking for the value throws it on.

#include <troupe/config.hpp>

#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace troupe {
namespace detail {

/// std::addressof, which all compilers build on this, without the rest of <memory>.
template <class T>
[[nodiscard]] constexpr T* address_of(T& object) noexcept {
  return __builtin_addressof(object);
}

/// How a `T` that may be a reference is held.
template <class T>
class result_storage {
public:
  template <class... Args>
  explicit result_storage(Args&&... args) : value_(std::forward<Args>(args)...) {}

  [[nodiscard]] T& get() noexcept { return value_; }
  [[nodiscard]] const T& get() const noexcept { return value_; }

private:
  T value_;
};

template <class T>
  requires std::is_reference_v<T>
class result_storage<T> {
public:
  explicit result_storage(T target) noexcept : target_(address_of(target)) {}

  [[nodiscard]] std::remove_reference_t<T>& get() const noexcept { return *target_; }

private:
  std::remove_reference_t<T>* target_;
};

/// Whether a result of `T` can hold a `U`. A reference binds only to an object that is there, never
/// to a temporary made by a conversion.
template <class T, class U>
inline constexpr bool result_takes = std::is_convertible_v<U, T>;
template <class T, class U>
inline constexpr bool result_takes<T&, U> = false;
template <class T, class U>
inline constexpr bool result_takes<T&, U&> = std::is_convertible_v<U*, T*>;

/// The code inside an exception, or `state_not_recoverable` for one that carries none.
[[nodiscard]] inline std::error_code code_of(const std::exception_ptr& failure) noexcept {
  if (failure == nullptr) return {};
  try {
    std::rethrow_exception(failure);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    return std::make_error_code(std::errc::state_not_recoverable);
  }
}

}  // namespace detail

/// Either a `T` or the exception thrown instead of it. `T` may be void, a reference or move-only.
///
/// A result that was moved from may only be assigned to or destroyed.
template <class T = void>
class [[nodiscard("it holds the error, if there was one")]] result {
public:
  using value_type = T;

  /// Holds a value.
  template <class U = T>
    requires(detail::result_takes<T, U> && !std::is_same_v<std::remove_cvref_t<U>, result> &&
             !std::is_same_v<std::remove_cvref_t<U>, std::exception_ptr>)
  result(U&& value) : slot_(std::in_place, std::forward<U>(value)) {}

  /// Holds a value constructed here from `args`.
  template <class... Args>
  explicit result(std::in_place_t, Args&&... args)
      : slot_(std::in_place, std::forward<Args>(args)...) {}

  /// Holds a failure, which must not be null.
  result(std::exception_ptr failure) noexcept : failure_(std::move(failure)) {
    TROUPE_ASSERT(failure_ != nullptr, "a failed result needs an exception");
  }

  [[nodiscard]] bool has_value() const noexcept { return slot_.has_value(); }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

  /// The value; throws the exception if there is none.
  T& value() & { return checked().slot_->get(); }
  const T& value() const& { return checked().slot_->get(); }
  T&& value() && { return static_cast<T&&>(checked().slot_->get()); }

  /// The value, which must be there.
  [[nodiscard]] T& operator*() & noexcept { return present().slot_->get(); }
  [[nodiscard]] const T& operator*() const& noexcept { return present().slot_->get(); }
  [[nodiscard]] T&& operator*() && noexcept { return static_cast<T&&>(present().slot_->get()); }
  [[nodiscard]] auto* operator->() noexcept { return detail::address_of(present().slot_->get()); }
  [[nodiscard]] auto* operator->() const noexcept {
    return detail::address_of(present().slot_->get());
  }

  template <class U>
  [[nodiscard]] T value_or(U&& fallback) const& {
    return has_value() ? static_cast<T>(slot_->get()) : static_cast<T>(std::forward<U>(fallback));
  }
  template <class U>
  [[nodiscard]] T value_or(U&& fallback) && {
    return has_value() ? static_cast<T>(static_cast<T&&>(slot_->get()))
                       : static_cast<T>(std::forward<U>(fallback));
  }

  /// The exception, or null if there is a value.
  [[nodiscard]] std::exception_ptr error() const noexcept { return failure_; }

  /// No error if there is a value, the code of a `std::system_error`, or
  /// `std::errc::state_not_recoverable` for any other exception.
  [[nodiscard]] std::error_code code() const noexcept { return detail::code_of(failure_); }

private:
  result& checked() {
    if (!has_value()) std::rethrow_exception(failure_);
    return *this;
  }
  const result& checked() const {
    if (!has_value()) std::rethrow_exception(failure_);
    return *this;
  }
  result& present() noexcept {
    TROUPE_ASSERT(has_value(), "a failed result has no value");
    return *this;
  }
  const result& present() const noexcept {
    TROUPE_ASSERT(has_value(), "a failed result has no value");
    return *this;
  }

  // Exactly one of the two is there, until the result is moved from.
  std::optional<detail::result_storage<T>> slot_;
  std::exception_ptr failure_;
};

template <>
class [[nodiscard("it holds the error, if there was one")]] result<void> {
public:
  using value_type = void;

  /// Holds success.
  result() noexcept {}
  explicit result(std::in_place_t) noexcept {}

  /// Holds a failure, which must not be null.
  result(std::exception_ptr failure) noexcept : failure_(std::move(failure)) {
    TROUPE_ASSERT(failure_ != nullptr, "a failed result needs an exception");
  }

  [[nodiscard]] bool has_value() const noexcept { return failure_ == nullptr; }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

  /// Throws the exception if there is one.
  void value() const {
    if (!has_value()) std::rethrow_exception(failure_);
  }
  void operator*() const noexcept { TROUPE_ASSERT(has_value(), "a failed result has no value"); }

  [[nodiscard]] std::exception_ptr error() const noexcept { return failure_; }
  [[nodiscard]] std::error_code code() const noexcept { return detail::code_of(failure_); }

private:
  std::exception_ptr failure_;
};

}  // namespace troupe

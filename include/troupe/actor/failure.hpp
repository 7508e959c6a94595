// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The exceptions of calls that were not run, or not to their end.
///
/// Layer: actor.
///
/// No exception object is ever given to two callers: who drops the last reference to one deletes
/// it, on a count inside the compiler's run-time library, where ThreadSanitizer does not see that
/// the others have looked before. A cause that several share is kept until all of them are gone, by
/// a count of our own.

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// `errc::cancelled` says that a method was not run. Thrown out of one that was, by something it
/// awaited, it becomes `errc::interrupted`; everything else reaches the caller unchanged.
inline std::exception_ptr as_seen_by_caller(std::exception_ptr e, const cell& c) noexcept {
  try {
    std::rethrow_exception(e);
  } catch (const error& thrown) {
    if (thrown.code() != make_error_code(errc::cancelled)) return e;
    try {
      return std::make_exception_ptr(error(errc::interrupted, c.id(), thrown.detail()));
    } catch (...) {
      return std::current_exception();
    }
  } catch (...) {
    return e;
  }
}

/// An exception for a call that was not run.
inline std::exception_ptr make_failure(errc why, const cell& c, std::string text = {}) noexcept {
  try {
    return std::make_exception_ptr(error(why, c.id(), std::move(text)));
  } catch (...) {
    return std::current_exception();
  }
}

/// Why a worker did something, for all whom it concerns.
class shared_cause {
public:
  explicit shared_cause(std::exception_ptr e) noexcept : cause_(std::move(e)) {}
  const std::exception_ptr& get() const noexcept { return cause_; }

  friend void add_ref(shared_cause* c) noexcept { c->owners_.fetch_add(1, order::relaxed); }
  friend void release(shared_cause* c) noexcept {
    // Pairs with itself: every owner's last look happens before the deletion.
    if (c->owners_.fetch_sub(1, order::acq_rel) == 1) delete c;
  }

private:
  ~shared_cause() = default;

  std::exception_ptr cause_;
  atomic<std::uint32_t> owners_{0};
};

/// Holds on to the cause until everything else of the exception is gone.
class cause_keeper {
protected:
  explicit cause_keeper(intrusive_ptr<shared_cause> c) noexcept : kept_(std::move(c)) {}

private:
  intrusive_ptr<shared_cause> kept_;
};

/// An error that nests what caused it. Made where that is being handled.
class error_with_cause final : private cause_keeper, public error, public std::nested_exception {
public:
  error_with_cause(intrusive_ptr<shared_cause> c, const error& e) noexcept
      : cause_keeper(std::move(c)), error(e) {}
};

/// Why messages are settled without having been run, and what each of their callers gets.
class refusal {
public:
  refusal(errc why, const cell& c, std::exception_ptr cause = nullptr) noexcept : why_(why) {
    try {
      if (cause) cause_ = intrusive_ptr<shared_cause>(new shared_cause(cause));
      error_.emplace(why, c.id());
    } catch (...) {
      // No memory: callers get what says so.
    }
  }

  std::error_code why() const noexcept { return make_error_code(why_); }

  /// An exception of the caller's own.
  std::exception_ptr make() const noexcept {
    try {
      if (!error_) throw std::bad_alloc();
      if (!cause_) throw *error_;
      nest();
    } catch (...) {
      return std::current_exception();
    }
  }

private:
  [[noreturn]] void nest() const {
    try {
      std::rethrow_exception(cause_->get());
    } catch (...) {
      throw error_with_cause(cause_, *error_);
    }
  }

  errc why_;
  std::optional<error> error_;
  intrusive_ptr<shared_cause> cause_;
};

/// `cause` nested in an error that says `why`.
inline std::exception_ptr nest_failure(errc why, const cell& c, std::exception_ptr cause) noexcept {
  return refusal(why, c, std::move(cause)).make();
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who calls: an optional first parameter of a method, stamped by the library.
///
/// Layer: actor. Cheap to copy.

#include <string_view>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/worker_id.hpp>

namespace troupe {

/// Identifies the worker from whose turn a call comes; nobody, for a call from outside.
///
/// Thread safety: a value.
class caller {
public:
  caller() noexcept = default;
  /// For the library: who that is, nobody else can say.
  explicit caller(intrusive_ptr<detail::cell> from) noexcept : from_(std::move(from)) {}

  /// True if a worker calls.
  explicit operator bool() const noexcept { return static_cast<bool>(from_); }

  /// Its id; empty strings if no worker calls.
  [[nodiscard]] worker_id id() const;
  /// Its class, as text. Valid as long as this object.
  [[nodiscard]] std::string_view type() const noexcept;
  /// Its key. Valid as long as this object.
  [[nodiscard]] std::string_view key() const noexcept;

  friend bool operator==(const caller& a, const caller& b) noexcept {
    return a.from_.get() == b.from_.get();
  }

private:
  intrusive_ptr<detail::cell> from_;
};

}  // namespace troupe

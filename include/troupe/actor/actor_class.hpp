// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How instances of one class are made, started, hooked into and destroyed, without their type.
///
/// Layer: actor.

#include <cstdint>
#include <string_view>

#include <troupe/actor/options.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe {

class context;
class call_info;

namespace detail {

/// Makes and destroys instances that are seen as some class `A` by their callers. Immutable.
class maker {
public:
  virtual ~maker() = default;

  /// A new instance, as a pointer to `A`. Throws what the constructor or factory throws.
  virtual void* make(context& ctx) const = 0;
  virtual void destroy(void* instance) const noexcept = 0;

  /// Runs the hook: plain hooks have run when this returns an empty task.
  virtual task<> start(void* instance) const = 0;
  virtual task<> stop(void* instance) const = 0;
  virtual void before(void* instance, const call_info& info) const = 0;
  virtual void after(void* instance, const call_info& info) const noexcept = 0;

  actor_options options;
  bool has_start = false;
  bool has_stop = false;
  bool has_call_hooks = false;
  bool has_after_call = false;
  bool needs_context = true;
};

/// One class as one broker knows it.
struct actor_class {
  actor_class(std::string_view n, const void* t) noexcept : name(n), tag(t), hash(hash_bytes(n)) {}

  const std::string_view name;
  const void* const tag;                  // tells classes apart; see `tag_of`
  const std::uint64_t hash;               // of the name
  atomic<std::uint64_t> version{0};       // how often it was reloaded
  actor_class* next = nullptr;            // in the broker's list; set before it is published
  atomic<const maker*> current{nullptr};  // how the next instance is made; never nullptr in use
};

/// What is needed to make a class known to a broker.
struct class_request {
  std::string_view name;
  const void* tag;
  const maker& (*default_maker)();
};

/// An address that stands for the class `A`.
template <class A>
inline constexpr char class_tag = 0;
template <class A>
const void* tag_of() noexcept {
  return &class_tag<A>;
}

}  // namespace detail
}  // namespace troupe

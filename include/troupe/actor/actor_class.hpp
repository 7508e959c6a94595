// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How instances of one class are made, started, hooked into and destroyed, without their type.
///
/// Layer: actor.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <troupe/actor/options.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe {

class context;
class call_info;

namespace detail {

class maker;
template <class Lazy = void>
class makers_of_keys;
struct actor_class;

/// Says how the next instance of a class is made, for each key. Lives as long as its broker.
///
/// Thread safety: all members from any thread.
class maker_choice {
public:
  virtual ~maker_choice() = default;

  /// Asked once for each instance. Throws what the program's own choice throws.
  virtual const maker& choose(std::string_view key) const = 0;

  /// What is known before that: the options by which messages are taken meanwhile, and whether the
  /// instance may have an `on_start`.
  virtual const actor_options& options_before(std::string_view key) const noexcept = 0;
  virtual bool may_have_start(std::string_view key) const noexcept = 0;
};

/// One object of an instance, and who made it.
struct instance_part {
  const maker* made_by;
  void* object;
};

/// Makes and destroys instances that are seen as some class `A` by their callers. Immutable.
class maker : public maker_choice {
public:
  const maker& choose(std::string_view) const final { return *this; }
  const actor_options& options_before(std::string_view) const noexcept final { return options; }
  bool may_have_start(std::string_view) const noexcept final { return has_start; }

  /// A new instance, as a pointer to `A`. Throws what the constructor or factory throws.
  virtual void* make(context& ctx) const = 0;
  virtual void destroy(void* instance) const noexcept = 0;

  /// Runs the hook: plain hooks have run when this returns an empty task.
  virtual task<> start(void* instance) const = 0;
  virtual task<> stop(void* instance) const = 0;
  virtual void before(void* instance, const call_info& info) const = 0;
  virtual void after(void* instance, const call_info& info) const noexcept = 0;

  /// What calls of the class `tag` concern: all of the instance, unless classes share it.
  virtual instance_part part(void* instance, const void* tag) const noexcept {
    static_cast<void>(tag);
    return {this, instance};
  }

  actor_options options;
  bool has_start = false;
  bool has_stop = false;
  bool has_call_hooks = false;
  bool has_after_call = false;
};

/// Where proxies of a class lead, if not simply to its own workers. Immutable.
struct class_route {
  actor_class* shared = nullptr;  // the one class whose workers it shares; nullptr: none
  std::function<std::string(std::string_view)> map_key;  // empty: keys stay as they are
};

/// One class as one broker knows it.
struct actor_class {
  actor_class(std::string_view n, const void* t) noexcept : name(n), tag(t), hash(hash_bytes(n)) {}

  const std::string_view name;
  const void* const tag;             // tells classes apart; see `tag_of`
  const std::uint64_t hash;          // of the name
  atomic<std::uint64_t> version{0};  // how often it was reloaded
  actor_class* next = nullptr;       // in the broker's list; set before it is published
  // How the next instance is made; never nullptr in use. Pairs release with acquire.
  atomic<const maker_choice*> current{nullptr};
  makers_of_keys<>* by_key =
      nullptr;  // the same as `current`, if keys have their own; the broker's
  // nullptr: its own workers, with the keys that are asked for. Pairs release with acquire.
  atomic<const class_route*> route{nullptr};
  std::vector<const void*> shared_by{};  // tags of the classes that share its workers; before use

  /// True if its workers are those of the class `t`.
  bool stands_for(const void* t) const noexcept {
    return t == tag || std::find(shared_by.begin(), shared_by.end(), t) != shared_by.end();
  }
};

template <class...>
inline constexpr bool all_distinct = true;
template <class A, class... Others>
inline constexpr bool all_distinct<A, Others...> =
    (!std::is_same_v<A, Others> && ...) && all_distinct<Others...>;

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

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How instances are made where that depends on the key: factories of single keys, and a function
/// of the program's that chooses.
///
/// Layer: actor. Asked when an instance is made, never by a call.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/actor/recipe.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A recipe for each key, chosen by `Choose(std::string_view key)`.
template <class A, class Choose>
class chosen_maker final : public maker_choice {
public:
  explicit chosen_maker(Choose c) : choose_(std::move(c)) {}

  const maker& choose(std::string_view key) const override {
    return keep(recipe<A>(choose_(key)).how());
  }
  /// The program's code is asked only when the instance is made.
  const actor_options& options_before(std::string_view) const noexcept override { return options_; }
  bool may_have_start(std::string_view) const noexcept override { return true; }

private:
  /// What was chosen lives as long as this: an instance that is gone may still be asked about.
  const maker& keep(const std::shared_ptr<const maker>& m) const {
    const spin_guard guard(lock_);
    return **kept_.insert(m).first;
  }

  Choose choose_;
  const actor_options options_ = options_of<A>();
  mutable spin_lock lock_;  // guards the one below
  mutable std::unordered_set<std::shared_ptr<const maker>> kept_;
};

/// Makers of single keys, and what makes the instances of all others.
template <class Lazy>
class makers_of_keys final : public maker_choice {
public:
  explicit makers_of_keys(const maker_choice& others) noexcept : others_(&others) {}

  const maker& choose(std::string_view key) const override { return of(key).choose(key); }
  const actor_options& options_before(std::string_view key) const noexcept override {
    return of(key).options_before(key);
  }
  bool may_have_start(std::string_view key) const noexcept override {
    return of(key).may_have_start(key);
  }

  /// Both arguments live as long as this.
  void set(std::string_view key, const maker_choice& m) {
    const spin_guard guard(lock_);
    of_keys_.insert_or_assign(std::string(key), &m);
  }
  void set_others(const maker_choice& m) noexcept {
    const spin_guard guard(lock_);
    others_ = &m;
  }

private:
  struct hash_of_key {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const noexcept { return hash_bytes(key); }
  };

  const maker_choice& of(std::string_view key) const noexcept {
    const spin_guard guard(lock_);
    const auto own = of_keys_.find(key);
    return own != of_keys_.end() ? *own->second : *others_;
  }

  mutable spin_lock lock_;  // guards both below
  std::unordered_map<put_off<std::string, Lazy>, const maker_choice*, hash_of_key, std::equal_to<>>
      of_keys_;
  const maker_choice* others_;
};

}  // namespace troupe::detail

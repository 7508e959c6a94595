// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `recipe<A>`: a factory with the options of what it makes, as a value.
///
/// Layer: actor. Making one allocates; copying it is one atomic increment.

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <troupe/actor/maker_of.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/base/error.hpp>

namespace troupe {
namespace detail {

template <class T>
struct pointee {
  using type = T;
  static constexpr bool is_pointer = false;
};
template <class T>
struct pointee<std::unique_ptr<T>> {
  using type = T;
  static constexpr bool is_pointer = true;
};

/// The maker that calls `factory`, which gives a value or a `std::unique_ptr`.
template <class A, class F>
std::shared_ptr<maker> maker_by(F factory) {
  static_assert(std::is_invocable_v<F&, context&>,
                "troupe: a factory is called with a troupe::context&");
  using made = std::remove_cvref_t<std::invoke_result_t<F&, context&>>;
  using D = typename pointee<made>::type;
  static_assert(std::is_base_of_v<A, D>,
                "troupe: a factory returns the class itself, one derived from it, or a "
                "std::unique_ptr to either");
  static_assert(!pointee<made>::is_pointer || std::is_same_v<A, D> ||
                    std::has_virtual_destructor_v<A> || !std::is_polymorphic_v<A>,
                "troupe: the class that the factory returns by pointer needs a virtual destructor");
  auto make = [factory = std::move(factory)](context& ctx) -> D* {
    if constexpr (pointee<made>::is_pointer) {
      D* const instance = factory(ctx).release();
      if (instance == nullptr)
        throw error(errc::start_failed, ctx.id(), "the factory gave nothing");
      return instance;
    } else {
      return new D(factory(ctx));
    }
  };
  return std::make_shared<maker_of<A, D, decltype(make)>>(std::move(make));
}

inline std::shared_ptr<maker> with_options(std::shared_ptr<maker> m, const actor_options& o) {
  m->options = o;
  return m;
}

}  // namespace detail

/// How instances of `A` are made: by a factory, which is called with a `context&` and returns an
/// `A`, a class derived from it, or a `std::unique_ptr` to either. The hooks and options of what it
/// returns count, unless other options are given here.
///
/// A handle: copies share the factory, which any number of workers may call at once. An empty
/// recipe stands for the constructor and the options of the class itself.
template <class A>
class recipe {
public:
  recipe() noexcept = default;

  /// A factory is a recipe.
  template <class F>
    requires(!std::same_as<F, recipe>)
  recipe(F factory) : maker_(detail::maker_by<A>(std::move(factory))) {}

  /// A factory with options that stand instead of those of the class that it returns.
  template <class F>
  recipe(F factory, const actor_options& options)
      : maker_(detail::with_options(detail::maker_by<A>(std::move(factory)), options)) {}

  /// The class's own constructor, with these options.
  explicit recipe(const actor_options& options)
      : maker_(detail::with_options(std::make_shared<detail::maker_of<A, A, A* (*)(context&)>>(
                                        &detail::make_by_constructor<A>),
                                    options)) {}

  /// False if it is empty.
  explicit operator bool() const noexcept { return maker_ != nullptr; }

  /// For the library.
  std::shared_ptr<const detail::maker> how() const noexcept {
    if (maker_) return maker_;
    return {std::shared_ptr<void>(), &detail::default_maker<A>()};  // lives for ever
  }

private:
  std::shared_ptr<const detail::maker> maker_;
};

}  // namespace troupe

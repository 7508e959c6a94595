// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The maker of one class: construction, hooks and destruction, with the types known.
///
/// Layer: actor.

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/hooks.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/immortal.hpp>
#include <troupe/base/type_name.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

/// Makes instances of `D`, which callers see as `A`, by `Factory(context&) -> D*`.
template <class A, class D, class Factory>
class maker_of final : public maker {
public:
  explicit maker_of(Factory f) : factory_(std::move(f)) {
    check_hooks<D>();
    options = options_of<D>();
    has_start = has_on_start<D>;
    has_stop = has_on_stop<D>;
    has_after_call = detail::has_after_call<D>;
    has_call_hooks = has_before_call<D> || has_after_call;
  }

  void* make(context& ctx) const override { return static_cast<A*>(factory_(ctx)); }
  void destroy(void* instance) const noexcept override { delete self(instance); }

  task<> start(void* instance) const override {
    if constexpr (has_on_start<D>) return run_hook([&] { return self(instance)->on_start(); });
    return task<>();
  }
  task<> stop(void* instance) const override {
    if constexpr (has_on_stop<D>) return run_hook([&] { return self(instance)->on_stop(); });
    return task<>();
  }
  void before([[maybe_unused]] void* instance,
              [[maybe_unused]] const call_info& info) const override {
    if constexpr (has_before_call<D>) self(instance)->before_call(info);
  }
  void after([[maybe_unused]] void* instance,
             [[maybe_unused]] const call_info& info) const noexcept override {
    if constexpr (detail::has_after_call<D>) {
      try {
        self(instance)->after_call(info);
      } catch (...) {
        // The method has run: nothing that happens afterwards changes what its caller gets.
      }
    }
  }

private:
  static D* self(void* instance) noexcept { return static_cast<D*>(static_cast<A*>(instance)); }

  template <class F>
  static task<> run_hook(F hook) {
    if constexpr (is_task<decltype(hook())>) {
      return hook();
    } else {
      hook();
      return task<>();
    }
  }

  Factory factory_;
};

/// A new `A` by the constructor that takes a `context&`, else by the one that takes nothing.
template <class A>
A* make_by_constructor(context& ctx) {
  if constexpr (std::is_constructible_v<A, context&>) {
    return new A(ctx);
  } else if constexpr (std::is_default_constructible_v<A>) {
    return new A();
  } else {
    throw error(errc::start_failed, worker_id(std::string(type_name<A>()), std::string(ctx.key())),
                "it has no constructor that takes a troupe::context& or nothing, and no factory "
                "was provided for it");
  }
}

/// The maker used where the program provides no factory.
template <class A>
const maker& default_maker() {
  static const immortal<maker_of<A, A, A* (*)(context&)>> made(&make_by_constructor<A>);
  return made.get();
}

/// Worked out once, while compiling.
template <class A>
inline constexpr std::string_view class_name = type_name<A>();

template <class A>
class_request request_for() noexcept {
  return {class_name<A>, tag_of<A>(), &default_maker<A>};
}

}  // namespace troupe::detail

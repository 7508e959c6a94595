// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How the workers behind a gateway are made.
///
/// Layer: gateway.

#include <memory>
#include <type_traits>
#include <utility>

#include <troupe/actor/context.hpp>
#include <troupe/actor/recipe.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Says how instances are made, unless the program has said so: as `make` does, with turns that
/// interleave where the class has no options.
template <class A, class F>
void provide_interleaved(broker& b, F make) {
  const class_request asked = request_for<A>();
  const actor_class& known = broker_access::core_of(b).class_of_workers(asked);
  if (known.current.load(order::acquire) != &asked.default_maker()) return;
  if constexpr (requires { actor_options(A::options); }) {
    b.provide<A>(recipe<A>(std::move(make)));
  } else {
    actor_options options;
    options.reentrancy = reentrancy::interleaved;
    b.provide<A>(recipe<A>(std::move(make), options));
  }
}

/// No cleaner takes it: it goes when it has been idle.
template <class S>
std::unique_ptr<S> make_shard_instance(context& ctx, shard here) {
  ctx.keep_alive(endless);
  if constexpr (std::is_constructible_v<S, context&, shard>) {
    return std::make_unique<S>(ctx, std::move(here));
  } else if constexpr (std::is_constructible_v<S, shard>) {
    return std::make_unique<S>(std::move(here));
  } else {
    return std::unique_ptr<S>(make_by_constructor<S>(ctx));
  }
}

}  // namespace troupe::detail

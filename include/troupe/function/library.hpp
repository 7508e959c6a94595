// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `library`: a module as a place where workers of a class run, for typed calls through a broker.
///
/// Layer: function.

#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <troupe/actor/invocation.hpp>
#include <troupe/actor/method_traits.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/type_name.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/function_host.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/function/sent_argument.hpp>
#include <troupe/function/told_call.hpp>

namespace troupe {
namespace detail {

/// The modules that a broker's proxies lead to, by the paths of their libraries.
class attached_modules final : public broker_attachment {
public:
  static function_core& of(broker& b) {
    const auto make = [&b] { return std::make_unique<attached_modules>(b.runs_on()); };
    broker_core<void>& core = broker_access::core_of(b);
    return *static_cast<attached_modules&>(core.attachment(tag_of<attached_modules>(), make)).core_;
  }

  explicit attached_modules(executor& e) : core_(new function_core(e, function_host_options())) {
    core_->set_loader(std::make_shared<path_loader>());
  }
  ~attached_modules() override { core_->end_sandbox(); }

  task<> end() override {
    core_->close();
    return core_->drain(core_->options().drain_limit, true);
  }

private:
  /// A module is asked for by the path itself.
  class path_loader final : public module_loader {
  public:
    task<module_source> load(std::string module, std::string) override {
      co_return module_source(std::move(module));
    }
  };

  intrusive_ptr<function_core> core_;
};

/// Where a proxy of a module leads.
struct module_target {
  function_core* core;  // as long as the broker
  std::string_view path;
  std::string_view key;
};

/// As what an argument for a parameter `P` is written.
template <class P, class Arg>
using passed_t = std::conditional_t<std::is_constructible_v<sent_t<std::decay_t<P>>, const Arg&>,
                                    sent_t<std::decay_t<P>>, owned_t<P>>;

template <class Parameters, class... Args>
struct passed_as;
template <class... Ps, class... Args>
struct passed_as<std::tuple<Ps...>, Args...> {
  using type = std::tuple<passed_t<Ps, Args>...>;
};

/// Writes down what a call of `M` asks.
template <auto M, class... Args>
void ask(open_call& c, Args&&... args) {
  using signature = signature_of<M>;
  using passed =
      typename passed_as<typename signature::parameters, std::remove_cvref_t<Args>...>::type;
  c.wanted_result = reply_as<typename signature::result>::shape();
  encode(passed(args...), c.bytes);
}

/// Makes the call of `M` in the module: only its name and its types are needed, no definition.
template <auto M, class A, class... Args>
auto make_call(module_target target, Args&&... args) {
  if constexpr (check_call<M, A, Args...>()) {
    intrusive_ptr<open_call> c(new open_call(target.core->slot_for(target.path, {}, target.key),
                                             member_name<M>(), target.key));
    ask<M>(*c, std::forward<Args>(args)...);
    return function_call<typename signature_of<M>::result>(std::move(c));
  }
}

/// Tells the module to call `M`. False: it takes no more.
template <auto M, class... Args>
bool tell(broker_core<void>& b, module_target target, Args&&... args) {
  const intrusive_ptr<told_call> c(new told_call(
      b, target.core->slot_for(target.path, {}, target.key), member_name<M>(), target.key));
  ask<M>(*c, std::forward<Args>(args)...);
  return c->send();
}

}  // namespace detail

/// Names a worker of class `A` that runs in a module. Used as `proxy<A>`; `A` is a class with
/// `TROUPE_METHODS` whose methods need only be declared.
///
/// Its calls own what they need. As long as the broker that it was made by.
///
/// Thread safety: as `proxy`.
template <class A>
class module_proxy {
public:
  using actor_type = A;

  /// For the library.
  module_proxy(detail::broker_core<void>& broker, detail::function_core& core, std::string path,
               std::string key)
      : broker_(&broker), core_(&core), path_(std::move(path)), key_(std::move(key)) {}

  [[nodiscard]] std::string_view key() const noexcept { return key_; }

  /// The methods named in `TROUPE_METHODS`.
  template <class B = A>
  detail::arrow<B, detail::module_target> operator->() const {
    return detail::arrow<B, detail::module_target>(target());
  }

  /// Calls method `M`: `co_await p.call<&A::m>(...)`.
  template <auto M, class... Args>
  auto call(Args&&... args) const {
    return detail::make_call<M, A>(target(), std::forward<Args>(args)...);
  }

  /// Calls method `M`, and awaits nothing: what it returns is dropped. What it throws, or why it
  /// did not run, is a dead letter of the broker. False: it is one already, for its module takes no
  /// more calls.
  ///
  /// What one thread or coroutine tells a worker, or calls of it later, comes there in that order,
  /// as long as the module lives.
  template <auto M, class... Args>
  bool tell(Args&&... args) const {
    if constexpr (detail::check_call<M, A, Args...>()) {
      return detail::tell<M>(*broker_, target(), std::forward<Args>(args)...);
    } else {
      return false;
    }
  }

private:
  detail::module_target target() const noexcept { return {core_, path_, key_}; }

  detail::broker_core<void>* broker_;
  detail::function_core* core_;
  std::string path_;
  std::string key_;
};

/// The library of a module, as a place where workers run:
///
///     auto calc = broker.worker<icalculator>(troupe::library("libcalculator.so"), "alice");
///     double d = co_await calc->mean(2.0, 3.0);
///
/// The module is loaded by the first call, and all workers of one path and broker are workers of
/// one instance, unless `per_key` is set. The options of the first library of a path count.
class library {
public:
  explicit library(std::string path, module_options options = {})
      : path_(std::move(path)), options_(std::move(options)) {}

  /// For the library: what `broker::worker` gives.
  template <class A>
  module_proxy<A> worker_at(broker& b, std::string_view key) const {
    detail::function_core& core = detail::attached_modules::of(b);
    core.set_new_module(path_, options_);
    return module_proxy<A>(detail::broker_access::core_of(b), core, path_, std::string(key));
  }

private:
  std::string path_;
  module_options options_;
};

}  // namespace troupe

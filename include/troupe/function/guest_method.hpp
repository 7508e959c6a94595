// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One call of one method of a module's class: its arguments from bytes, its result to bytes.
///
/// Layer: function. In the module's library.

#include <cstddef>
#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/actor/method_traits.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/base/error.hpp>
#include <troupe/codec/shape.hpp>
#include <troupe/coro/result_slot.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/guest.hpp>
#include <troupe/function/guest_failure.hpp>
#include <troupe/function/module_format.hpp>

namespace troupe::detail {

/// What the parameters of a method are on the way: all owned.
template <class Parameters>
struct packed_parameters;
template <class... Ps>
struct packed_parameters<std::tuple<Ps...>> {
  using type = std::tuple<owned_t<Ps>...>;
};
template <class Signature>
using packed_t = typename packed_parameters<typename Signature::parameters>::type;

template <class R>
constexpr std::uint64_t result_shape() noexcept {
  if constexpr (std::is_void_v<R>) {
    return 0;
  } else {
    return shape_of<R>;
  }
}

template <auto M, class A>
class guest_method final : public guest_call {
public:
  using signature = signature_of<M>;
  using packed = packed_t<signature>;
  using result_type = typename signature::result;

  static_assert(decodable<packed>,
                "troupe: a parameter of a method that is listed for a module cannot be decoded");

  /// Starts the call, and settles it here if it cannot be started.
  static void start(guest& g, const proxy<A>& worker, troupe_module_call& c) noexcept {
    try {
      result<packed> read = read_payload<packed>(c.format, as_span(c.payload),
                                                 static_cast<std::size_t>(c.payload.size));
      auto* const made = new guest_method(g, c, worker, std::move(read).value());
      made->begin(made->root_.promise());
    } catch (...) {
      const crossing_failure f = describe_failure_or_code(std::current_exception());
      c.settle(&c, f.outcome, f.code, as_bytes(f.text));
    }
  }

private:
  guest_method(guest& g, troupe_module_call& c, const proxy<A>& worker, packed&& arguments)
      : guest_call(g, c),
        arguments_(std::move(arguments)),
        root_(run(worker, arguments_).release()) {
    root_.promise().result = &result_;
  }

  static task<result_type> run(proxy<A> worker, packed& arguments) {
    auto made = call_on(std::move(worker), arguments,
                        std::make_index_sequence<std::tuple_size_v<packed>>());
    co_return co_await std::move(made);
  }

  template <std::size_t... I>
  static auto call_on(proxy<A>&& worker, [[maybe_unused]] packed& arguments,
                      std::index_sequence<I...>) {
    return std::move(worker).template call<M>(std::move(std::get<I>(arguments))...);
  }

  void settle_ended() noexcept override {
    if (result_.failed()) return settle_failed(result_.error());
    if constexpr (std::is_void_v<result_type>) {
      settle(troupe_outcome_value, 0, {nullptr, 0});
    } else {
      settle_value();
    }
  }

  void settle_value() noexcept {
    std::vector<std::byte> reply;
    try {
      const std::remove_cv_t<result_type> value = result_.take();
      write_payload(call().format, value, reply);
    } catch (...) {
      const crossing_failure f = describe_failure_or_code(std::current_exception());
      settle(troupe_outcome_error, static_cast<std::uint32_t>(errc::result_lost), as_bytes(f.text));
      return;
    }
    settle(troupe_outcome_value, 0, as_bytes(reply));
  }

  void settle_failed(const std::exception_ptr& e) noexcept {
    const crossing_failure f = describe_failure_or_code(e);
    settle(f.outcome, f.code, as_bytes(f.text));
  }

  packed arguments_;
  result_slot<result_type> result_;
  started_task<result_type> root_;  // destroyed before the slot it writes to
};

}  // namespace troupe::detail

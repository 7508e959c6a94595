// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `host_of(context)`: by what a module's worker calls other modules.
///
/// Layer: function. For the module's library.

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/base/error.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/function/function_request.hpp>
#include <troupe/function/guest_executor.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/function/module_reply.hpp>
#include <troupe/function/sent_argument.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// What is asked of the host; lives where it is awaited.
struct outgoing_request {
  std::string module;
  std::string version;
  std::string function;
  std::string key;
  std::uint32_t format = troupe_format_binary;
  std::vector<std::byte> payload;
  duration limit = duration::zero();
};

/// Awaits the reply. The host settles it once, so the coroutine waits until then.
class outgoing_awaiter {
public:
  outgoing_awaiter(const troupe_module_host* host, outgoing_request&& request, frame& f) noexcept
      : host_(host), request_(std::move(request)), frame_(f) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) { suspend(*this); }

protected:
  /// What was replied, if it is a value.
  std::vector<std::byte>& reply() {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (outcome_ != troupe_outcome_value) {
      const std::string_view text(reinterpret_cast<const char*>(reply_.data()), reply_.size());
      throw_reply(outcome_, code_, text, asked());
    }
    return reply_;
  }
  worker_id asked() const { return worker_id(request_.module, request_.key); }

private:
  TROUPE_NOINLINE static void suspend(outgoing_awaiter& self) {
    const troupe_module_host* const host = self.host_;
    if (host == nullptr) {
      throw error(errc::no_such_module, self.asked(), "this worker does not run in a module");
    }
    frame& f = self.frame_;
    const outgoing_request& r = self.request_;
    time_point until = f.chain->deadline;
    if (r.limit != duration::zero()) {
      until = (std::min)(until, saturating_add(f.where->base().now(), r.limit));
    }
    f.park();
    host->call(host->self, as_bytes(std::string_view(r.module)),
               as_bytes(std::string_view(r.version)), as_bytes(std::string_view(r.function)),
               r.format, as_bytes(std::string_view(r.key)),
               as_bytes(std::span<const std::byte>(r.payload)), to_nanoseconds(until),
               &outgoing_awaiter::settled, &self);  // may be gone when this returns
  }

  static void settled(void* context, std::uint32_t outcome, std::uint32_t code,
                      troupe_bytes reply) noexcept {
    guest_executor::borrow_thread();
    auto& self = *static_cast<outgoing_awaiter*>(context);
    self.outcome_ = outcome;
    self.code_ = code;
    const std::span<const std::byte> came = as_span(reply);
    try {
      self.reply_.assign(came.begin(), came.end());
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    frame& f = self.frame_;
    f.where->post(f);
  }

  const troupe_module_host* host_;
  outgoing_request request_;
  frame& frame_;
  std::uint32_t outcome_ = 0;
  std::uint32_t code_ = 0;
  std::vector<std::byte> reply_;
  std::exception_ptr failure_;
};

template <class R>
class outgoing_awaiter_of final : public outgoing_awaiter {
public:
  using outgoing_awaiter::outgoing_awaiter;
  typename reply_as<R>::type await_resume() { return reply_as<R>::read(reply(), asked()); }
};

}  // namespace detail

/// A call of another module, made by `host_of(...).trigger`. It starts when it is awaited, once, as
/// an rvalue.
template <class R>
class [[nodiscard("a call does nothing until it is awaited")]] module_to_module_call {
public:
  /// For the library.
  module_to_module_call(const troupe_module_host* host, detail::outgoing_request&& request)
      : host_(host), request_(std::move(request)) {}
  module_to_module_call(module_to_module_call&&) = default;

  detail::outgoing_awaiter_of<R> await_by(detail::frame& f) && noexcept {
    return detail::outgoing_awaiter_of<R>(host_, std::move(request_), f);
  }

private:
  const troupe_module_host* host_;
  detail::outgoing_request request_;
};

/// The host of a module, as one of its workers sees it. Valid as long as the worker.
class module_host {
public:
  /// For the library. `nullptr`: there is none.
  explicit module_host(const troupe_module_host* host) noexcept : host_(host) {}

  /// True if the worker runs in a module.
  explicit operator bool() const noexcept { return host_ != nullptr; }

  /// Calls a function of another module, if this one may (`module_permissions::may_call`; else
  /// `errc::refused`). As `function_host::trigger`; whom the call comes from the host stamps.
  template <class R, class... Args>
  [[nodiscard]] module_to_module_call<R> trigger(const function_request& request,
                                                 const Args&... args) const {
    detail::outgoing_request r = request_of(request);
    encode(std::tuple<detail::sent_t<Args>...>(args...), r.payload);
    return module_to_module_call<R>(host_, std::move(r));
  }
  [[nodiscard]] module_to_module_call<detail::whole_reply> trigger(
      const function_request& request) const {
    detail::outgoing_request r = request_of(request);
    const std::span<const std::byte> payload = request.payload.bytes();
    r.payload.assign(payload.begin(), payload.end());
    r.format = static_cast<std::uint32_t>(request.format);
    return module_to_module_call<detail::whole_reply>(host_, std::move(r));
  }

private:
  static detail::outgoing_request request_of(const function_request& request) {
    detail::outgoing_request r;
    r.module = request.module;
    r.version = request.version;
    r.function = request.func;
    r.key = request.key;
    r.limit = request.limit;
    return r;
  }

  const troupe_module_host* host_;
};

/// By what the worker whose surroundings these are calls other modules.
[[nodiscard]] inline module_host host_of(const context& ctx) {
  executor& where = detail::context_access::cell_of(ctx).owner().where();
  auto* const guest = dynamic_cast<detail::guest_executor*>(&where);
  return module_host(guest != nullptr ? &guest->host() : nullptr);
}

}  // namespace troupe

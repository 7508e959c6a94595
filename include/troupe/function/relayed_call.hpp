// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A call of one module by another, through the host.
///
/// Layer: function.

#include <algorithm>
#include <exception>
#include <span>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/function/caller_stamp.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/guest_failure.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// A call for a module: nobody is suspended, a function is called.
class relayed_call final : public open_call {
public:
  relayed_call(intrusive_ptr<module_slot> to, const outgoing_call& c)
      : open_call(std::move(to), c.function, c.key), settled_(c.settled), context_(c.context) {
    const std::span<const std::byte> bytes_of = as_span(c.payload);
    bytes.assign(bytes_of.begin(), bytes_of.end());
    format = c.format;
  }

  /// Issues it from a step of the executor.
  void begin(executor& on) noexcept {
    on_ = &on;
    add_ref(this);  // the host's
    add_ref(this);  // until its answer was told
    on.post(*this);
  }
  void refuse(executor& on, errc why, std::string text) noexcept {
    on_ = &on;
    add_ref(this);
    stay_suspended();
    fail(why, std::move(text));
  }

private:
  /// Its own step: a runnable beside the one that issues it.
  class answer final : public runnable {
  public:
    explicit answer(relayed_call& c) noexcept : runnable(&answer::run), call_(c) {}

  private:
    static void run(runnable& r) noexcept {
      relayed_call& c = static_cast<answer&>(r).call_;
      c.tell();
      release(static_cast<open_call*>(&c));
    }
    relayed_call& call_;
  };

  void issued() noexcept override {
    if (!stay_suspended()) wake_up();
  }
  void wake_up() noexcept override { on_->post(answer_); }
  void tell() noexcept {
    try {
      take_reply();
    } catch (...) {
      const crossing_failure f = describe_failure_or_code(std::current_exception());
      return settled_(context_, f.outcome, f.code, as_bytes(f.text));
    }
    settled_(context_, troupe_outcome_value, 0, as_bytes(std::span<const std::byte>(bytes)));
  }

  const troupe_settled settled_;
  void* const context_;
  executor* on_ = nullptr;
  answer answer_{*this};
};

/// Who calls is what the host knows, not what the module says.
inline void function_core::relay(running_module& from, const outgoing_call& c) noexcept {
  const module_slot& caller = *from.slot;
  const auto& allowed = caller.options.permissions.may_call;
  const bool may = std::any_of(allowed.begin(), allowed.end(), [&](const std::string& name) {
    return name == "*" || name == c.module;
  });
  auto* const made = new relayed_call(slot_for(c.module, c.version, c.key), c);
  made->names_version = !c.version.empty();
  made->stamp = stamp_of(caller.record.name, caller.key);
  if (!may) {
    return made->refuse(on_, errc::refused,
                        caller.record.name + " may not call other modules, or not this one");
  }
  if (c.payload.size > options_.max_payload) return made->refuse(on_, errc::too_large, {});
  const duration most = limit_of(*made) == endless ? longest_relayed : limit_of(*made);
  const time_point now = on_.now();
  const time_point until = (std::min)(saturating_add(now, most), c.deadline);
  made->arm_timer(on_, until);
  made->begin(on_);
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A call of one module by another, through the host.
///
/// Layer: function.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
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
  relayed_call(intrusive_ptr<module_slot> to, const outgoing_call& c, std::string_view name,
               std::string_view worker_key)
      : open_call(std::move(to), name, worker_key), settled_(c.settled), context_(c.context) {
    format = c.format;
  }
  ~relayed_call() override {
    if (from_) core_of(*from_).relay_ended(*from_, asked_);
  }

  /// Copies the payload, on the account of the module that calls.
  void take_payload(running_module& from, const troupe_bytes& given) {
    from_ = intrusive_ptr<running_module>(&from);
    asked_ = static_cast<std::size_t>(given.size);
    const std::span<const std::byte> bytes_of = as_span(given);
    bytes.assign(bytes_of.begin(), bytes_of.end());
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

  static function_core& core_of(running_module& r) noexcept { return *r.slot->core; }

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
  intrusive_ptr<running_module> from_;  // whose account it is on
  std::size_t asked_ = 0;
  executor* on_ = nullptr;
  answer answer_{*this};
};

/// What a module may name a module, or a version: it becomes part of a path, in most loaders.
inline bool is_plain_name(std::string_view name) noexcept {
  constexpr std::size_t longest = 64;
  if (name.size() > longest || name.substr(0, 1) == ".") return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return is_letter || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '+';
  });
}

/// Nothing: it may. A module that is named in the permissions may have any name.
inline const char* why_not_to_call(const module_slot& caller, const outgoing_call& c) noexcept {
  constexpr std::size_t longest = 255;
  const auto& allowed = caller.options.permissions.may_call;
  const bool is_named = std::find(allowed.begin(), allowed.end(), c.module) != allowed.end();
  const bool may_all = std::find(allowed.begin(), allowed.end(), "*") != allowed.end();
  if (!is_named && !may_all) return " may not call other modules, or not this one";
  const bool is_plain = (is_named || is_plain_name(c.module)) && is_plain_name(c.version);
  if (is_plain && c.function.size() <= longest && c.key.size() <= longest) return nullptr;
  return " has called by a name that is too long, or has other characters than names have";
}

/// What modules ask is copied, and they may ask for much at once: each has as much for all its open
/// calls as one call may have.
inline bool function_core::ask(running_module& from, std::size_t bytes) noexcept {
  const spin_guard guard(lock_);
  if (bytes > options_.max_payload || from.asked_bytes > options_.max_payload - bytes) return false;
  from.asked_bytes += bytes;
  return true;
}

/// Who calls is what the host knows, not what the module says. Where there is no memory for the
/// call the module is told at once, in here: better than not at all.
inline void function_core::relay(running_module& from, const outgoing_call& c) noexcept {
  const module_slot& caller = *from.slot;
  const auto size = static_cast<std::size_t>(c.payload.size);
  bool is_asked = false;
  intrusive_ptr<relayed_call> made;
  try {
    if (const char* const why = why_not_to_call(caller, c)) {
      made = intrusive_ptr<relayed_call>(new relayed_call(from.slot, c, {}, {}));
      return made->refuse(on_, errc::refused, caller.record.name + why);
    }
    is_asked = ask(from, size);
    const slot_ptr to = is_asked ? slot_for(c.module, c.version, c.key) : from.slot;
    made = intrusive_ptr<relayed_call>(new relayed_call(to, c, c.function, c.key));
    if (!is_asked) {
      return made->refuse(on_, errc::too_large, "what the module asks at once is too much");
    }
    is_asked = false;  // the call's own from now on
    made->take_payload(from, c.payload);
    made->names_version = !c.version.empty();
    made->stamp = stamp_of(caller.record.name, caller.key);
    const duration most = limit_of(*made) == endless ? longest_relayed : limit_of(*made);
    const time_point until = (std::min)(saturating_add(on_.now(), most), c.deadline);
    made->arm_timer(on_, until);
  } catch (...) {
    if (is_asked) relay_ended(from, size);
    if (made) return made->refuse(on_, errc::too_large, {});
    return c.settled(c.context, troupe_outcome_error, static_cast<std::uint32_t>(errc::too_large),
                     {nullptr, 0});
  }
  made->begin(on_);
}

}  // namespace troupe::detail

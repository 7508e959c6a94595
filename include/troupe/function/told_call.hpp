// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A call of a module that nobody awaits.
///
/// Layer: function.

#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/tell.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/broker/core.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/function/caller_stamp.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What it replies is dropped, and an error is a dead letter of the broker, which waits for it: see
/// `function_core::tell_begins`.
class told_call final : public open_call {
public:
  told_call(broker_core<void>& b, intrusive_ptr<module_slot> to, std::string_view function,
            std::string_view worker_key)
      : open_call(std::move(to), function, worker_key), broker_(b), from_(worker_of_this_thread()) {
    is_tell = true;
    if (from_) stamp = stamp_of(from_->type().name, from_->key());
  }

  /// Issues it, once. False: its module takes no more, and the broker was told. None of the
  /// module's code runs in here.
  bool send() {
    function_core& core = *slot().core;
    executor& on = core.where();
    const duration most = core.limit_of(*this);
    if (most != endless) arm_timer(on, saturating_add(on.now(), most));
    add_ref(this);  // the host's
    add_ref(this);  // until it is over
    core.tell_begins();
    if (core.issue(*this) != errc{}) {
      write_letter();
      return false;
    }
    if (!stay_suspended()) wake_up();
    return true;
  }

private:
  /// Its own step: whoever settles it may be in the middle of something.
  class letter final : public runnable {
  public:
    explicit letter(told_call& c) noexcept : runnable(&letter::run), call_(c) {}

  private:
    static void run(runnable& r) noexcept { static_cast<letter&>(r).call_.write_letter(); }
    told_call& call_;
  };

  void wake_up() noexcept override {
    if (went_well()) return end();
    slot().core->where().post(letter_);
  }

  void write_letter() noexcept {
    const bool by_host = settled_by_host();
    std::error_code why;
    std::exception_ptr thrown;
    try {
      take_reply();
    } catch (const error& e) {
      if (by_host && is_safe_to_retry(e.code())) why = e.code();  // it was not run
      thrown = std::current_exception();
    } catch (...) {
      thrown = std::current_exception();
    }
    try {
      broker_.lost(id_for_errors(), function_name(), why, std::move(thrown), from_.get());
    } catch (...) {
      // No memory for the report.
    }
    end();
  }

  void end() noexcept {
    from_ = {};
    slot().core->tell_is_over();  // the broker may go from here on
    release(static_cast<open_call*>(this));
  }

  broker_core<void>& broker_;
  intrusive_ptr<cell> from_;
  letter letter_{*this};
};

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Creating a worker without calling it.
///
/// Layer: actor. Lives in the awaiting frame.

#include <coroutine>
#include <exception>
#include <string_view>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/pending_call.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/frame.hpp>

namespace troupe::detail {

/// A call that runs nothing: it settles once there is an instance.
class pending_load final : public pending_call {
public:
  pending_load(cell& target, frame& caller) noexcept : pending_call(target, caller) {
    runs_plain = true;
  }

  const std::string_view& method_name() const noexcept override {
    static constexpr std::string_view name = "load";
    return name;
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) noexcept { return issue(); }
  void await_resume() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

private:
  void fail(std::exception_ptr e) noexcept override { error_ = std::move(e); }
  turn_state run(cell& c, turn*) noexcept override {
    c.loaded();
    return turn_state::ended;
  }

  std::exception_ptr error_;
};

class load_operation {
public:
  explicit load_operation(intrusive_ptr<cell> c) noexcept : cell_(std::move(c)) {}
  pending_load await_by(frame& f) && noexcept { return pending_load(*cell_, f); }

private:
  intrusive_ptr<cell> cell_;
};

}  // namespace troupe::detail

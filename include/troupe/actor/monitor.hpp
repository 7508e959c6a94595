// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `monitor`: tells its owner when a worker fails or stops.
///
/// Layer: actor.

#include <concepts>
#include <utility>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/monitors.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/supervisor.hpp>
#include <troupe/base/intrusive_ptr.hpp>

namespace troupe {

/// For as long as it stands, a function is told what becomes of a worker: of this instance and of
/// those that follow it. It neither creates the worker nor keeps it.
///
/// One that was abandoned (`actor_options::abandon_stalled`) is `stopped` when its turn has ended,
/// while the next one may be at work.
///
/// The function runs in the worker's turn, on whichever thread that is: it is short and does not
/// wait. From an actor it best tells the actor itself:
/// `watch(ctx.worker<other>(), [me = ctx.self<mine>()](const auto&) { me.template tell<...>(); })`.
///
/// Thread safety: a value of its owner's. Its destructor returns once the function is not running
/// any more, unless it is called by that.
class [[nodiscard("the worker is watched for as long as the monitor stands")]] monitor {
public:
  /// Watches nobody.
  monitor() noexcept = default;

  /// Throws `std::bad_alloc`.
  template <class A, std::invocable<const worker_notice&> F>
  monitor(const proxy<A>& whom, F f)
      : cell_(&detail::proxy_access::cell_of(whom)),
        watcher_(new detail::watcher(detail::watcher::function(std::move(f)))) {
    cell_->supervisor_of().watchers.add(*watcher_);
  }

  monitor(monitor&&) noexcept = default;
  monitor& operator=(monitor&& other) noexcept {
    stop();
    cell_ = std::move(other.cell_);
    watcher_ = std::move(other.watcher_);
    return *this;
  }
  ~monitor() { stop(); }

  /// Watches no longer.
  void stop() noexcept {
    if (!watcher_) return;
    cell_->supervisor_of().watchers.remove(*watcher_);
    watcher_ = nullptr;
    cell_ = nullptr;
  }

private:
  intrusive_ptr<detail::cell> cell_;
  intrusive_ptr<detail::watcher> watcher_;
};

}  // namespace troupe

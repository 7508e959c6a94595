// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `function_host`: runs functions of modules that a loader finds, as they are asked for.
///
/// Layer: function.

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/function_calls.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/function_end.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/function_reload.hpp>
#include <troupe/function/function_request.hpp>
#include <troupe/function/function_room.hpp>
#include <troupe/function/function_start.hpp>
#include <troupe/function/function_watch.hpp>
#include <troupe/function/module_error.hpp>
#include <troupe/function/module_source.hpp>
#include <troupe/function/open_call.hpp>
#include <troupe/function/relayed_call.hpp>
#include <troupe/function/sent_argument.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
/// A call of a function, made by `function_host::trigger`. It starts when it is awaited, once, as
/// an rvalue, and owns all that it needs.
template <class R>
class [[nodiscard("a call does nothing until it is awaited")]] function_call {
public:
  /// For the library.
  explicit function_call(intrusive_ptr<detail::open_call> c) noexcept : call_(std::move(c)) {}
  function_call(function_call&&) = default;
  function_call& operator=(function_call&&) = delete;

  /// The same call with a time limit, instead of the one that holds for its module.
  function_call within(duration limit) && {
    call_->limit = limit;
    return std::move(*this);
  }

  class awaiter {
  public:
    awaiter(intrusive_ptr<detail::open_call> c, detail::frame& f) noexcept
        : call_(std::move(c)), frame_(f) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) { return suspend(*call_, frame_); }
    typename detail::reply_as<R>::type await_resume() {
      call_->forget_caller();
      call_->take_reply();
      return detail::reply_as<R>::read(call_->bytes, call_->id_for_errors());
    }

  private:
    TROUPE_NOINLINE static bool suspend(detail::open_call& c, detail::frame& f) {
      return c.issue_for(f);
    }

    intrusive_ptr<detail::open_call> call_;
    detail::frame& frame_;
  };

  awaiter await_by(detail::frame& f) && noexcept { return awaiter(std::move(call_), f); }

private:
  intrusive_ptr<detail::open_call> call_;
};

/// Runs functions of modules: loads a module when it is first asked for, keeps it while it is used,
/// and lets it go again.
///
/// Stands behind the broker that it is made for, on whose executor its code runs. The destructor
/// waits for all calls, and runs on a thread that may block.
///
/// Thread safety: all members but the destructor from any thread.
class function_host {
public:
  explicit function_host(broker& b, function_host_options options = {})
      : core_(new detail::function_core(b.runs_on(), options)),
        end_(end(core_, options.drain_limit)) {}
  function_host(const function_host&) = delete;
  function_host& operator=(const function_host&) = delete;
  ~function_host() {
    core_->close();
    detail::block_on(std::move(end_), &core_->where());
    core_->end_sandbox();
  }

  /// From now on modules are found by `load(std::string_view module, std::string_view version)`,
  /// which gives a path (std::string, std::filesystem::path) or bytes (shared_bytes,
  /// std::vector<std::byte>), or a `task` of either. The last one counts. It may be called by any
  /// thread, and by many at once; what it throws is its caller's `errc::no_such_module`.
  template <class F>
  void define_loader(F load) {
    core_->set_loader(std::make_shared<loader_of<F>>(std::move(load)));
  }

  /// What holds for a module. Before it is first asked for.
  void define_module(std::string_view module, module_options options) {
    core_->set_module(module, std::move(options));
  }

  /// Calls a function with arguments; gives its result. Arguments have the types of its parameters
  /// (text may be any text, a row any row).
  template <class R, class... Args>
  [[nodiscard]] function_call<R> trigger(const function_request& request, const Args&... args) {
    intrusive_ptr<detail::open_call> c = make(request);
    c->wanted_result = detail::reply_as<R>::shape();
    encode(std::tuple<detail::sent_t<Args>...>(args...), c->bytes);
    look_at_size(*c);
    return function_call<R>(std::move(c));
  }

  /// Calls a function with a payload; gives what it replies, in the same format.
  [[nodiscard]] function_call<detail::whole_reply> trigger(const function_request& request) {
    intrusive_ptr<detail::open_call> c = make(request);
    const std::span<const std::byte> payload = request.payload.bytes();
    c->bytes.assign(payload.begin(), payload.end());
    c->format = static_cast<std::uint32_t>(request.format);
    c->optional_payload = request.optional_payload;
    look_at_size(*c);
    return function_call<detail::whole_reply>(std::move(c));
  }

  /// Where the module runs, loads it anew beside what runs; new calls go there as soon as it is
  /// ready, and the old one goes when its last call has ended. Where it does not run, the next call
  /// loads it. If it cannot be loaded the old one stays, and this throws.
  task<> reload(std::string module) { return core_->reload(std::move(module), {}, false); }
  /// The same for another version, which is meant from then on where no version is named.
  task<> reload(std::string module, std::string version) {
    return core_->reload(std::move(module), std::move(version), true);
  }

  /// Waits for all calls, at most for the drain limit: what has not started then settles
  /// `worker_stopped`, and what runs is asked to stop. Ends all instances. The host stays usable.
  task<> terminate() { return end_all(core_, core_->options().drain_limit); }

  [[nodiscard]] function_stats stats() const { return core_->stats(); }

  /// What keeps modules that are in processes, on this machine and for this user. Blocks some
  /// milliseconds the first time. Throws `errc::start_failed` where there is no helper, and
  /// `std::system_error` where no thread or descriptor is left.
  [[nodiscard]] troupe::sandbox_level sandbox_level() const { return core_->sandbox().level(); }

  /// From now on no module is started in a process that would get less; those that run go on.
  /// Throws `errc::refused`, naming what lacks, if that is so of all: then nothing has changed.
  void require(troupe::sandbox_level level) {
    detail::process_launcher& sandbox = core_->sandbox();
    if (const troupe::sandbox_level given = sandbox.level(); !given.covers(level)) {
      throw error(errc::refused, {}, "the sandbox lacks: " + to_string(level - given));
    }
    sandbox.require(level);
  }

private:
  template <class F>
  class loader_of final : public detail::module_loader {
  public:
    explicit loader_of(F f) : load_(std::move(f)) {}
    task<module_source> load(std::string module, std::string version) override {
      using found = std::invoke_result_t<F&, std::string_view, std::string_view>;
      if constexpr (detail::is_task<found>) {
        auto loading = load_(std::string_view(module), std::string_view(version));
        co_return module_source(co_await std::move(loading));
      } else {
        co_return module_source(load_(std::string_view(module), std::string_view(version)));
      }
    }

  private:
    F load_;
  };

  static task<> end(intrusive_ptr<detail::function_core> core, duration limit) {
    auto drained = core->drain(limit, true);
    co_await std::move(drained);
  }
  static task<> end_all(intrusive_ptr<detail::function_core> core, duration limit) {
    auto drained = core->drain(limit, false);
    co_await std::move(drained);
  }

  intrusive_ptr<detail::open_call> make(const function_request& request) {
    intrusive_ptr<detail::open_call> c(new detail::open_call(
        core_->slot_for(request.module, request.version, request.key), request.func, request.key));
    c->limit = request.limit;
    c->names_version = !request.version.empty();
    return c;
  }
  void look_at_size(const detail::open_call& c) const {
    if (c.bytes.size() <= core_->options().max_payload) return;
    throw error(errc::too_large, c.id_for_errors(),
                "the payload has " + std::to_string(c.bytes.size()) + " bytes");
  }

  intrusive_ptr<detail::function_core> core_;
  task<> end_;  // made with the host: the destructor must not lack memory
};

}  // namespace troupe

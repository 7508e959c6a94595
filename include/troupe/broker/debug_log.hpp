// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `debug_log`: an observer that writes a line about each thing that happens.
///
/// Layer: broker. Allocates each line; nothing while it is off.

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/observer.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/trace_context.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// One line for each create, call, settling, eviction and removal. It names classes, keys and
/// methods, never what a call carries or gives. It is made switched off.
///
/// ```text
/// create account("alice")
/// call account("alice").deposit kind=call from=shop("1") depth=1 trace=<32 digits>-<16>
/// settle account("alice").deposit kind=call outcome=ok took_us=12 trace=<32 digits>-<16>
/// settle account("alice").deposit kind=tell outcome=not_run took_us=0 error="..." trace=...
/// evict account("alice")
/// remove account("alice")
/// ```
///
/// A `call` line says that a turn begins; what never gets its turn has a `settle` line alone.
/// `from` is `-` where no worker calls. Fields keep their names and their order; later versions may
/// add some at the end.
///
/// Thread safety: all members from any thread. The sink gets one line at a time, without its end,
/// with no lock held; what it throws is dropped.
template <class Lazy>
class basic_debug_log final : public observer {
public:
  using sink = std::function<void(std::string_view line)>;

  /// Writes to the standard error stream.
  basic_debug_log() : basic_debug_log(&basic_debug_log::to_stderr) {}
  /// Writes to `out`, which outlives the broker as well.
  explicit basic_debug_log(sink out) : out_(std::move(out)) {}

  void enable() noexcept { enabled_.store(true, detail::order::relaxed); }
  void disable() noexcept { enabled_.store(false, detail::order::relaxed); }
  [[nodiscard]] bool enabled() const noexcept { return enabled_.load(detail::order::relaxed); }

  /// A line for which there is no memory is left out: it refuses no call.
  void before_call(const worker_id& to, const call_info& call) override {
    if (!enabled()) return;
    try {
      write(call_line(to, call));
    } catch (...) {
    }
  }

  void on_settled(const worker_id& to, const call_info& call) override {
    using std::chrono::duration_cast;
    if (!enabled()) return;
    std::string line = head("settle", to, call);
    line.append(" outcome=").append(to_string(call.outcome)).append(" took_us=");
    line += std::to_string(duration_cast<std::chrono::microseconds>(call.took).count());
    write(std::move(line += error_of(call) + traced(call)));
  }

  void on_worker(const worker_event& event) override {
    if (!enabled()) return;
    write((event.kind == worker_event::create ? "create " : "remove ") + to_string(event.id));
  }

  void on_evict(const worker_id& id) override {
    if (enabled()) write("evict " + to_string(id));
  }

private:
  static std::string call_line(const worker_id& to, const call_info& call) {
    std::string line = head("call", to, call);
    line += " from=";
    line += call.from ? to_string(call.from.id()) : "-";
    line += " depth=" + std::to_string(call.depth);
    return line += traced(call);
  }

  struct entry : detail::pooled {
    explicit entry(std::string t) noexcept : text(std::move(t)) {}
    std::string text;
    entry* next = nullptr;
  };

  static void to_stderr(std::string_view line) {
    const std::string whole = std::string(line) + '\n';
    std::fwrite(whole.data(), 1, whole.size(), stderr);
  }

  static std::string head(std::string_view what, const worker_id& to, const call_info& call) {
    std::string line(what);
    line.append(" ").append(to_string(to)).append(".").append(call.method);
    return line.append(" kind=").append(to_string(call.kind));
  }

  /// The code only: what an exception says may come from the call's contents.
  static std::string error_of(const call_info& call) {
    const std::error_code code = call.code();
    if (!code || code == std::errc::state_not_recoverable) return {};
    std::string text = " error=\"";
    detail::append_escaped(text, code.category().name() + (": " + code.message()));
    return text += '"';
  }

  static std::string traced(const call_info& call) {
    const trace_context t = call.trace();
    std::string text = " trace=";
    detail::append_hex(text, t.trace_high);
    detail::append_hex(text, t.trace_low);
    text += '-';
    detail::append_hex(text, t.span);
    return text;
  }

  /// Hands the line to the sink, or leaves it to the thread that is doing so.
  void write(std::string text) {
    entry* const line = new entry(std::move(text));
    {
      const spin_guard guard(lock_);
      waiting_.push_back(*line);
      if (std::exchange(writing_, true)) return;
    }
    while (entry* const next = take()) {
      try {
        out_(next->text);
      } catch (...) {
        // Its own trouble.
      }
      delete next;
    }
  }

  entry* take() noexcept {
    const spin_guard guard(lock_);
    entry* const line = waiting_.pop_front();
    writing_ = line != nullptr;
    return line;
  }

  const sink out_;
  detail::atomic<bool> enabled_{false};  // orders nothing
  spin_lock lock_;                       // guards both below
  forward_queue<entry, &entry::next> waiting_;
  bool writing_ = false;  // some thread hands lines to the sink
};

/// The one instance that programs use; docs/compilers.md says why it is one of a template.
using debug_log = basic_debug_log<void>;

}  // namespace troupe

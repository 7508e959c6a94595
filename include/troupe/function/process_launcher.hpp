// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Modules in sandboxed processes of their own.
///
/// Layer: function. Linux. docs/sandbox.md says what is closed by which means.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/stat.h>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/module_manifest.hpp>
#include <troupe/function/module_permissions.hpp>
#include <troupe/function/sandbox/child_process.hpp>
#include <troupe/function/sandbox/helper_messages.hpp>
#include <troupe/function/sandbox/level.hpp>
#include <troupe/function/sandbox/reactor.hpp>
#include <troupe/function/sandbox_options.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

namespace detail {

/// A module in a process. A handle: what runs belongs to the process and its reactor.
class process_instance final : public module_instance {
public:
  explicit process_instance(intrusive_ptr<sandbox::child_process> child) noexcept
      : child_(std::move(child)) {}

  isolation kept() const noexcept override { return isolation::process; }
  const module_manifest& manifest() const noexcept override { return child_->manifest(); }
  // Each holds the process itself: this object may be destroyed while one is on its way back.
  void call(module_call& c) noexcept override {
    const intrusive_ptr<sandbox::child_process> child = child_;
    child->call(c);
  }
  void stop(std::uint64_t call_id) noexcept override { child_->stop(call_id); }
  bool withdraw(std::uint64_t call_id) noexcept override { return child_->withdraw(call_id); }
  void close() noexcept override {
    const intrusive_ptr<sandbox::child_process> child = child_;
    child->close();
  }
  bool kill(errc why, std::string_view detail) noexcept override {
    const intrusive_ptr<sandbox::child_process> child = child_;
    child->kill(why, detail);
    return true;
  }
  std::size_t memory() const noexcept override { return child_->memory(); }
  duration processor_time() const noexcept override { return child_->processor_time(); }
  std::uint64_t progress() const noexcept override { return child_->progress(); }
  bool begins_none() const noexcept override { return child_->begins_none(); }

  /// What keeps this very process, as it says itself: for tests.
  sandbox_level level() const noexcept { return child_->level(); }
  int process_id() const noexcept { return child_->process_id(); }

private:
  const intrusive_ptr<sandbox::child_process> child_;
};

/// Starts modules in processes.
class process_launcher final : public module_launcher {
public:
  /// Throws `std::system_error` where no thread or descriptor is left.
  explicit process_launcher(sandbox_options options = {})
      : options_(std::move(options)),
        required_(options_.require.bits()),
        reactor_(options_.helper) {}

  inline task<std::unique_ptr<module_instance>> start(module_launch launch) override;
  /// Until one was measured, about what a small module takes.
  static constexpr std::size_t usual_cost = std::size_t{2} << 20;
  /// Of this process: two shared files, the event, the module and the handle.
  static constexpr std::size_t descriptors_each = 5;
  std::size_t cost() const noexcept override { return cost_.load(order::relaxed); }

  /// What the kernel gives on this machine, to this user. Blocks some milliseconds, the first time.
  sandbox_level level() { return reactor_.level(); }
  /// From now on no module is started that would get less. From any thread.
  void require(sandbox_level level) noexcept { required_.store(level.bits(), order::relaxed); }
  std::uint32_t helpers_started() const noexcept { return reactor_.helpers_started(); }

private:
  sandbox::child_wish wish_of(const module_launch& launch) const;
  static void resolve(const std::string& may_read, sandbox::child_wish& wish);

  const sandbox_options options_;
  atomic<std::uint32_t> required_;        // the bits of a level
  atomic<std::size_t> cost_{usual_cost};  // measured by each that starts
  sandbox::reactor reactor_;
};

/// Where a directory really is, so that no symbolic link leads elsewhere in the child.
inline void process_launcher::resolve(const std::string& may_read, sandbox::child_wish& wish) {
  const auto refuse = [&](const char* why) {
    throw error(errc::start_failed, {}, "the directory that it may read: " + may_read + ": " + why);
  };
  const bool is_plain = may_read.size() > 1 && may_read.front() == '/' &&
                        (may_read + '/').find("/../") == std::string::npos;
  if (!is_plain) refuse("is not the absolute path of a directory below the root");
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(may_read.c_str(), nullptr),
                                                    &std::free);
  struct ::stat about{};
  if (!real || ::stat(real.get(), &about) != 0) refuse("there is none");
  if (!S_ISDIR(about.st_mode)) refuse("is no directory");
  wish.may_read_source = real.get();
  wish.may_read_target = may_read;
  while (wish.may_read_target.size() > 1 && wish.may_read_target.back() == '/') {
    wish.may_read_target.pop_back();
  }
  constexpr std::size_t longest = sandbox::spawn_message::longest_path;
  if (wish.may_read_source.size() >= longest || may_read.size() >= longest) refuse("is too long");
  if (wish.may_read_source.size() <= 1) refuse("is the root");
}

inline sandbox::child_wish process_launcher::wish_of(const module_launch& launch) const {
  const module_permissions& permissions = launch.permissions;
  sandbox::child_wish wish;
  wish.image = launch.image;
  wish.memory = permissions.memory;
  wish.files = permissions.files;
  wish.network = permissions.network;
  wish.niceness = static_cast<std::uint32_t>((std::clamp)(permissions.niceness, 0, 19));
  if (!permissions.may_read.empty()) resolve(permissions.may_read, wish);
  wish.largest_reply = (std::min)(std::uint64_t{options_.largest_reply}, sandbox::largest_message);
  wish.required = sandbox_level(required_.load(order::relaxed));
  wish.start_deadline = saturating_add(steady_now(), options_.start_limit);
  return wish;
}

inline task<std::unique_ptr<module_instance>> process_launcher::start(module_launch launch) {
  intrusive_ptr<sandbox::child_process> child;
  std::unique_ptr<process_instance> instance;
  try {
    sandbox::child_wish wish;
    if (launch.permissions.may_read.empty()) {
      wish = wish_of(launch);
    } else {  // whatever file system that is on, it is asked by a thread that may block
      auto look = [this, &launch] { return wish_of(launch); };
      auto looked = offload(std::move(look));
      wish = co_await std::move(looked);
    }
    child = intrusive_ptr(new sandbox::child_process(std::move(wish), launch.permissions.may_call));
    instance = std::make_unique<process_instance>(child);
  } catch (const std::system_error& e) {
    const auto* const own = dynamic_cast<const error*>(&e);
    if (own != nullptr) throw;
    throw error(errc::start_failed, {}, e.what());
  }
  reactor_.start(child);
  const result<void> waited = co_await as_result(child->ready().acquire());
  if (!waited.has_value()) {
    child->kill(errc::cancelled, "nobody wants it any more");
    waited.value();
  }
  if (!child->adopt(launch.owner, *instance)) {
    throw error(errc::start_failed, {}, child->start_error());
  }
  if (const std::size_t memory = child->memory()) cost_.store(memory, order::relaxed);
  co_return std::move(instance);
}

}  // namespace detail
}  // namespace troupe

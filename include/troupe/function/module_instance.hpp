// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A running module, as a `function_host` sees it, and who starts one: the seam between the host
/// and the places where modules run.
///
/// Layer: function.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <troupe/base/error.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_image.hpp>
#include <troupe/function/module_manifest.hpp>
#include <troupe/function/module_permissions.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// One call. Whoever made it owns it; it stays as it is from `module_instance::call` until the
/// instance ends it: by `settle`, or by `give_back`, exactly once, and touches it no more.
///
/// `id` is never used twice by one owner. `deadline` is for the module to know: who made the call
/// sees to it that it is kept.
class module_call : public troupe_module_call {
public:
  /// The module has not seen the call, and will not: it may go to another instance. Instead of
  /// `settle`; from any thread, perhaps inside `module_instance::call`.
  virtual void give_back() noexcept = 0;

  /// A link for whoever has the call at the moment.
  module_call* next = nullptr;

protected:
  module_call() noexcept : troupe_module_call{} { size = sizeof(troupe_module_call); }
  ~module_call() = default;
};

/// What a module asks of its host. The texts and bytes are the instance's until the function that
/// they are given to returns.
struct outgoing_call {
  std::string_view module;
  std::string_view version;  // empty: the one that is remembered
  std::string_view function;
  std::string_view key;
  std::uint32_t format = troupe_format_binary;
  troupe_bytes payload{nullptr, 0};
  time_point deadline = never;
  troupe_settled settled = nullptr;  // called once, never inside `instance_owner::call`
  void* context = nullptr;
};

class module_instance;

/// Who holds an instance: is told of it, and serves what it asks. Outlives it. From any thread.
class instance_owner {
public:
  /// The module calls another one. What it may call, and who it is, the owner knows.
  virtual void call(module_instance& from, const outgoing_call& c) noexcept = 0;

  /// The instance takes no calls any more, though nobody has closed it: its process has died. Said
  /// before the calls that it holds are settled, with `why`, or given back. Not after `close` or
  /// `kill`. `ended` follows.
  virtual void failed(module_instance& m, errc why, std::string_view detail) noexcept = 0;

  /// It holds no call any more, and nothing of it runs. Once; the last touch of the owner by it. It
  /// may be destroyed from now on, also in here.
  virtual void ended(module_instance& m) noexcept = 0;

protected:
  ~instance_owner() = default;
};

/// A module that runs somewhere. Destroyed after `instance_owner::ended`, never before.
///
/// Thread safety: all members but the destructor from any thread, at once. None blocks, and none of
/// them throws.
class module_instance {
public:
  module_instance(const module_instance&) = delete;
  module_instance& operator=(const module_instance&) = delete;
  virtual ~module_instance() = default;

  virtual isolation kept() const noexcept = 0;
  /// The same for all its life.
  virtual const module_manifest& manifest() const noexcept = 0;

  /// Starts a call, and may settle it inside this function. Calls may come in any number; one that
  /// comes after `close` or `kill`, or a failure, is given back.
  virtual void call(module_call& c) noexcept = 0;

  /// Asks a call to stop; nothing happens if it has ended. What runs in the module because of this
  /// does not run inside this function.
  virtual void stop(std::uint64_t call_id) noexcept = 0;

  /// Takes a call back that the module has not begun. True: it will not, and the call is neither
  /// settled nor given back any more. False: it may have begun, or has ended.
  virtual bool withdraw(std::uint64_t call_id) noexcept {
    static_cast<void>(call_id);
    return false;  // where each call begins as soon as it comes
  }

  /// Begins the orderly end: calls that run are asked to stop, and awaited; those that have not
  /// begun are given back. Then `ended`. Once.
  virtual void close() noexcept = 0;

  /// Ends it at once, whatever it does; calls that have begun settle `why`, the others are given
  /// back. Then `ended`. False, and nothing has happened, where that cannot be done: in this
  /// process. Also after `close`, and any number of times.
  virtual bool kill(errc why, std::string_view detail) noexcept = 0;

  /// Bytes of memory that are there because of this instance; 0: not known.
  virtual std::size_t memory() const noexcept = 0;

  /// Of an instance in a process. The processor time that it has used up to now; zero: not known.
  virtual duration processor_time() const noexcept { return duration::zero(); }
  /// A number that changes with each call that it begins or ends.
  virtual std::uint64_t progress() const noexcept { return 0; }
  /// It has been given calls, and has begun none of those that it has now.
  virtual bool begins_none() const noexcept { return false; }

protected:
  module_instance() = default;
};

/// What is to be started.
struct module_launch {
  std::string_view module;  // as it was asked for; the module may give itself another name
  std::string_view version;
  const module_image& image;
  const module_permissions& permissions;
  executor& on;  // clock, timers, and where the module's code runs if it runs in this process
  instance_owner& owner;
};

/// Starts modules in one kind of place. Outlives what it has started.
///
/// Thread safety: all members from any thread.
class module_launcher {
public:
  module_launcher(const module_launcher&) = delete;
  module_launcher& operator=(const module_launcher&) = delete;
  virtual ~module_launcher() = default;

  /// Starts an instance. What `launch` refers to stays until the task has ended. It is asked to
  /// stop when nobody wants the instance any more, or its time is up, and then ends as soon as it
  /// can; until then there may be others at the same time, for which it does not keep the executor.
  ///
  /// Throws an `error`: `errc::start_failed`, where the module did not come to life, and why.
  virtual task<std::unique_ptr<module_instance>> start(module_launch launch) = 0;

  /// Bytes of memory that one more instance costs, measured or guessed.
  virtual std::size_t cost() const noexcept = 0;

protected:
  module_launcher() = default;
};

}  // namespace troupe::detail

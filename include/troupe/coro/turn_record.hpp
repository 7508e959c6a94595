// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a thread lets others see of what it runs.
///
/// Layer: coro. Plain stores; allocates nothing.
///
/// Two places, because a plain method that a coroutine enters by the fast path must neither look
/// for, nor save, what its thread was running before: that one is `called`, and innermost. All else
/// is `served`, by scopes that put back what they found.

#include <cstdint>
#include <string_view>

#include <troupe/config.hpp>
#include <troupe/sync/published.hpp>

namespace troupe::detail {

class cell;

/// One per thread, in its state. Written by that thread, except for `stalled`; read by any that
/// holds the lock of the list of threads, so that the thread is still there (coro/thread_list.hpp).
///
/// What it points to is not to be followed from another thread, but for the names of methods, which
/// are there for good.
struct turn_record {
  /// A plain method has been entered by the fast path, as turn number `turn` of its worker.
  void call(cell& worker, const std::string_view& method, std::uint64_t turn) noexcept {
    called_method.store(&method);
    called_turn.store(turn);
    called.store(&worker);
  }
  void call_ended() noexcept { called.store(nullptr); }

  published<cell*> called;  // nullptr: no such method runs
  published<const std::string_view*> called_method;
  published<std::uint64_t> called_turn;

  published<cell*> served;  // nullptr: no turn runs, or only what is in `called`
  published<const std::string_view*> served_method;
  published<std::uint64_t> serial;  // of what is served: changes with every turn and every step

  published<bool> active;   // the thread runs something, or is about to
  published<bool> paused;   // it waits in `thread_list::pause`, and runs nothing
  published<bool> stalled;  // what it runs has gone on for too long: set by the watcher, cleared by
                            // the thread when that has ended

  published<const void*> pool;  // whose thread it is; nullptr: of none. For comparison alone
  published<std::uint32_t> pool_index;  // which of its threads

  // The thread's own.
  std::uint64_t last_serial = 0;
  std::uint32_t last_pause = 0;  // the number of the last one it made
};

/// While it stands, the thread shows nothing of what it ran before. In a scope that is mostly
/// entered where nothing runs, `std::optional`, and only where `shows_something`.
class shelved_record {
public:
  static bool shows_something(const turn_record& r) noexcept {
    return r.served.load() != nullptr || r.called.load() != nullptr;
  }
  explicit shelved_record(turn_record& r) noexcept
      : record_(r),
        called_(r.called.load()),
        called_method_(r.called_method.load()),
        called_turn_(r.called_turn.load()),
        served_(r.served.load()),
        served_method_(r.served_method.load()),
        serial_(r.serial.load()) {
    r.called.store(nullptr);
    r.served.store(nullptr);
  }
  shelved_record(const shelved_record&) = delete;
  shelved_record& operator=(const shelved_record&) = delete;
  ~shelved_record() {
    record_.served_method.store(served_method_);
    record_.serial.store(serial_);
    record_.served.store(served_);
    if (called_ != nullptr) record_.call(*called_, *called_method_, called_turn_);
  }

private:
  turn_record& record_;
  cell* const called_;
  const std::string_view* const called_method_;
  const std::uint64_t called_turn_;
  cell* const served_;
  const std::string_view* const served_method_;
  const std::uint64_t serial_;
};

/// While it stands, the thread shows that it serves `worker`.
class serving {
public:
  TROUPE_ALWAYS_INLINE serving(turn_record& r, cell& worker,
                               const std::string_view& method) noexcept
      : record_(r), outer_(r.served.load()) {
    if (outer_ != nullptr) {
      outer_method_ = r.served_method.load();
      outer_serial_ = r.serial.load();
    }
    r.served_method.store(&method);
    r.serial.store(++r.last_serial);
    r.served.store(&worker);
  }
  serving(turn_record&, cell&, std::string_view&&) = delete;
  serving(const serving&) = delete;
  serving& operator=(const serving&) = delete;
  TROUPE_ALWAYS_INLINE ~serving() {
    if (outer_ != nullptr) {
      record_.served_method.store(outer_method_);
      record_.serial.store(outer_serial_);
    }
    record_.served.store(outer_);
  }

private:
  turn_record& record_;
  cell* const outer_;  // nullptr: nothing, and so are the two below
  const std::string_view* outer_method_;
  std::uint64_t outer_serial_;
};

}  // namespace troupe::detail

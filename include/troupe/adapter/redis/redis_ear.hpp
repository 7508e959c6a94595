// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who listens to a link: to one channel, or to what becomes of its connections.
///
/// Layer: adapter.

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// What a link has to tell.
enum class redis_event : std::uint8_t {
  connected,   ///< Commands are answered, for the first time or again.
  subscribed,  ///< All channels that were asked for are subscribed, for the first time or again.
  message      ///< Something has come on a channel.
};

/// One that listens. Shared by its handle and the link; called on the link's thread alone.
class redis_ear {
public:
  using function = unique_function<void(redis_event, std::string_view)>;

  /// `channel` is empty for one that listens to connections.
  redis_ear(std::string c, function f) : channel(std::move(c)), call_(std::move(f)) {}
  redis_ear(const redis_ear&) = delete;
  redis_ear& operator=(const redis_ear&) = delete;

  /// Calls the function, unless it is closed. What it throws ends the program.
  void hear(redis_event what, std::string_view text) noexcept {
    {
      const spin_guard guard(lock_);
      if (closed_) return;
      caller_ = &this_thread_state();
    }
    call_(what, text);
    const spin_guard guard(lock_);
    caller_ = nullptr;
  }

  /// From its return on the function is not running, and never called again; called from within it,
  /// it goes on to its end.
  void close() noexcept {
    lock_.lock();
    closed_ = true;
    while (caller_ != nullptr && caller_ != &this_thread_state()) {
      lock_.unlock();
      std::this_thread::yield();
      lock_.lock();
    }
    lock_.unlock();
  }
  [[nodiscard]] bool closed() const noexcept {
    const spin_guard guard(lock_);
    return closed_;
  }

  friend void add_ref(redis_ear* e) noexcept { e->owners_.fetch_add(1, order::relaxed); }
  friend void release(redis_ear* e) noexcept {
    // Pairs with itself: every owner's last look happens before the deletion.
    if (e->owners_.fetch_sub(1, order::acq_rel) == 1) delete e;
  }

  const std::string channel;
  redis_ear* next = nullptr;  // among those that the link is to look at, which hold a reference
  bool queued = false;        // guarded by the link's lock: it is among them

private:
  atomic<std::uint32_t> owners_{1};
  function call_;
  mutable spin_lock lock_;  // guards the two below
  bool closed_ = false;
  thread_state* caller_ = nullptr;  // the thread that is inside of the function
};

}  // namespace troupe::detail

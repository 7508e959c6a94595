// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What waits to be sent to one peer, within bounds.
///
/// Layer: gateway. A pooled block per message; the payload is shared by all who get it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// What happens to a peer that reads slower than it is sent to.
enum class slow_reader : std::uint8_t {
  close,     ///< Its connection is dropped.
  drop_new,  ///< It misses what does not fit.
  drop_old   ///< It misses what has waited longest.
};

/// How much may wait for one peer.
struct outbox_limits {
  std::size_t bytes = std::size_t{1} << 20;  ///< Each message counts 64 bytes more than it holds.
  slow_reader policy = slow_reader::close;
};

namespace detail {

/// Many put messages in, one coroutine takes them out and sends them.
///
/// Thread safety: `push`, `close` and `abandon` from any thread.
class outbox {
public:
  /// What has become of a message.
  enum class fate : std::uint8_t {
    queued,
    dropped,   // it does not fit
    closed,    // nobody takes anything any more
    overflown  // it does not fit, and the policy is to close: nothing is taken from now on
  };

  explicit outbox(const outbox_limits& limits) noexcept : limits_(limits) {}
  outbox(const outbox&) = delete;
  outbox& operator=(const outbox&) = delete;
  ~outbox() { free_all(waiting_); }

  fate push(const socket_message& m) {
    auto added = std::make_unique<entry>(m);
    entries surplus;
    const fate became = put(added, surplus);
    free_all(surplus);
    return became;
  }

  /// Ends it: what waits is still sent, then the peer is told so. The first call counts.
  void close(close_info how) noexcept {
    bool wakes = false;
    {
      const spin_guard guard(lock_);
      if (state_ != state::open) return;
      state_ = state::closing;
      closing_as_ = std::move(how);
      wakes = std::exchange(taker_waits_, false);
    }
    if (wakes) news_.release();
  }

  /// Ends it at once: nobody is there to read.
  void abandon() noexcept {
    entries surplus;
    bool wakes = false;
    {
      const spin_guard guard(lock_);
      if (state_ == state::abandoned) return;
      state_ = state::abandoned;
      drop_all(surplus);
      wakes = std::exchange(taker_waits_, false);
    }
    free_all(surplus);
    if (wakes) news_.release();
  }

  /// The next message, once there is one. Nothing: it is closed, and all is sent, or abandoned. For
  /// one coroutine.
  task<std::optional<socket_message>> next() {
    for (;;) {
      std::unique_ptr<entry> first;
      bool ended = false;
      {
        const spin_guard guard(lock_);
        sending_ = 0;  // what was taken before has been sent
        first.reset(take_first());
        if (first) sending_ = cost_of(*first);
        ended = state_ != state::open;
        taker_waits_ = !first && !ended;
      }
      if (first) co_return std::move(first->message);
      if (ended) co_return std::nullopt;
      co_await news_.acquire();
    }
  }

  /// How it was closed; nothing if it was abandoned. Once `next` has given nothing.
  std::optional<close_info> take_closing() noexcept {
    const spin_guard guard(lock_);
    if (state_ != state::closing) return std::nullopt;
    return std::move(closing_as_);
  }

  /// True until it is closed or abandoned.
  bool is_open() const noexcept {
    const spin_guard guard(lock_);
    return state_ == state::open;
  }

  /// Bytes that wait or are being sent.
  std::size_t waiting_bytes() const noexcept {
    const spin_guard guard(lock_);
    return queued_ + sending_;
  }

private:
  enum class state : std::uint8_t { open, closing, abandoned };

  struct entry final : list_hook, pooled {
    explicit entry(const socket_message& m) : message(m) {}
    socket_message message;
  };
  using entries = intrusive_list<entry>;

  static std::size_t cost_of(const entry& e) noexcept { return e.message.size() + 64; }

  fate put(std::unique_ptr<entry>& added, entries& surplus) noexcept {
    fate became = fate::queued;
    bool wakes = false;
    {
      const spin_guard guard(lock_);
      if (state_ != state::open) return fate::closed;
      const std::size_t cost = cost_of(*added);
      if (limits_.policy == slow_reader::drop_old) make_room(cost, surplus);
      if (fits(cost)) {
        queued_ += cost;
        waiting_.push_back(*added.release());
      } else {
        became = refuse(surplus);
      }
      if (became != fate::dropped) wakes = std::exchange(taker_waits_, false);
    }
    if (wakes) news_.release();
    return became;
  }

  void make_room(std::size_t cost, entries& surplus) noexcept {
    if (cost > limits_.bytes) return;  // it is not worth all that waits
    while (!fits(cost)) {
      entry* const oldest = take_first();
      if (oldest == nullptr) return;
      surplus.push_back(*oldest);
    }
  }

  // A message larger than all that may wait is sent where nothing waits.
  bool fits(std::size_t cost) const noexcept {
    const std::size_t held = queued_ + sending_;
    return held == 0 || (held < limits_.bytes && cost <= limits_.bytes - held);
  }

  fate refuse(entries& surplus) noexcept {
    if (limits_.policy != slow_reader::close) return fate::dropped;
    state_ = state::abandoned;
    drop_all(surplus);
    return fate::overflown;
  }

  entry* take_first() noexcept {
    entry* const first = waiting_.pop_front();
    if (first != nullptr) queued_ -= cost_of(*first);
    return first;
  }

  void drop_all(entries& surplus) noexcept {
    while (entry* const e = take_first()) surplus.push_back(*e);
  }

  static void free_all(entries& all) noexcept {
    while (entry* const e = all.pop_front()) delete e;
  }

  const outbox_limits limits_;
  mutable spin_lock lock_;  // guards all below but `news_`
  entries waiting_;
  std::size_t queued_ = 0;   // cost of those in `waiting_`
  std::size_t sending_ = 0;  // cost of the one that was taken last
  state state_ = state::open;
  close_info closing_as_;
  bool taker_waits_ = false;  // whoever resets it gives the permit
  async_semaphore news_{0};
};

}  // namespace detail
}  // namespace troupe

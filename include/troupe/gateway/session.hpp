// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `socket_session`: one WebSocket from its acceptance to its end.
///
/// Layer: gateway. Two coroutines while it is open.

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// What a transport gets with a 101 (`response::session`): has the client's place in its shard, and
/// gives that back when it goes, whether the connection came about or not.
class socket_session {
public:
  /// For the library.
  explicit socket_session(detail::seat at);

  /// Runs the hooks of the shard and carries messages, until the WebSocket has ended. Does not
  /// throw. A stop request drops the connection.
  ///
  /// `on_open` comes first; then the socket joins its shard. A hook that throws ends the connection
  /// with 1011. At the end, and also where `on_open` has thrown, exactly one of `on_error` (if
  /// there is one, and the connection was lost or a hook has thrown) and `on_close` runs, once,
  /// when the socket has left its shard; not if the instance that it was opened by is gone.
  task<> run(std::shared_ptr<socket_transport> by);

private:
  using state_ptr = intrusive_ptr<detail::socket_state>;

  /// How it has ended. Whichever of its two coroutines, which may run at the same time, finds it
  /// first says so; it is read when both have ended.
  struct outcome {
    detail::atomic<bool> known{false};
    close_info how{close_code::abnormal};
    std::exception_ptr failure;

    void closed(close_info as) noexcept {
      if (!known.exchange(true, detail::order::relaxed)) how = std::move(as);
    }
    void failed(std::exception_ptr e) noexcept {
      if (!known.exchange(true, detail::order::relaxed)) failure = std::move(e);
    }
    bool is_known() const noexcept { return known.load(detail::order::relaxed); }
  };

  task<> open_and_read(socket_transport& by, outcome& end);
  task<> read_all(socket_transport& by, outcome& end);
  bool is_to_be_heard(socket_transport& by);
  task<> write_all(socket_transport& by, outcome& end);
  static task<> tell_end(detail::seat left, socket s, close_info how, std::exception_ptr failure,
                         std::shared_ptr<async_semaphore> told);

  detail::seat seat_;
  state_ptr state_;
  socket socket_;                            // the hooks' own
  std::optional<time_point> closing_since_;  // a message came after the end was decided
};

inline socket_session::socket_session(detail::seat at)
    : seat_(std::move(at)),
      state_(new detail::socket_state(seat_.uid(), seat_.home()->next_socket(), seat_.shard(),
                                      seat_.home(), seat_.home()->options.outbox)),
      socket_(state_) {}

inline task<> socket_session::run(std::shared_ptr<socket_transport> by) {
  outcome end;
  state_->carry_by(by);
  task<> reading = open_and_read(*by, end);
  task<> writing = write_all(*by, end);
  co_await when_all(std::move(reading), std::move(writing));
  if (end.failure) by->abort();
  if (state_->was_too_slow()) {
    end.failure = std::make_exception_ptr(
        error(errc::refused, {}, "the client reads slower than it is sent to"));
  }
  state_->out.abandon();
  state_->carry_by(nullptr);
  // Beside this chain, which may be stopped: the shard hears of the end all the same, unless the
  // broker itself goes.
  const auto told = std::make_shared<async_semaphore>(0);
  seat_.home()->workers.spawn(
      tell_end(std::move(seat_), socket_, std::move(end.how), std::move(end.failure), told));
  static_cast<void>(co_await as_result(told->acquire()));
}

/// Does not throw. What `on_open` sends is sent meanwhile.
inline task<> socket_session::open_and_read(socket_transport& by, outcome& end) {
  detail::shard_peer& shard = *seat_.shard();
  const std::uint64_t closings = shard.sockets.closings();
  const scope_exit leave([this, &shard]() noexcept { shard.sockets.leave(*state_); });
  try {
    co_await shard.open(socket_);
    shard.sockets.join(state_, closings);
  } catch (...) {
    end.failed(std::current_exception());
    state_->out.close({close_code::internal_error, "internal error"});
  }
  if (!end.is_known()) co_await read_all(by, end);
}

/// Does not throw: its sibling hears of the end by the outbox, and by the transport.
inline task<> socket_session::read_all(socket_transport& by, outcome& end) {
  for (;;) {
    std::optional<socket_message> m;
    try {
      m = co_await by.read();
    } catch (...) {
      end.failed(std::current_exception());
    }
    if (!m) {
      end.closed(by.closed_by_peer());
      state_->out.abandon();
      by.abort();  // what is being written goes nowhere any more
      co_return;
    }
    if (!is_to_be_heard(by)) continue;
    try {
      co_await seat_.shard()->message(socket_, *m);
    } catch (...) {
      end.failed(std::current_exception());
      state_->out.close({close_code::internal_error, "internal error"});
    }
    if (end.is_known()) co_return;
  }
}

/// Nobody is heard once the end is decided. Who goes on talking instead of reading what was sent is
/// dropped after a while.
inline bool socket_session::is_to_be_heard(socket_transport& by) {
  constexpr auto patience = std::chrono::seconds(10);
  if (state_->out.is_open()) return true;
  const time_point now = seat_.home()->where.now();
  if (!closing_since_) closing_since_ = now;
  if (now - *closing_since_ > patience) by.abort();
  return false;
}

/// Does not throw: its sibling hears of the end by the transport.
inline task<> socket_session::write_all(socket_transport& by, outcome& end) {
  try {
    for (;;) {
      const std::optional<socket_message> m = co_await state_->out.next();
      if (!m) break;
      co_await by.write(*m);
    }
    std::optional<close_info> how = state_->out.take_closing();
    if (how) {
      end.closed(*how);
      co_await by.close(*how);
    }
  } catch (...) {
    end.failed(std::current_exception());
    state_->out.abandon();
    by.abort();
  }
}

/// An overloaded shard is asked again; what the hook throws is for its supervision.
inline task<> socket_session::tell_end(detail::seat left, socket s, close_info how,
                                       std::exception_ptr failure,
                                       std::shared_ptr<async_semaphore> told) {
  const scope_exit over([&told]() noexcept { told->release(); });
  constexpr int attempts = 100;
  bool again =
      detail::socket_access::state_of(s).opened_by.has_value();  // else no instance has heard of it
  for (int i = 0; again && i < attempts; ++i) {
    again = false;
    try {
      co_await left.shard()->end(s, how, failure);
    } catch (const error& e) {
      again = e.code() == errc::mailbox_full;
    } catch (...) {
      // The worker's supervision has seen it.
    }
    if (again) {
      const auto slept = co_await as_result(sleep_for(std::chrono::milliseconds(10)));
      again = static_cast<bool>(slept);
    }
  }
  left = detail::seat();  // before it is over
}

}  // namespace troupe

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The life of one socket beside its shard.
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
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/gateway/socket_state.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The session of a socket whose shard is in this process.
class hosted_session final : public socket_session {
public:
  explicit hosted_session(seat at);

  inline task<> run(std::shared_ptr<socket_transport> by) override;

private:
  using state_ptr = intrusive_ptr<socket_state>;
  using shard_ptr = intrusive_ptr<hosted_shard>;

  /// How it has ended. Whichever of its two coroutines, which may run at the same time, finds it
  /// first says so; it is read when both have ended.
  struct outcome {
    atomic<bool> known{false};
    close_info how{close_code::abnormal};
    std::exception_ptr failure;

    void closed(close_info as) noexcept {
      if (!known.exchange(true, order::relaxed)) how = std::move(as);
    }
    void failed(std::exception_ptr e) noexcept {
      if (!known.exchange(true, order::relaxed)) failure = std::move(e);
    }
    bool is_known() const noexcept { return known.load(order::relaxed); }
  };

  /// A session is made by the shard itself.
  static shard_ptr own_shard(const seat& at) noexcept {
    return shard_ptr(static_cast<hosted_shard*>(at.shard().get()));
  }

  task<> open_and_read(socket_transport& by, outcome& end);
  task<> read_all(socket_transport& by, outcome& end);
  bool is_to_be_heard(socket_transport& by);
  task<> write_all(socket_transport& by, outcome& end);
  task<> say_goodbye(socket_transport& by);
  static task<> tell_end(seat left, socket s, close_info how, std::exception_ptr failure,
                         std::shared_ptr<async_semaphore> told);

  seat seat_;
  stop_token stopping_;  // of whoever runs it
  state_ptr state_;
  socket socket_;                            // the hooks' own
  std::optional<time_point> closing_since_;  // a message came after the end was decided
};

inline hosted_session::hosted_session(seat at)
    : seat_(std::move(at)),
      state_(new socket_state(seat_.uid(), seat_.number(), own_shard(seat_), seat_.home(),
                              seat_.home()->options.outbox)),
      socket_(state_) {
  seat_.give_to_socket();
}

inline task<> hosted_session::run(std::shared_ptr<socket_transport> by) {
  outcome end;
  stopping_ = co_await this_task::stop_token();
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
inline task<> hosted_session::open_and_read(socket_transport& by, outcome& end) {
  hosted_shard& shard = *state_->shard;
  const std::uint64_t closings = shard.sockets.closings();
  const scope_exit leave([this, &shard]() noexcept { shard.sockets.leave(*state_); });
  try {
    if (!shard.sockets.is_closed()) co_await shard.open(socket_);
    shard.sockets.join(state_, closings);
  } catch (...) {
    end.failed(std::current_exception());
    state_->out.close({close_code::internal_error, "internal error"});
  }
  if (!end.is_known()) co_await read_all(by, end);
}

/// Does not throw: its sibling hears of the end by the outbox, and by the transport.
inline task<> hosted_session::read_all(socket_transport& by, outcome& end) {
  for (;;) {
    std::optional<socket_message> m;
    try {
      m = co_await by.read();
    } catch (...) {
      end.failed(std::current_exception());
      if (stopping_.stop_requested()) co_return;  // so is its sibling, which says goodbye
    }
    if (!m) {
      end.closed(by.closed_by_peer());
      state_->out.abandon();
      by.abort();  // what is being written goes nowhere any more
      co_return;
    }
    if (!is_to_be_heard(by)) continue;
    try {
      co_await state_->shard->message(socket_, *m);
    } catch (...) {
      end.failed(std::current_exception());
      state_->out.close({close_code::internal_error, "internal error"});
    }
    if (end.is_known()) co_return;
  }
}

/// Nobody is heard once the end is decided. Who goes on talking instead of reading what was sent is
/// dropped after a while.
inline bool hosted_session::is_to_be_heard(socket_transport& by) {
  constexpr auto patience = std::chrono::seconds(10);
  if (state_->out.is_open()) return true;
  const time_point now = seat_.home()->where.now();
  if (!closing_since_) closing_since_ = now;
  if (now - *closing_since_ > patience) by.abort();
  return false;
}

/// Does not throw: its sibling hears of the end by the transport.
inline task<> hosted_session::write_all(socket_transport& by, outcome& end) {
  bool is_closing = false;
  try {
    for (;;) {
      const std::optional<socket_message> m = co_await state_->out.next();
      if (!m) break;
      co_await by.write(*m);
    }
    const std::optional<close_info> how = state_->out.take_closing();
    is_closing = how.has_value();
    if (is_closing) {
      end.closed(*how);
      co_await by.close(*how);
    }
    co_return;
  } catch (...) {
    end.failed(std::current_exception());
  }
  if (stopping_.stop_requested() && !is_closing) co_await say_goodbye(by);
  state_->out.abandon();
  by.abort();
}

/// Whoever runs it has no time left: as far as that need not be waited for.
inline task<> hosted_session::say_goodbye(socket_transport& by) {
  const std::optional<close_info> decided = state_->out.take_closing();
  const close_info how = decided.value_or(close_info{close_code::going_away});
  try {
    co_await by.close(how);
  } catch (...) {
    // It was not said.
  }
}

/// An overloaded shard is asked again; what the hook throws is for its supervision.
inline task<> hosted_session::tell_end(seat left, socket s, close_info how,
                                       std::exception_ptr failure,
                                       std::shared_ptr<async_semaphore> told) {
  const scope_exit over([&told]() noexcept { told->release(); });
  constexpr int attempts = 100;
  bool again =
      socket_access::state_of(s).opened_by.has_value();  // else no instance has heard of it
  for (int i = 0; again && i < attempts; ++i) {
    again = false;
    try {
      co_await socket_access::state_of(s).shard->end(s, how, failure);
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
  left = seat();  // before it is over
}

/// Where the hook accepts a WebSocket though none was asked for, that is the program's fault.
inline task<response> hosted_shard::visit(seat at, request asked) {
  const bool may_connect = asked.wants_socket() && asked.connect().status == 101;
  response said = co_await receive(std::move(asked));
  if (said.status == 101) {
    if (!may_connect) co_return text_response(500, "internal error");
    said.session = std::make_shared<hosted_session>(std::move(at));
  }
  co_return said;
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One WebSocket between the process that has its shard and the one that has its client.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/net/exchange.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// One end of it. At most `window` bytes are on their way in each direction, so that a client that
/// reads slowly is noticed where messages wait for it.
///
/// Messages are numbered. Where one is missing, the whole connection is lost: never a single one.
///
/// For the shard it is what carries the WebSocket. Thread safety: as a transport's; `take`, `lose`
/// and `check` from the exchange.
class socket_relay final : public socket_transport {
public:
  socket_relay(exchange& by, std::string other, std::uint64_t number, bool has_client)
      : by_(by),
        peer(std::move(other)),
        session(number),
        to_host(has_client),
        is_attached_(!has_client) {}
  socket_relay(const socket_relay&) = delete;
  socket_relay& operator=(const socket_relay&) = delete;

private:
  static constexpr std::size_t window = std::size_t{256} << 10;
  exchange& by_;

public:
  const std::string peer;       // the address of the other end
  const std::uint64_t session;  // the number of the socket
  const bool to_host;           // this end has the client

  /// The client is there: its shard may open it.
  void attach() {
    send_frame(wire::frame::attach);
    const spin_guard guard(lock_);
    is_attached_ = true;
  }

  inline task<std::optional<socket_message>> read() override;
  inline task<> write(const socket_message& m) override;
  task<> close(const close_info& how) override {
    say_goodbye(how);
    co_return;
  }
  close_info closed_by_peer() const override {
    close_ptr how;
    {
      const spin_guard guard(lock_);
      how = closed_as_;
    }
    return how ? *how : close_info(close_code::abnormal);
  }
  /// It is lost for this side; the other one hears of it by `say_end`.
  inline void abort() noexcept override;
  /// Once nobody uses it any more.
  void say_end() noexcept;

  /// Closed by this side: what comes in is dropped, and `read` gives nothing.
  void say_goodbye(const close_info& how) noexcept;

  /// What has come from the other end.
  void take(wire::frame&& f) noexcept;
  /// What the other end says of itself; it may have done more since.
  void check(const wire::pulse& other) noexcept {
    bool complete = false;
    {
      const spin_guard guard(lock_);
      complete = static_cast<std::int32_t>(came_ - other.sent) >= 0;  // both wrap around
    }
    if (!complete) return abort();
    acknowledged(other.read);
  }
  wire::pulse feel() const noexcept {
    const spin_guard guard(lock_);
    return {session, to_host, sent_, read_};
  }
  bool is_open() const noexcept {
    const spin_guard guard(lock_);
    return state_ == state::open;
  }
  /// The other end knows it, or is about to hear of it.
  bool is_known() const noexcept {
    const spin_guard guard(lock_);
    return state_ == state::open && is_attached_;
  }

private:
  enum class state : std::uint8_t { open, closed, lost };
  using close_ptr = std::shared_ptr<const close_info>;
  using messages = std::list<socket_message>;

  static std::size_t cost_of(std::size_t size) noexcept { return size + 64; }
  static bool is_counted(std::uint8_t kind) noexcept {
    return kind == wire::frame::text || kind == wire::frame::binary || kind == wire::frame::close;
  }

  void send_frame(std::uint8_t kind, std::uint64_t number = 0, shared_bytes payload = {});
  bool end_as(state ended, close_ptr how) noexcept;
  bool is_next(std::uint32_t place) noexcept;
  void receive(socket_message m);
  void closed(const wire::frame& f);
  void acknowledged(std::uint64_t bytes) noexcept;

  mutable spin_lock lock_;  // guards all below but the semaphores
  state state_ = state::open;
  bool is_attached_;
  close_ptr closed_as_;
  messages inbox_;
  std::uint32_t came_ = 0;         // messages, and the end
  std::uint32_t sent_ = 0;         // the same, once they are sent
  std::uint64_t read_ = 0;         // cost of all that has been read
  std::uint64_t read_known_ = 0;   // so much of it has been acknowledged
  std::uint64_t written_ = 0;      // cost of all that was written
  std::uint64_t arrived_ = 0;      // so much of it has been acknowledged
  bool writer_waits_ = false;      // whoever resets it gives the permit
  async_semaphore news_{0};        // a permit for each message, and one for the end
  async_semaphore has_window_{0};  // see `writer_waits_`
};

inline task<std::optional<socket_message>> socket_relay::read() {
  co_await news_.acquire();
  messages first;
  std::uint64_t ack = 0;
  bool lost = false;
  {
    const spin_guard guard(lock_);
    lost = state_ == state::lost;
    if (!inbox_.empty()) {
      first.splice(first.end(), inbox_, inbox_.begin());
      read_ += cost_of(first.front().size());
      if (inbox_.empty() || read_ - read_known_ >= window / 4) ack = read_known_ = read_;
    }
  }
  if (first.empty()) {
    news_.release();  // the end stays
    if (lost) throw error(errc::connection_lost, {}, "the client is gone");
    co_return std::nullopt;
  }
  if (ack != 0) send_frame(wire::frame::ack, ack);
  co_return std::move(first.front());
}

inline task<> socket_relay::write(const socket_message& m) {
  const std::size_t cost = cost_of(m.size());
  for (;;) {
    bool fits = false;
    {
      const spin_guard guard(lock_);
      if (state_ != state::open) break;
      const std::uint64_t under_way = written_ - arrived_;
      fits = under_way == 0 || under_way + cost <= window;
      if (fits) written_ += cost;
      writer_waits_ = !fits;
    }
    if (fits) {
      send_frame(m.is_binary() ? wire::frame::binary : wire::frame::text, 0, m.payload());
      co_return;
    }
    co_await has_window_.acquire();
  }
  throw error(errc::connection_lost, {}, "the connection has ended");
}

inline void socket_relay::abort() noexcept { static_cast<void>(end_as(state::lost, {})); }

/// An end that was not said otherwise is heard of by the next beat at the latest.
inline void socket_relay::say_end() noexcept {
  abort();
  try {
    send_frame(wire::frame::lost);
  } catch (...) {
    // For want of memory.
  }
}

inline void socket_relay::say_goodbye(const close_info& how) noexcept try {
  if (!end_as(state::closed, std::make_shared<const close_info>(how))) return;
  send_frame(wire::frame::close, static_cast<std::uint64_t>(how.code), shared_bytes(how.reason));
} catch (...) {
  abort();  // for want of memory
}

/// False: it had ended before. `how`: nothing where it is lost.
inline bool socket_relay::end_as(state ended, close_ptr how) noexcept {
  bool wakes = false;
  {
    const spin_guard guard(lock_);
    if (state_ != state::open) return false;
    state_ = ended;
    closed_as_ = std::move(how);
    wakes = std::exchange(writer_waits_, false);
  }
  news_.release();
  if (wakes) has_window_.release();
  return true;
}

/// Messages and the end are sent by one coroutine; those alone are counted.
inline void socket_relay::send_frame(std::uint8_t kind, std::uint64_t number,
                                     shared_bytes payload) {
  const bool counts = is_counted(kind);
  wire::frame f{session, to_host, 0, kind, number, std::move(payload)};
  if (counts) f.place = feel().sent;
  by_.tell(peer, wire::packed(wire::word(std::move(f))));
  if (!counts) return;
  const spin_guard guard(lock_);  // not before it is sent: a beat must not be ahead of it
  ++sent_;
}

/// What cannot be stored was counted all the same: the connection is lost, never a single message.
inline void socket_relay::take(wire::frame&& f) noexcept try {
  if (is_counted(f.kind) && !is_next(f.place)) return abort();
  switch (f.kind) {
    case wire::frame::text:
      return receive(socket_message(std::move(f.payload)));
    case wire::frame::binary:
      return receive(socket_message::binary(std::move(f.payload)));
    case wire::frame::ack:
      return acknowledged(f.number);
    case wire::frame::close:
      return closed(f);
    case wire::frame::lost:
      return abort();
    default:
      return;
  }
} catch (...) {
  abort();
}

inline bool socket_relay::is_next(std::uint32_t place) noexcept {
  const spin_guard guard(lock_);
  return place == came_++;
}

inline void socket_relay::closed(const wire::frame& f) {
  constexpr std::size_t longest = 123;  // as RFC 6455 has it
  std::string reason(f.payload.view().substr(0, longest));
  const auto code = static_cast<close_code>(f.number);
  static_cast<void>(
      end_as(state::closed, std::make_shared<const close_info>(code, std::move(reason))));
}

inline void socket_relay::receive(socket_message m) {
  messages fresh;
  fresh.push_back(std::move(m));
  {
    const spin_guard guard(lock_);
    if (state_ != state::open) return;
    inbox_.splice(inbox_.end(), fresh);
  }
  news_.release();
}

/// `bytes`: of all that was written. They may come late, and again.
inline void socket_relay::acknowledged(std::uint64_t bytes) noexcept {
  bool wakes = false;
  {
    const spin_guard guard(lock_);
    if (bytes <= arrived_ || bytes > written_) return;
    arrived_ = bytes;
    wakes = std::exchange(writer_waits_, false);
  }
  if (wakes) has_window_.release();
}

}  // namespace troupe::detail

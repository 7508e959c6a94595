// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One WebSocket, whoever refers to it.
///
/// Layer: gateway.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/gateway/outbox.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

class hosted_shard;
class cluster;
void add_ref(cluster* c) noexcept;
void release(cluster* c) noexcept;

/// Counted: its session holds it, the shard's list, and each `socket`. What is sent after it has
/// ended goes nowhere.
class socket_state {
public:
  socket_state(std::string id, std::uint64_t n, intrusive_ptr<hosted_shard> at,
               intrusive_ptr<cluster> in, const outbox_limits& limits);
  socket_state(const socket_state&) = delete;
  socket_state& operator=(const socket_state&) = delete;
  ~socket_state();

  friend void add_ref(socket_state* s) noexcept { s->references_.fetch_add(1, order::relaxed); }
  friend void release(socket_state* s) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (s->references_.fetch_sub(1, order::acq_rel) == 1) delete s;
  }

  const std::string uid;
  const std::uint64_t number;  // among all of its cluster; not given again
  const intrusive_ptr<hosted_shard> shard;
  const intrusive_ptr<cluster> home;

  /// The instance that has begun to open it, by `hosted_shard::generation`. Written in its turn,
  /// read in later ones and by the session behind it.
  std::optional<std::uint64_t> opened_by{};

  /// What waits for its peer, who is dropped where that is too much.
  outbox out;

  outbox::fate send(const socket_message& m) {
    const outbox::fate became = out.push(m);
    if (became == outbox::fate::overflown) {
      was_too_slow_.store(true, order::relaxed);
      drop_connection();
    }
    return became;
  }
  bool was_too_slow() const noexcept { return was_too_slow_.load(order::relaxed); }

  /// Ends it without a word.
  void drop_connection() noexcept {
    out.abandon();
    // Under the lock, though it is a callback: whoever carries it waits there before it goes.
    const spin_guard guard(lock_);
    if (transport_) transport_->abort();
  }

  /// What carries it while its session runs.
  void carry_by(std::shared_ptr<socket_transport> t) noexcept {
    const spin_guard guard(lock_);
    transport_.swap(t);
  }

private:
  atomic<std::uint32_t> references_{0};
  atomic<bool> was_too_slow_{false};  // says why, to whom the end has been told otherwise
  spin_lock lock_;
  std::shared_ptr<socket_transport> transport_;  // guarded by `lock_`
};

}  // namespace troupe::detail

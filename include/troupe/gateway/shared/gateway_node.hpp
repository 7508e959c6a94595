// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What one process is among those of its gateway: its address, whom it knows, and the WebSockets
/// that pass through it.
///
/// Layer: gateway.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/gateway/shared/gateway_claims.hpp>
#include <troupe/gateway/shared/relay_table.hpp>
#include <troupe/gateway/shared/socket_relay.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/shared_gateway_options.hpp>
#include <troupe/net/exchange.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Counted: by the gateway, by what it has spawned, and by what sends through it.
///
/// Each member holds a claim to its own name for as long as it can renew it, and claims the
/// keeper's: whoever gets that keeps the tables until it fails to renew it. Nothing is done by a
/// keeper or a host whose claim may have lapsed.
class gateway_node : public exchange::listener {
public:
  using node_ptr = intrusive_ptr<gateway_node>;

  /// Throws `std::invalid_argument` for a name with a slash in it and for a lease that is too short
  /// to be renewed.
  gateway_node(broker& b, network& n, const std::string& name, const shared_gateway_options& o)
      : workers(b),
        where(b.runs_on()),
        options(o),
        prefix("gateway/" + checked(name, o) + '/'),
        exchange_(n, prefix + fresh_process_name(where)),
        claims_(n, prefix, exchange_.address(), o.lease) {}
  gateway_node(const gateway_node&) = delete;
  gateway_node& operator=(const gateway_node&) = delete;
  virtual ~gateway_node() = default;

  friend void add_ref(gateway_node* n) noexcept { n->references_.fetch_add(1, order::relaxed); }
  friend void release(gateway_node* n) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (n->references_.fetch_sub(1, order::acq_rel) == 1) delete n;
  }

  broker& workers;
  executor& where;
  const shared_gateway_options options;
  const std::string prefix;  // of all its names in the network

  const std::string& address() const noexcept { return exchange_.address(); }

  bool is_closed() const noexcept { return closed_.load(order::acquire); }

  /// Listens, and stays a member, until it is closed or the broker goes.
  void start() {
    workers.spawn(listen(node_ptr(this)));
    workers.spawn(stay(node_ptr(this)));
  }
  /// It is no member any more.
  void close() noexcept {
    if (closed_.exchange(true, order::acq_rel)) return;
    closing_.release();
    isolate();
    exchange_.close();
  }

  /// Throws what the other side has thrown, `errc::connection_lost` once that is gone; it is asked
  /// nothing where it is known to be.
  template <class R>
  task<R> ask(std::string to, wire::question q, duration limit) {
    if (!knows(to)) throw error(errc::connection_lost, {}, "there is no process " + to);
    const shared_bytes answer = co_await exchange_.ask(std::move(to), wire::packed(q), limit);
    co_return wire::unpacked<R>(answer);
  }
  /// The same of whoever is the keeper; waits for one where there is none. `errc::refused`: there
  /// was none in time.
  template <class R>
  task<R> ask_keeper(wire::question q, duration limit);
  void tell(std::string_view to, wire::word w) { exchange_.tell(to, wire::packed(w)); }

  gateway_members known() const {
    const std::shared_ptr<const gateway_members> is = members();
    return is ? *is : gateway_members();
  }
  bool knows(std::string_view to) const noexcept {
    const std::shared_ptr<const gateway_members> is = members();
    return is && is->has(to);
  }
  std::string keeper() const {
    const std::shared_ptr<const gateway_members> is = members();
    return is ? is->keeper : std::string();
  }

  /// One end of a WebSocket in this process, until `forget`. Throws `errc::refused` where there is
  /// one of this number.
  std::shared_ptr<socket_relay> open_relay(std::string peer, std::uint64_t session,
                                           bool has_client);
  void forget(const socket_relay& r) noexcept { relays_.forget(r); }

  /// False: the others may have given it up.
  bool is_member() const noexcept { return where.now() < member_until_.load(order::acquire); }

protected:
  /// It is the keeper from now on, for as long as `may_keep`.
  virtual void begin_to_keep(std::uint64_t fence) = 0;
  virtual void stop_keeping() noexcept = 0;
  /// Nobody counts this one as a member any more: its shards are nobody's.
  virtual void cut_off() noexcept = 0;
  /// A client has come to a session that was accepted here. False: there is none.
  virtual bool attach(std::uint64_t session, const std::string& from) = 0;
  virtual void session_dropped(std::uint64_t session) noexcept = 0;
  /// From time to time, and when members have gone.
  virtual void tidy() noexcept = 0;

  /// False: somebody else may have become the keeper.
  bool may_keep() const noexcept { return where.now() < keeps_until_.load(order::acquire); }

private:
  using relay_ptr = relay_table::relay_ptr;

  static task<std::uint64_t> nothing() { co_return 0; }
  static const std::string& checked(const std::string& name, const shared_gateway_options& o);

  static task<> listen(node_ptr self);
  static task<> stay(node_ptr self);
  task<> renew_until_closed();
  task<> join();
  task<> take_part();
  task<std::uint64_t> keep_on(time_point until);
  duration time_left() const noexcept;
  duration pause_until(time_point next) const noexcept;
  void lapse() noexcept;
  void update(gateway_members is, const std::vector<relay_ptr>& passing);
  void keep_with(std::uint64_t fence, time_point until);
  void resign() noexcept;
  void isolate() noexcept;
  void beat();

  inline void hear(const std::string& from, const shared_bytes& said) noexcept final;
  void hear_frame(const std::string& from, wire::frame&& f);
  void hear_beat(const std::string& from, const wire::beat& b);

  std::shared_ptr<const gateway_members> members() const noexcept {
    const spin_guard guard(lock_);
    return members_;
  }

  exchange exchange_;
  relay_table relays_;
  atomic<std::uint32_t> references_{0};
  atomic<bool> closed_{false};
  atomic<time_point> member_until_{time_point::min()};
  atomic<time_point> keeps_until_{time_point::min()};
  async_semaphore closing_{0};  // a permit once it is closed

  // Of `stay`.
  gateway_claims claims_;
  std::uint64_t member_fence_ = 0;  // of its own name; 0: it was no member before
  std::uint64_t host_fence_ = 0;    // of its place among the hosts; 0: it had none before
  std::uint64_t fence_ = 0;         // with which it keeps; 0: it does not

  mutable spin_lock lock_;
  std::shared_ptr<const gateway_members> members_;  // guarded by `lock_`
};

inline const std::string& gateway_node::checked(const std::string& name,
                                                const shared_gateway_options& o) {
  if (name.find('/') != std::string::npos) {
    throw std::invalid_argument("the name of a gateway has a slash in it");
  }
  if (o.lease < std::chrono::milliseconds(30)) {
    throw std::invalid_argument("a lease is at least 30 ms");
  }
  return name;
}

// --- membership ---------------------------------------------------------------------------------

/// Who does not listen is no member.
inline task<> gateway_node::listen(node_ptr self) {
  static_cast<void>(co_await as_result(self->exchange_.run(*self)));
  self->close();
  self->isolate();  // again: what was being answered has ended only now
}

inline task<> gateway_node::stay(node_ptr self) {
  gateway_node& n = *self;
  {
    const scope_exit over([&n]() noexcept {  // also where there is no memory to go on
      n.close();
      n.isolate();  // again: it may have joined meanwhile
    });
    co_await n.renew_until_closed();
  }
  co_await n.claims_.give_back();
}

/// Each part of a renewal has the time that the membership lasts, and not the pause between two of
/// them: on a slow network it would never come to its end.
inline task<> gateway_node::renew_until_closed() {
  while (!is_closed()) {
    if (!is_member()) lapse();
    const time_point next = saturating_add(where.now(), options.lease / 3);
    auto joining = as_result(within(join(), time_left()));
    const result<void> joined = co_await std::move(joining);
    if (joined.has_value() && is_member()) {
      auto taking_part = as_result(within(take_part(), time_left()));
      static_cast<void>(co_await std::move(taking_part));
    }
    if (!is_member()) lapse();
    auto waiting = as_result(within(closing_.acquire(), pause_until(next)));
    const result<void> waited = co_await std::move(waiting);
    if (waited.code() != make_error_code(errc::timed_out)) co_return;
  }
}

/// Claims count from before they are made, and by this side a sixth less than by the others.
inline task<> gateway_node::join() {
  const time_point until = saturating_add(where.now(), options.lease - options.lease / 6);
  const std::uint64_t fence = co_await claims_.member();
  // The others may have given it up since the last time, and its shards to somebody else.
  if (member_fence_ != 0 && (fence != member_fence_ || !is_member())) lapse();
  if (is_closed()) co_return;
  member_fence_ = fence;
  member_until_.store(until, order::release);
}

/// Who begins to keep knows all hosts there may be: it asks who is there after its claim.
inline task<> gateway_node::take_part() {
  const time_point until = member_until_.load(order::acquire);
  task<std::uint64_t> hosting = options.hosts_shards ? claims_.host() : nothing();
  task<std::uint64_t> keeping = keep_on(until);
  auto both = when_all(std::move(hosting), std::move(keeping));
  const auto [hosts, fence] = co_await std::move(both);
  // A keeper that has begun since its last claim may not have asked for what is here.
  if (host_fence_ != 0 && hosts != host_fence_) co_return lapse();
  host_fence_ = hosts;
  const std::vector<relay_ptr> passing = relays_.all();  // who has opened one was a member before
  gateway_members is = co_await claims_.members();
  if (is_closed()) co_return;
  update(std::move(is), passing);
  keep_with(fence, until);
  beat();
}

/// Claims the keeper's name; where that goes on, it goes on at once.
inline task<std::uint64_t> gateway_node::keep_on(time_point until) {
  const std::uint64_t fence = co_await claims_.keeper(fence_ != 0);
  if (fence != fence_) resign();
  if (fence_ != 0) keeps_until_.store(until, order::release);
  co_return fence;
}

/// Until it is a member no more; a new one has as long as it would be one.
inline duration gateway_node::time_left() const noexcept {
  const time_point until = member_until_.load(order::acquire);
  const time_point now = where.now();
  return now < until ? until - now : options.lease - options.lease / 6;
}

/// Until `next`, but no longer than the membership lasts.
inline duration gateway_node::pause_until(time_point next) const noexcept {
  const time_point until = member_until_.load(order::acquire);
  const time_point now = where.now();
  const time_point then = now < until ? (std::min)(next, until) : next;
  return now < then ? then - now : duration::zero();
}

inline void gateway_node::lapse() noexcept {
  isolate();
  fence_ = 0;
  member_fence_ = 0;
  host_fence_ = 0;
}

inline void gateway_node::update(gateway_members is, const std::vector<relay_ptr>& passing) {
  const auto fresh = std::make_shared<const gateway_members>(std::move(is));
  std::shared_ptr<const gateway_members> before = fresh;
  {
    const spin_guard guard(lock_);
    members_.swap(before);
  }
  tidy();  // before clients come again, whose connections end now
  for (const relay_ptr& r : passing) {
    if (!fresh->has(r->peer)) r->abort();
  }
  exchange_.lose([&](const std::string& asked) { return !fresh->has(asked); });
}

inline void gateway_node::keep_with(std::uint64_t fence, time_point until) {
  if (fence == fence_) return;
  keeps_until_.store(until, order::release);
  begin_to_keep(fence);
  fence_ = fence;
}

inline void gateway_node::resign() noexcept {
  keeps_until_.store(time_point::min(), order::release);
  if (fence_ != 0) stop_keeping();
  fence_ = 0;
}

/// Whatever it had with others is over: they have given it up as well.
inline void gateway_node::isolate() noexcept {
  // First: what is asked from now on is refused, and what was begun before is cut off below.
  keeps_until_.store(time_point::min(), order::release);
  member_until_.store(time_point::min(), order::release);
  std::shared_ptr<const gateway_members> nobody;
  {
    const spin_guard guard(lock_);
    members_.swap(nobody);
  }
  relays_.abort_all();
  exchange_.lose([](const std::string&) { return true; });
  stop_keeping();
  cut_off();
}

template <class R>
task<R> gateway_node::ask_keeper(wire::question q, duration limit) {
  const time_point until = saturating_add(where.now(), limit);
  while (!is_closed()) {
    const std::string at = keeper();
    const time_point now = where.now();
    if (now >= until) throw error(errc::refused, {}, "the gateway has no keeper");
    if (!at.empty()) {
      auto asking = as_result(ask<R>(at, q, until - now));
      result<R> answer = co_await std::move(asking);
      if (answer.has_value()) co_return std::move(answer).value();
      if (answer.code() != make_error_code(errc::refused)) std::rethrow_exception(answer.error());
    }
    co_await sleep_for(options.lease / 30);
  }
  throw error(errc::refused, {}, "this process has left its gateway");
}

// --- WebSockets ---------------------------------------------------------------------------------

inline std::shared_ptr<socket_relay> gateway_node::open_relay(std::string peer,
                                                              std::uint64_t session,
                                                              bool has_client) {
  auto made = std::make_shared<socket_relay>(exchange_, std::move(peer), session, has_client);
  if (!relays_.add(made)) throw error(errc::refused, {}, "there is a socket of this number");
  if (is_closed()) made->abort();  // `close` may not have seen it
  return made;
}

/// One message to each other end's process, whatever the number of sockets.
inline void gateway_node::beat() {
  std::map<std::string, wire::beat> beats = relays_.beats();
  for (auto& [to, b] : beats) tell(to, wire::word(std::move(b)));
}

/// What cannot be read is nobody's.
inline void gateway_node::hear(const std::string& from, const shared_bytes& said) noexcept {
  try {
    wire::word w = wire::unpacked<wire::word>(said);
    if (auto* const f = std::get_if<wire::frame>(&w)) return hear_frame(from, std::move(*f));
    if (const auto* const b = std::get_if<wire::beat>(&w)) return hear_beat(from, *b);
    if (const auto* const d = std::get_if<wire::dropped>(&w)) {
      session_dropped(d->session);
      if (const relay_ptr r = relays_.find(d->session, false)) r->abort();
    }
  } catch (...) {
    // As said; or there is no memory, and the next beat shows what is missing.
  }
}

inline void gateway_node::hear_frame(const std::string& from, wire::frame&& f) {
  const bool has_client = !f.to_host;
  if (f.kind == wire::frame::attach) {
    if (!has_client && attach(f.session, from)) return;
  } else if (const relay_ptr r = relays_.find(f.session, has_client)) {
    if (r->peer == from) r->take(std::move(f));
    return;
  }
  if (f.kind == wire::frame::lost) return;
  tell(from, wire::frame{f.session, has_client, 0, wire::frame::lost, 0, {}});
}

inline void gateway_node::hear_beat(const std::string& from, const wire::beat& b) {
  for (const wire::pulse& p : b.all) {
    const bool has_client = !p.to_host;
    const relay_ptr r = relays_.find(p.session, has_client);
    if (r && r->peer == from) {
      r->check(p);
    } else {
      tell(from, wire::frame{p.session, has_client, 0, wire::frame::lost, 0, {}});
    }
  }
}

}  // namespace troupe::detail

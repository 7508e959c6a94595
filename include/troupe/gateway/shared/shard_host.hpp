// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The shards that a gateway of many processes has in this one.
///
/// Layer: gateway.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_mutex.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/shared/departures.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/hosted_cluster.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/gateway/worker_ends.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Answers for the shards here. Part of its node.
///
/// Thread safety: all members from any thread.
class shard_host {
public:
  explicit shard_host(gateway_node& n) noexcept : node_(n), departures_(n) {}
  shard_host(const shard_host&) = delete;
  shard_host& operator=(const shard_host&) = delete;
  virtual ~shard_host() = default;

  // --- what the keeper asks; `errc::refused` where that is the keeper no more --------------------
  task<wire::said> visit(wire::visit q);
  task<wire::told> tell(wire::tell q);
  task<wire::told> whisper(wire::whisper_at q);
  task<wire::reply> gossip(wire::gossip_at q);
  task<wire::nothing> close(wire::close_shard q);
  task<wire::nothing> retire(wire::retire q);
  wire::host_report report(const wire::report& q);
  task<wire::nothing> disown(wire::disown q);

  // --- sessions whose clients are elsewhere -----------------------------------------------------
  bool attach(std::uint64_t session, const std::string& from) noexcept;
  void drop(std::uint64_t session) noexcept { static_cast<void>(take(session)); }
  /// Drops sessions whose clients have not come.
  void tidy() noexcept;

  /// The sockets of all shards are closed, and the shards are nobody's.
  void clear(const close_info& how) noexcept;

  intrusive_ptr<hosted_cluster> find(std::string_view name) const noexcept {
    const spin_guard guard(lock_);
    const auto at = clusters_.find(name);
    return at == clusters_.end() ? cluster_ptr() : at->second;
  }

protected:
  virtual intrusive_ptr<hosted_shard> make(const hosted_cluster& home, std::string id,
                                           std::uint64_t number) = 0;

private:
  using cluster_ptr = intrusive_ptr<hosted_cluster>;
  using shard_ptr = intrusive_ptr<hosted_shard>;
  using session_ptr = std::shared_ptr<socket_session>;
  using clusters = std::map<std::string, cluster_ptr, std::less<>>;
  struct waiting {
    session_ptr session;
    time_point until{};
  };
  using sessions = std::map<std::uint64_t, waiting>;
  /// For whom something is done here; over when there is another keeper, or all has been cleared.
  struct term {
    std::uint64_t fence = 0;
    std::uint64_t clearings = 0;

    friend bool operator==(const term&, const term&) = default;
  };

  term obey(std::uint64_t fence);
  task<term> admit(std::uint64_t fence, bool knows_host);
  [[noreturn]] static void refuse(const char* why) { throw error(errc::refused, {}, why); }

  cluster_ptr open(const std::string& name, const term& during);
  shard_ptr enter(const wire::visit& q, const term& during, cluster_ptr& home);
  void make_shard(const wire::visit& q, const term& during, hosted_cluster& home);
  void end_later(worker_ends::ticket going, shard_ptr gone);
  void forget_if_empty(const cluster_ptr& home) noexcept;
  shard_ptr shard_at(const std::string& cluster, const std::string& shard) const;
  void await_client(const term& during, const hosted_cluster& home, const hosted_shard& at,
                    std::uint64_t number, session_ptr s);
  session_ptr take(std::uint64_t number) noexcept;
  static task<> run(intrusive_ptr<gateway_node> node, session_ptr s,
                    std::shared_ptr<socket_relay> by);

  static std::string key_of(const std::string& cluster, const std::string& shard) {
    return cluster + '/' + shard;
  }
  static task<> end_shard(intrusive_ptr<gateway_node> node, worker_ends::ticket going,
                          shard_ptr gone);

  gateway_node& node_;
  departures departures_;
  worker_ends ends_;
  async_mutex clearing_;  // for a keeper that does not know what is here

  mutable spin_lock lock_;  // guards all below
  clusters clusters_;
  sessions waiting_;             // for their clients
  term now_;                     // the latest keeper that was heard of
  std::uint64_t placed_by_ = 0;  // the fence of who knows what is here
};

// --- whom it obeys ------------------------------------------------------------------------------

/// A keeper's first question raises the fence. Asked before it is looked whether this is a member:
/// what is cleared since then belongs to another term.
inline shard_host::term shard_host::obey(std::uint64_t fence) {
  term is;
  {
    const spin_guard guard(lock_);
    if (fence > now_.fence) now_.fence = fence;
    is = now_;
  }
  if (is.fence != fence) refuse("there is another keeper");
  if (!node_.is_member()) refuse("this process is cut off");
  return is;
}

/// What is here is nobody's where the keeper could not be told of it: it would put the same ids and
/// shards elsewhere.
inline task<shard_host::term> shard_host::admit(std::uint64_t fence, bool knows_host) {
  const auto is_known = [&]() noexcept {
    const spin_guard guard(lock_);
    if (knows_host && placed_by_ < fence) placed_by_ = fence;
    return placed_by_ >= fence;
  };
  static_cast<void>(obey(fence));
  if (is_known()) co_return obey(fence);  // again: another one may just have cleared it
  const auto alone = co_await clearing_.lock();
  static_cast<void>(obey(fence));
  if (!is_known()) {
    clear(close_info(close_code::service_restart));
    const spin_guard guard(lock_);
    placed_by_ = fence;
  }
  co_return obey(fence);
}

inline task<wire::nothing> shard_host::disown(wire::disown q) {
  static_cast<void>(co_await admit(q.fence, false));
  co_return wire::nothing();
}

// --- visits -------------------------------------------------------------------------------------

/// Does not throw what the hooks throw: that is answered here.
inline task<wire::said> shard_host::visit(wire::visit q) {
  const term during = co_await admit(q.fence, q.knows_host);
  const std::uint64_t number = q.who.number;
  cluster_ptr home;
  const shard_ptr at = enter(q, during, home);
  seat place(home, at, std::move(q.who.uid), number);
  co_await ends_.wait(key_of(q.cluster, q.shard));
  auto asking = as_result(at->visit(std::move(place), wire::to_request(std::move(q.what))));
  result<response> came = co_await std::move(asking);
  response answer = came.has_value() ? std::move(came).value() : response_to(came.error());
  wire::said said = wire::of(answer);
  if (answer.session) {
    home->stays(*at, number);
    await_client(during, *home, *at, number, std::move(answer.session));
    said.session = number;
    said.host = node_.address();
  }
  co_return said;
}

/// The shard, which is made where it is not there, with its guest, and its cluster. Again where
/// that has been forgotten in between.
inline shard_host::shard_ptr shard_host::enter(const wire::visit& q, const term& during,
                                               cluster_ptr& home) {
  for (;;) {
    home = open(q.cluster, during);
    shard_ptr at;
    const auto came = home->enter(q.shard, q.mark, q.who.uid, q.who.number, at);
    if (came == hosted_cluster::entry::refused) refuse("that shard, or that guest, was before");
    if (came == hosted_cluster::entry::absent) {
      make_shard(q, during, *home);
    } else if (find(q.cluster) == home) {
      return at;
    }
  }
}

/// One of the same name that was made before is nobody's. Its worker goes before the new one's is
/// called. So is the new one, where another keeper has asked meanwhile what is here.
inline void shard_host::make_shard(const wire::visit& q, const term& during, hosted_cluster& home) {
  const std::string key = key_of(q.cluster, q.shard);
  worker_ends::ticket going(ends_, key);  // before anybody finds the new one
  shard_ptr before = home.add(make(home, q.shard, q.shard_number), q.mark);
  if (before) end_later(std::move(going), std::move(before));
  const auto is_over = [&]() noexcept {
    const spin_guard guard(lock_);
    return !(now_ == during);
  };
  if (!is_over()) return;
  shard_ptr nobodys = home.take_out(q.shard, q.mark);
  if (nobodys) end_later(worker_ends::ticket(ends_, key), std::move(nobodys));
}

inline shard_host::cluster_ptr shard_host::open(const std::string& name, const term& during) {
  clusters::node_type fresh;  // made where it is needed
  for (;;) {
    clusters::insert_return_type put;  // what was there first stays; the other dies behind the lock
    {
      const spin_guard guard(lock_);
      if (!(now_ == during)) break;
      const auto at = clusters_.find(name);
      if (at != clusters_.end()) return at->second;
      if (fresh) {
        put = clusters_.insert(std::move(fresh));
        return put.position->second;
      }
    }
    clusters one;
    one.emplace(name, cluster_ptr(new hosted_cluster(node_, departures_, name)));
    fresh = one.extract(one.begin());
  }
  refuse("this process has been cut off, or has another keeper");
}

// --- sessions whose clients are elsewhere -------------------------------------------------------

/// Throws `errc::refused` where the keeper has not heard of it: another one has asked meanwhile who
/// is here, or the shard is gone.
inline void shard_host::await_client(const term& during, const hosted_cluster& home,
                                     const hosted_shard& at, std::uint64_t number, session_ptr s) {
  const time_point until = saturating_add(node_.where.now(), node_.options.request_limit);
  sessions fresh;
  fresh.emplace(number, waiting{std::move(s), until});
  auto node = fresh.extract(fresh.begin());
  sessions::insert_return_type put;
  {
    const spin_guard guard(lock_);
    if (now_ == during && home.has(at)) put = waiting_.insert(std::move(node));
  }
  if (!put.inserted) refuse("this process has been cut off, or has another keeper");
}

inline shard_host::session_ptr shard_host::take(std::uint64_t number) noexcept {
  sessions::node_type freed;
  {
    const spin_guard guard(lock_);
    freed = waiting_.extract(number);
  }
  return freed ? std::move(freed.mapped().session) : session_ptr();
}

inline bool shard_host::attach(std::uint64_t session, const std::string& from) noexcept try {
  session_ptr s = take(session);
  if (!s) return false;
  const std::shared_ptr<socket_relay> by = node_.open_relay(from, session, false);
  scope_exit forget([this, &by]() noexcept { node_.forget(*by); });
  node_.workers.spawn(run(intrusive_ptr<gateway_node>(&node_), std::move(s), by));
  forget.release();
  return true;
} catch (...) {
  return false;
}

inline task<> shard_host::run(intrusive_ptr<gateway_node> node, session_ptr s,
                              std::shared_ptr<socket_relay> by) {
  const scope_exit over([&]() noexcept {
    by->say_end();
    node->forget(*by);
  });
  co_await s->run(by);
}

inline void shard_host::tidy() noexcept {
  const time_point now = node_.where.now();
  sessions late;
  const spin_guard guard(lock_);
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto it = at++;
    if (it->second.until <= now) late.insert(waiting_.extract(it));
  }
}

// --- what else is asked -------------------------------------------------------------------------

inline task<wire::told> shard_host::tell(wire::tell q) {
  const shard_ptr at = shard_at(q.cluster, q.shard);
  const exclusion but{q.uid, q.number, static_cast<audience>(q.to)};
  co_return wire::of(at->announce(wire::to_message(std::move(q.what)), but));
}

inline task<wire::told> shard_host::whisper(wire::whisper_at q) {
  const shard_ptr at = shard_at(q.cluster, q.shard);
  auto telling = at->whisper(std::move(q.uid), wire::to_message(std::move(q.what)), {});
  const delivery d = co_await std::move(telling);
  co_return wire::of(d);
}

inline task<wire::reply> shard_host::gossip(wire::gossip_at q) {
  const shard_ptr at = shard_at(q.cluster, q.shard);
  co_await ends_.wait(key_of(q.cluster, q.shard));
  auto asking = at->gossip(q.text, duration(q.limit));
  std::string text = co_await std::move(asking);
  co_return wire::reply{std::move(q.shard), std::move(text), 0};
}

inline task<wire::nothing> shard_host::close(wire::close_shard q) {
  const shard_ptr at = shard_at(q.cluster, q.shard);
  at->close_all(close_info(static_cast<close_code>(q.code), std::move(q.reason)));
  co_return wire::nothing();
}

inline shard_host::shard_ptr shard_host::shard_at(const std::string& cluster,
                                                  const std::string& shard) const {
  const cluster_ptr home = find(cluster);
  shard_ptr at = home ? home->find(shard) : shard_ptr();
  if (!at) throw error(errc::refused, {}, "there is no shard " + shard + " here");
  return at;
}

inline wire::host_report shard_host::report(const wire::report& q) {
  static_cast<void>(obey(q.fence));
  const auto all = gathered<cluster_ptr>(
      lock_, [this] { return clusters_.size(); },
      [this](std::vector<cluster_ptr>& found) {
        for (const auto& [name, c] : clusters_) found.push_back(c);
      });
  wire::host_report made;
  for (const cluster_ptr& c : all) c->report(made.shards);
  return made;
}

// --- the ends of shards -------------------------------------------------------------------------

/// Who is still there comes again, to another one.
inline task<wire::nothing> shard_host::retire(wire::retire q) {
  static_cast<void>(obey(q.fence));
  const cluster_ptr home = find(q.cluster);
  if (!home) co_return wire::nothing();
  worker_ends::ticket going(ends_, key_of(q.cluster, q.shard));
  shard_ptr leaving = home->take_out(q.shard, q.mark);
  if (!leaving) co_return wire::nothing();
  forget_if_empty(home);
  leaving->sockets.close_for_good(close_info(close_code::service_restart));
  co_await end_shard(intrusive_ptr<gateway_node>(&node_), std::move(going), std::move(leaving));
  co_return wire::nothing();
}

/// The node has the table to which the ticket goes back.
inline task<> shard_host::end_shard(intrusive_ptr<gateway_node>, worker_ends::ticket going,
                                    shard_ptr gone) {
  const worker_ends::ticket until_then = std::move(going);
  static_cast<void>(co_await as_result(gone->retire()));
}

/// Does not wait for it.
inline void shard_host::end_later(worker_ends::ticket going, shard_ptr gone) {
  gone->sockets.close_for_good(close_info(close_code::service_restart));
  node_.workers.spawn(
      end_shard(intrusive_ptr<gateway_node>(&node_), std::move(going), std::move(gone)));
}

inline void shard_host::forget_if_empty(const cluster_ptr& home) noexcept {
  clusters::node_type freed;
  const spin_guard guard(lock_);
  const auto at = clusters_.find(home->name);
  if (at != clusters_.end() && at->second == home && home->is_empty()) {
    freed = clusters_.extract(at);
  }
}

inline void shard_host::clear(const close_info& how) noexcept {
  clusters ended;
  sessions dropped;
  {
    const spin_guard guard(lock_);
    ++now_.clearings;
    ended.swap(clusters_);
    dropped.swap(waiting_);
  }
  dropped.clear();
  for (const auto& [name, c] : ended) {
    try {
      std::vector<shard_ptr> gone = c->shards();
      for (const shard_ptr& s : gone) s->sockets.close_for_good(how);
      for (shard_ptr& s : gone) {
        worker_ends::ticket going(ends_, key_of(name, s->id));
        end_later(std::move(going), std::move(s));
      }
    } catch (...) {
      // For want of memory, or the broker goes as well: their workers stay until that goes.
    }
  }
}

}  // namespace troupe::detail

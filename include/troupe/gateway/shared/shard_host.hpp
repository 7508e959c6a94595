// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The shards that a gateway of many processes has in this one.
///
/// Layer: gateway.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/hosted_session.hpp>  // defines what a hosted shard does with a visit
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// A cluster as its shards in this process know it: what is said to all of it goes by the keeper.
class hosted_cluster final : public cluster {
public:
  using shard_ptr = intrusive_ptr<hosted_shard>;

  hosted_cluster(gateway_node& n, std::string own_name)
      : cluster(std::move(own_name), n.options.shards, n.workers), node_(&n) {}

  task<delivery> broadcast(socket_message m, exclusion but) override {
    return told(wire::broadcast{name, wire::of(m), std::string(but.uid), but.number,
                                static_cast<std::uint8_t>(but.to)});
  }
  task<delivery> whisper(std::string uid, socket_message m) override {
    return told(wire::whisper{name, std::move(uid), wire::of(m)});
  }
  task<std::vector<gossip_reply>> gossip(std::string text, std::string from,
                                         duration peer_limit) override {
    if (peer_limit == duration::zero()) peer_limit = options.peer_limit;
    wire::question q{wire::gossip{name, std::move(from), std::move(text), peer_limit.count()}};
    auto asking =
        as_result(node_->ask_keeper<wire::replies>(std::move(q), saturating_sum(peer_limit)));
    result<wire::replies> answers = co_await std::move(asking);
    std::vector<gossip_reply> all;
    if (answers.has_value()) {
      for (wire::reply& r : answers.value().all) all.push_back(wire::to_reply(std::move(r)));
    } else {
      all.emplace_back(std::string(), result<std::string>(answers.error()));
    }
    co_return all;
  }

  inline void leave(shard_peer& s, const std::string& uid, std::uint64_t number) noexcept override;

  shard_ptr find(std::string_view shard) const noexcept {
    const spin_guard guard(lock_);
    const auto at = shards_.find(shard);
    return at == shards_.end() ? shard_ptr() : at->second.shard;
  }
  /// The shard; `made` where there was none of this name.
  shard_ptr add(shard_ptr made);
  void take_out(const hosted_shard& s) noexcept;
  bool is_empty() const noexcept {
    const spin_guard guard(lock_);
    return shards_.empty();
  }

  void enter(const hosted_shard& s, std::uint64_t number, std::string uid);
  /// The guest is heard of when it goes: it has a session.
  void stays(const hosted_shard& s, std::uint64_t number) noexcept;
  std::vector<shard_ptr> shards() const;
  std::vector<wire::guest> guests_of(const hosted_shard& s) const;

private:
  static task<> say_left(intrusive_ptr<gateway_node> node, wire::left l);

  struct guest {
    std::shared_ptr<const std::string> uid;
    bool has_session = false;
  };
  using guests = std::map<std::uint64_t, guest>;
  struct place {
    shard_ptr shard;
    guests there;
  };
  using places = std::map<std::string, place, std::less<>>;

  /// It is not said again where nothing is heard of it: nobody hears it twice.
  task<delivery> told(wire::question q) {
    auto asking = as_result(node_->ask_keeper<wire::told>(std::move(q), limit()));
    result<wire::told> answer = co_await std::move(asking);
    if (answer.has_value()) co_return wire::to_delivery(std::move(answer).value());
    delivery failed;
    failed.failures.push_back({std::string(), answer.code()});
    co_return failed;
  }

  /// A shard that has been asked answers within its own limit; the way takes time as well.
  duration limit() const noexcept { return saturating_sum(options.peer_limit); }
  duration saturating_sum(duration of_peer) const noexcept {
    constexpr duration most = (duration::max)();
    return of_peer > most - node_->options.lease ? most : of_peer + node_->options.lease;
  }

  const intrusive_ptr<gateway_node> node_;
  mutable spin_lock lock_;  // guards all below
  places shards_;
};

inline void hosted_cluster::leave(shard_peer& s, const std::string&,
                                  std::uint64_t number) noexcept {
  guests::node_type freed;
  {
    const spin_guard guard(lock_);
    const auto at = shards_.find(s.id);
    if (at != shards_.end() && at->second.shard.get() == &s) {
      freed = at->second.there.extract(number);
    }
  }
  if (!freed || !freed.mapped().has_session) return;
  try {
    workers.spawn(say_left(node_, {name, s.id, number}));
  } catch (...) {
    // For want of memory, or the broker goes: the process is lost to the keeper then.
  }
}

/// Until the keeper has heard it, whoever that is; one that begins is told who is still there.
inline task<> hosted_cluster::say_left(intrusive_ptr<gateway_node> node, wire::left l) {
  while (!node->is_closed()) {
    auto asking =
        as_result(node->ask_keeper<wire::nothing>(wire::question(l), node->options.lease));
    const result<wire::nothing> heard = co_await std::move(asking);
    if (heard.has_value()) co_return;
    const result<void> slept = co_await as_result(sleep_for(node->options.lease / 30));
    if (!slept.has_value()) co_return;  // the broker goes
  }
}

inline hosted_cluster::shard_ptr hosted_cluster::add(shard_ptr made) {
  places fresh;
  std::string id = made->id;
  fresh.emplace(std::move(id), place{std::move(made), {}});
  auto node = fresh.extract(fresh.begin());
  places::insert_return_type put;  // what was there first stays; the other dies behind the lock
  const spin_guard guard(lock_);
  put = shards_.insert(std::move(node));
  return put.position->second.shard;
}

inline void hosted_cluster::take_out(const hosted_shard& s) noexcept {
  places::node_type freed;
  const spin_guard guard(lock_);
  const auto at = shards_.find(s.id);
  if (at != shards_.end() && at->second.shard.get() == &s) freed = shards_.extract(at);
}

inline void hosted_cluster::enter(const hosted_shard& s, std::uint64_t number, std::string uid) {
  guests fresh;
  fresh.emplace(number, guest{std::make_shared<const std::string>(std::move(uid)), false});
  const spin_guard guard(lock_);
  const auto at = shards_.find(s.id);
  if (at != shards_.end()) at->second.there.merge(fresh);
}

inline void hosted_cluster::stays(const hosted_shard& s, std::uint64_t number) noexcept {
  const spin_guard guard(lock_);
  const auto at = shards_.find(s.id);
  if (at == shards_.end()) return;
  const auto who = at->second.there.find(number);
  if (who != at->second.there.end()) who->second.has_session = true;
}

inline std::vector<hosted_cluster::shard_ptr> hosted_cluster::shards() const {
  return gathered<shard_ptr>(
      lock_, [this] { return shards_.size(); },
      [this](std::vector<shard_ptr>& found) {
        for (const auto& [id, p] : shards_) found.push_back(p.shard);
      });
}

/// Those who have a session; a request that runs is lost with the keeper that has sent it.
inline std::vector<wire::guest> hosted_cluster::guests_of(const hosted_shard& s) const {
  using known = std::pair<std::uint64_t, std::shared_ptr<const std::string>>;
  const auto here = [&]() -> const guests* {
    const auto at = shards_.find(s.id);
    return at == shards_.end() ? nullptr : &at->second.there;
  };
  const auto seen = gathered<known>(
      lock_, [&] { return here() == nullptr ? 0 : here()->size(); },
      [&](std::vector<known>& found) {
        if (here() == nullptr) return;
        for (const auto& [number, g] : *here()) {
          if (g.has_session) found.emplace_back(number, g.uid);
        }
      });
  std::vector<wire::guest> all;
  all.reserve(seen.size());
  for (const auto& [number, uid] : seen) all.push_back({*uid, number});
  return all;
}

/// Answers for the shards here.
///
/// Thread safety: all members from any thread.
class shard_host {
public:
  explicit shard_host(gateway_node& n) noexcept : node_(n) {}
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

  // --- sessions whose clients are elsewhere -----------------------------------------------------
  bool attach(std::uint64_t session, const std::string& from);
  void drop(std::uint64_t session) noexcept;
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

  void obey(std::uint64_t fence);
  cluster_ptr open(const std::string& name);
  shard_ptr shard_for(const wire::visit& q, cluster_ptr& home);
  void forget_if_empty(const cluster_ptr& home) noexcept;
  shard_ptr shard_at(const std::string& cluster, const std::string& shard) const;
  void await_client(std::uint64_t number, session_ptr s);
  session_ptr take(std::uint64_t number) noexcept;
  static task<> run(intrusive_ptr<gateway_node> node, session_ptr s,
                    std::shared_ptr<socket_relay> by);
  static task<> retire_all(std::vector<shard_ptr> gone);

  gateway_node& node_;
  mutable spin_lock lock_;  // guards all below
  clusters clusters_;
  sessions waiting_;         // for their clients
  std::uint64_t fence_ = 0;  // of the latest keeper that was heard of
};

inline void shard_host::obey(std::uint64_t fence) {
  bool is_latest = false;
  {
    const spin_guard guard(lock_);
    is_latest = fence >= fence_;
    if (is_latest) fence_ = fence;
  }
  if (!is_latest) throw error(errc::refused, {}, "there is another keeper");
  if (!node_.is_member()) throw error(errc::refused, {}, "this process is cut off");
}

/// Does not throw what the hooks throw: that is answered here.
inline task<wire::said> shard_host::visit(wire::visit q) {
  obey(q.fence);
  const std::uint64_t number = q.who.number;
  cluster_ptr home;
  const shard_ptr at = shard_for(q, home);
  home->enter(*at, number, q.who.uid);
  seat place(home, at, std::move(q.who.uid), number);
  auto asking = as_result(at->visit(std::move(place), wire::to_request(std::move(q.what))));
  result<response> came = co_await std::move(asking);
  response answer = came.has_value() ? std::move(came).value() : response_to(came.error());
  wire::said said = wire::of(answer);
  if (answer.session) {
    home->stays(*at, number);
    obey(q.fence);  // a keeper that has asked who is here meanwhile has not heard of this one
    said.session = number;
    said.host = node_.address();
    await_client(number, std::move(answer.session));
  }
  co_return said;
}

/// The shard, which is made where it is not there, and its cluster. Again where that has been
/// forgotten in between.
inline shard_host::shard_ptr shard_host::shard_for(const wire::visit& q, cluster_ptr& home) {
  for (;;) {
    home = open(q.cluster);
    shard_ptr at = home->find(q.shard);
    if (!at) at = home->add(make(*home, q.shard, q.shard_number));
    if (find(q.cluster) == home) return at;
  }
}

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
  auto asking = at->gossip(q.text, duration(q.limit));
  std::string text = co_await std::move(asking);
  co_return wire::reply{std::move(q.shard), std::move(text), 0};
}

inline task<wire::nothing> shard_host::close(wire::close_shard q) {
  const shard_ptr at = shard_at(q.cluster, q.shard);
  at->close_all(close_info(static_cast<close_code>(q.code), std::move(q.reason)));
  co_return wire::nothing();
}

/// Who is still there comes again, to another one. One of the same name that was made later stays.
inline task<wire::nothing> shard_host::retire(wire::retire q) {
  obey(q.fence);
  const cluster_ptr home = find(q.cluster);
  shard_ptr leaving = home ? home->find(q.shard) : shard_ptr();
  if (!leaving || leaving->number != q.number) co_return wire::nothing();
  home->take_out(*leaving);
  forget_if_empty(home);
  leaving->close_all(close_info(close_code::service_restart));
  co_await leaving->retire();
  co_return wire::nothing();
}

inline void shard_host::forget_if_empty(const cluster_ptr& home) noexcept {
  clusters::node_type freed;
  const spin_guard guard(lock_);
  const auto at = clusters_.find(home->name);
  if (at != clusters_.end() && at->second == home && home->is_empty()) {
    freed = clusters_.extract(at);
  }
}

inline wire::host_report shard_host::report(const wire::report& q) {
  obey(q.fence);
  const auto all = gathered<cluster_ptr>(
      lock_, [this] { return clusters_.size(); },
      [this](std::vector<cluster_ptr>& found) {
        for (const auto& [name, c] : clusters_) found.push_back(c);
      });
  wire::host_report made;
  for (const cluster_ptr& c : all) {
    for (const shard_ptr& s : c->shards()) {
      made.shards.push_back({c->name, s->id, s->number, c->guests_of(*s)});
    }
  }
  return made;
}

inline shard_host::cluster_ptr shard_host::open(const std::string& name) {
  cluster_ptr found = find(name);
  if (found) return found;
  clusters fresh;
  fresh.emplace(name, cluster_ptr(new hosted_cluster(node_, name)));
  auto node = fresh.extract(fresh.begin());
  clusters::insert_return_type put;  // what was there first stays
  const spin_guard guard(lock_);
  put = clusters_.insert(std::move(node));
  return put.position->second;
}

inline shard_host::shard_ptr shard_host::shard_at(const std::string& cluster,
                                                  const std::string& shard) const {
  const cluster_ptr home = find(cluster);
  shard_ptr at = home ? home->find(shard) : shard_ptr();
  if (!at) throw error(errc::refused, {}, "there is no shard " + shard + " here");
  return at;
}

inline void shard_host::await_client(std::uint64_t number, session_ptr s) {
  const time_point until = saturating_add(node_.where.now(), node_.options.request_limit);
  sessions fresh;
  fresh.emplace(number, waiting{std::move(s), until});
  const spin_guard guard(lock_);
  waiting_.merge(fresh);
}

inline shard_host::session_ptr shard_host::take(std::uint64_t number) noexcept {
  sessions::node_type freed;
  {
    const spin_guard guard(lock_);
    freed = waiting_.extract(number);
  }
  return freed ? std::move(freed.mapped().session) : session_ptr();
}

inline bool shard_host::attach(std::uint64_t session, const std::string& from) {
  session_ptr s = take(session);
  if (!s) return false;
  node_.workers.spawn(run(intrusive_ptr<gateway_node>(&node_), std::move(s),
                          node_.open_relay(from, session, false)));
  return true;
}

inline task<> shard_host::run(intrusive_ptr<gateway_node> node, session_ptr s,
                              std::shared_ptr<socket_relay> by) {
  co_await s->run(by);
  by->say_end();
  node->forget(*by);
}

inline void shard_host::drop(std::uint64_t session) noexcept { static_cast<void>(take(session)); }

inline void shard_host::tidy() noexcept {
  const time_point now = node_.where.now();
  sessions late;
  const spin_guard guard(lock_);
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto it = at++;
    if (it->second.until <= now) late.insert(waiting_.extract(it));
  }
}

inline void shard_host::clear(const close_info& how) noexcept {
  clusters ended;
  sessions dropped;
  {
    const spin_guard guard(lock_);
    ended.swap(clusters_);
    dropped.swap(waiting_);
  }
  dropped.clear();
  try {
    for (const auto& [name, c] : ended) {
      std::vector<shard_ptr> gone = c->shards();
      for (const shard_ptr& s : gone) s->close_all(how);
      node_.workers.spawn(retire_all(std::move(gone)));
    }
  } catch (...) {
    // For want of memory, or the broker goes as well: their workers stay until that goes.
  }
}

inline task<> shard_host::retire_all(std::vector<shard_ptr> gone) {
  for (const shard_ptr& s : gone) static_cast<void>(co_await as_result(s->retire()));
}

}  // namespace troupe::detail

// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The keeper of a gateway of many processes: it knows who is where, and places who comes.
///
/// Layer: gateway.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/gateway_core.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/shard_peer.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/relayed_session.hpp>
#include <troupe/gateway/shared/remote_shard.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// What a host has; nothing: it has not answered.
struct host_answer {
  std::string host;
  std::optional<wire::host_report> has;
};

/// Begins by asking all hosts who is there: what the keeper before it knew has gone with that, but
/// the sockets and their shards have not. What it is asked meanwhile waits.
template <class G>
class gateway_keeper final : public gateway_core<G> {
public:
  using keeper_ptr = intrusive_ptr<gateway_keeper>;

  gateway_keeper(gateway_node& n, std::uint64_t fence)
      : gateway_core<G>(n.workers, n.options.shards, fence << 32),
        term_(std::make_shared<keeper_term>(fence)),
        node_(&n) {}

  static task<> take_over(keeper_ptr self);

  static task<wire::said> route(keeper_ptr self, wire::route q);
  static task<wire::told> broadcast(keeper_ptr self, wire::broadcast q);
  static task<wire::told> whisper(keeper_ptr self, wire::whisper q);
  static task<wire::told> announce(keeper_ptr self, wire::announce q);
  static task<wire::replies> gossip(keeper_ptr self, wire::gossip q);
  static task<wire::view> look(keeper_ptr self);
  static task<wire::nothing> close(keeper_ptr self, wire::close_clusters q);

  static task<wire::nothing> leave(keeper_ptr self, wire::left q);

  /// Forgets all: it is the keeper no more.
  void end() noexcept;
  /// Lets go of the shards at processes that have gone.
  void tidy() noexcept;

  bool owns_guides() const noexcept override { return !has_ended(); }
  intrusive_ptr<shard_peer> make_shard(const cluster& home, std::string id,
                                       std::uint64_t number) override;

private:
  using cluster_of = typename gateway_core<G>::cluster_of;
  using cluster_ptr = intrusive_ptr<cluster_of>;

  struct found_shard {
    std::string host;
    wire::shard_report what;
  };
  static task<host_answer> ask(keeper_ptr self, std::string host);
  static task<> disown(keeper_ptr self, std::string host);
  void adopt(const std::string& host, wire::shard_report&& r);

  /// The cluster of this name once all is known; nobody: it is not there.
  task<cluster_ptr> known(std::string name) {
    co_await complete();
    co_return this->find(name);
  }
  task<> complete() {
    co_await is_complete_.acquire();
    is_complete_.release();  // for whoever waits as well
    require_office();
  }
  bool has_ended() const noexcept { return term_->has_ended.load(order::acquire); }
  void require_office() const {
    if (has_ended()) throw error(errc::refused, {}, "there is another keeper");
  }
  void let_go(const cluster_of& c) noexcept {
    if (this->forget_if_unused(c)) this->let_guide_go(c.name);
  }
  std::vector<intrusive_ptr<remote_shard>> shards_at(std::string_view host) const;
  static task<wire::told> told_by(task<delivery> telling) {
    const delivery d = co_await std::move(telling);
    co_return wire::of(d);
  }

  const std::shared_ptr<keeper_term> term_;
  const intrusive_ptr<gateway_node> node_;
  async_semaphore is_complete_{0};                  // a permit, once the hosts have answered
  std::set<std::string, std::less<>> known_hosts_;  // who have; complete by then
};

template <class G>
task<> gateway_keeper<G>::take_over(keeper_ptr self) {
  const scope_exit done([&self]() noexcept { self->is_complete_.release(); });
  const gateway_members members = self->node_->known();
  std::vector<task<host_answer>> asking;
  for (const std::string& host : members.hosts) asking.push_back(ask(self, host));
  std::vector<host_answer> answers = co_await when_all(std::move(asking));
  std::vector<found_shard> shards;
  for (host_answer& f : answers) {
    if (!f.has) {
      self->node_->workers.spawn(disown(self, f.host));
      continue;
    }
    self->known_hosts_.insert(f.host);
    for (wire::shard_report& r : f.has->shards) shards.push_back({f.host, std::move(r)});
  }
  std::sort(shards.begin(), shards.end(), [](const found_shard& a, const found_shard& b) {
    return std::tie(a.what.number, a.host) < std::tie(b.what.number, b.host);
  });
  for (found_shard& f : shards) {
    if (!self->has_ended()) self->adopt(f.host, std::move(f.what));
  }
  if (self->has_ended()) self->end();  // again: it has adopted some too late
}

/// Until it answers, is gone, or has had its time. A question or an answer may be lost, so there
/// are many.
template <class G>
auto gateway_keeper<G>::ask(keeper_ptr self, std::string host) -> task<host_answer> {
  gateway_node& n = *self->node_;
  host_answer is{host, {}};
  const time_point until = saturating_add(n.where.now(), 2 * n.options.lease);
  while (n.knows(host) && n.where.now() < until) {
    auto asking = as_result(n.ask<wire::host_report>(
        host, wire::question(wire::report{self->term_->fence}), n.options.lease / 6));
    result<wire::host_report> report = co_await std::move(asking);
    if (report.has_value()) is.has = std::move(report).value();
    if (is.has || report.code() == make_error_code(errc::refused)) break;
    co_await sleep_for(n.options.lease / 30);
  }
  co_return is;
}

/// What a host has that has not answered is nobody's: says so until it has heard it, by this or by
/// its first visit.
template <class G>
task<> gateway_keeper<G>::disown(keeper_ptr self, std::string host) {
  gateway_node& n = *self->node_;
  while (n.knows(host) && !self->has_ended()) {
    auto saying = as_result(n.ask<wire::nothing>(
        host, wire::question(wire::disown{self->term_->fence}), n.options.lease / 6));
    const result<wire::nothing> said = co_await std::move(saying);
    if (said.has_value() || said.code() == make_error_code(errc::refused)) co_return;
    co_await sleep_for(n.options.lease / 30);
  }
}

/// Who is not adopted comes again, elsewhere.
template <class G>
void gateway_keeper<G>::adopt(const std::string& host, wire::shard_report&& r) {
  const cluster_ptr home = this->open(r.cluster);
  const intrusive_ptr<remote_shard> there(
      new remote_shard(*node_, term_, {host, r.cluster, r.mark, true}, std::move(r.shard),
                       home->number_for(r.number)));
  if (!home->adopt(intrusive_ptr<shard_peer>(there.get()))) {
    there->retire_now();  // there is one of this name
    return;
  }
  for (wire::guest& g : r.guests) {
    const std::uint64_t number = g.number;
    seat s = home->adopt_guest(intrusive_ptr<shard_peer>(there.get()), std::move(g.uid), number);
    const bool kept = s && there->keep(std::move(s));
    if (has_ended()) return;  // it is for the next keeper to say who stays
    if (!kept) node_->tell(host, wire::dropped{number});
  }
}

template <class G>
intrusive_ptr<shard_peer> gateway_keeper<G>::make_shard(const cluster& home, std::string id,
                                                        std::uint64_t number) {
  require_office();
  const gateway_members members = node_->known();
  const std::string* least = nullptr;
  std::size_t fewest = (std::numeric_limits<std::size_t>::max)();
  for (const std::string& host : members.hosts) {
    const std::size_t has = shards_at(host).size();
    if (has >= fewest) continue;
    fewest = has;
    least = &host;
  }
  if (least == nullptr) throw http_error(503, "no process takes shards");
  const std::uint64_t mark = this->seats.fetch_add(1, order::relaxed) + 1;
  const bool knows_host = known_hosts_.find(*least) != known_hosts_.end();
  return intrusive_ptr<shard_peer>(new remote_shard(
      *node_, term_, {*least, home.name, mark, knows_host}, std::move(id), number));
}

template <class G>
std::vector<intrusive_ptr<remote_shard>> gateway_keeper<G>::shards_at(std::string_view host) const {
  std::vector<intrusive_ptr<remote_shard>> found;
  for (const cluster_ptr& c : this->list()) {
    for (const auto& s : c->shards()) {
      auto& there = static_cast<remote_shard&>(*s);
      if (there.host == host) found.emplace_back(&there);
    }
  }
  return found;
}

template <class G>
void gateway_keeper<G>::tidy() noexcept try {
  for (const cluster_ptr& c : this->list()) {
    for (const auto& s : c->shards()) {
      auto& there = static_cast<remote_shard&>(*s);
      if (node_->knows(there.host)) continue;
      c->table.take_out(there);
      there.drop_all();
    }
    let_go(*c);
  }
} catch (...) {
  // For want of memory: the next time.
}

template <class G>
void gateway_keeper<G>::end() noexcept {
  const bool is_again = term_->has_ended.exchange(true, order::acq_rel);
  std::vector<cluster_ptr> ended;
  try {
    ended = this->list();
    for (const cluster_ptr& c : ended) {
      for (const auto& s : c->shards()) static_cast<remote_shard&>(*s).drop_all();
    }
  } catch (...) {
    // For want of memory: what it knew stays there, and is used no more.
  }
  this->clear();
  if (is_again) return;  // the guides may be another keeper's by now
  for (const cluster_ptr& c : ended) this->evict_guide(c->name);
}

// --- what it is asked ---------------------------------------------------------------------------

template <class G>
task<wire::said> gateway_keeper<G>::route(keeper_ptr self, wire::route q) {
  co_await self->complete();
  auto asking =
      gateway_core<G>::answer(self, std::move(q.cluster), wire::to_request(std::move(q.what)));
  const response r = co_await std::move(asking);
  if (self->has_ended()) self->end();  // again: it may have made a cluster
  wire::said said = wire::of(r);
  if (r.session) {
    relayed_session* const there = r.session->relayed();
    if (there == nullptr) co_return wire::of(text_response(500, "internal error"));  // G's own
    said.session = there->number;
    said.host = there->host;
    there->hand_over();
  }
  co_return said;
}

template <class G>
task<wire::told> gateway_keeper<G>::broadcast(keeper_ptr self, wire::broadcast q) {
  const cluster_ptr home = co_await self->known(q.cluster);
  if (!home) co_return wire::told();
  const exclusion but{q.uid, q.number, static_cast<audience>(q.to)};
  co_return co_await told_by(home->broadcast(wire::to_message(std::move(q.what)), but));
}

template <class G>
task<wire::told> gateway_keeper<G>::whisper(keeper_ptr self, wire::whisper q) {
  const cluster_ptr home = co_await self->known(q.cluster);
  if (!home) co_return wire::told();
  co_return co_await told_by(home->whisper(std::move(q.uid), wire::to_message(std::move(q.what))));
}

template <class G>
task<wire::told> gateway_keeper<G>::announce(keeper_ptr self, wire::announce q) {
  const cluster_ptr home = co_await self->known(q.cluster);
  if (!home) co_return wire::told();
  co_return co_await told_by(home->announce(q.shard, wire::to_message(std::move(q.what))));
}

template <class G>
task<wire::replies> gateway_keeper<G>::gossip(keeper_ptr self, wire::gossip q) {
  wire::replies made;
  const cluster_ptr home = co_await self->known(q.cluster);
  if (!home) co_return made;
  auto asking = home->gossip(std::move(q.text), std::move(q.from), duration(q.limit));
  const std::vector<gossip_reply> all = co_await std::move(asking);
  for (const gossip_reply& r : all) made.all.push_back(wire::of(r));
  co_return made;
}

template <class G>
task<wire::nothing> gateway_keeper<G>::leave(keeper_ptr self, wire::left q) {
  co_await self->complete();
  for (const wire::departure& d : q.all) {
    const cluster_ptr home = self->find(d.cluster);
    const auto at = home ? home->table.find(d.shard) : intrusive_ptr<shard_peer>();
    if (at) static_cast<remote_shard&>(*at).drop(d.number);
  }
  co_return wire::nothing();
}

template <class G>
task<wire::view> gateway_keeper<G>::look(keeper_ptr self) {
  co_await self->complete();
  wire::view seen;
  for (const cluster_ptr& c : self->list()) {
    wire::cluster_view one{c->name, {}};
    for (const auto& s : c->shards()) {
      one.shards.push_back({s->id, static_cast<remote_shard&>(*s).host, c->table.load_of(*s)});
    }
    if (!one.shards.empty()) seen.clusters.push_back(std::move(one));
  }
  co_return seen;
}

template <class G>
task<wire::nothing> gateway_keeper<G>::close(keeper_ptr self, wire::close_clusters q) {
  co_await self->complete();
  const close_info how(static_cast<close_code>(q.code), std::move(q.reason));
  for (const cluster_ptr& c : self->list()) c->close_all(how);
  co_return wire::nothing();
}

}  // namespace troupe::detail

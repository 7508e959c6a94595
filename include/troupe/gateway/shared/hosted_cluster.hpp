// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A cluster of many processes, as its shards in this one know it.
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

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/cluster.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/hosted_session.hpp>  // defines what a hosted shard does with a visit
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/shared/departures.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What is said to all of it goes by the keeper. Who is here is known here as well, for a keeper
/// that begins.
///
/// Thread safety: all members from any thread.
class hosted_cluster final : public cluster {
public:
  using shard_ptr = intrusive_ptr<hosted_shard>;

  /// `d` is part of the node.
  hosted_cluster(gateway_node& n, departures& d, std::string own_name)
      : cluster(std::move(own_name), n.options.shards, n.workers), node_(&n), departures_(d) {}

  inline task<delivery> broadcast(socket_message m, exclusion but) override;
  inline task<delivery> whisper(std::string uid, socket_message m) override;
  inline task<std::vector<gossip_reply>> gossip(std::string text, std::string from,
                                                duration peer_limit) override;
  inline void leave(const seat& s) noexcept override;

  /// What has come of the wish to be at the shard of some mark.
  enum class entry : std::uint8_t {
    entered,
    absent,  // there is none of that mark, but maybe an older one of its name
    refused  // there is a later one of its name, or a guest of the same number
  };
  /// The guest is there until its seat goes; the shard is put in `at`.
  entry enter(std::string_view shard, std::uint64_t mark, const std::string& uid,
              std::uint64_t number, shard_ptr& at);
  /// Adds a shard, unless there is one of this mark or a later one. An older one that is out now;
  /// nothing: there was none.
  shard_ptr add(shard_ptr made, std::uint64_t mark);
  /// The shard of this mark, which is out now; nothing: there is none.
  shard_ptr take_out(std::string_view shard, std::uint64_t mark) noexcept;
  /// The guest has a WebSocket, by which a keeper that begins knows it.
  void stays(const hosted_shard& s, std::uint64_t number) noexcept;

  shard_ptr find(std::string_view shard) const noexcept {
    const spin_guard guard(lock_);
    const auto at = shards_.find(shard);
    return at == shards_.end() ? shard_ptr() : at->second.shard;
  }
  bool has(const hosted_shard& s) const noexcept {
    const spin_guard guard(lock_);
    const auto at = shards_.find(s.id);
    return at != shards_.end() && at->second.shard.get() == &s;
  }
  bool is_empty() const noexcept {
    const spin_guard guard(lock_);
    return shards_.empty();
  }
  std::vector<shard_ptr> shards() const;
  /// What a keeper that begins is told; adds to `all`.
  void report(std::vector<wire::shard_report>& all) const;

private:
  struct guest {
    std::shared_ptr<const std::string> uid;
    bool has_socket = false;
  };
  using guests = std::map<std::uint64_t, guest>;
  struct place {
    shard_ptr shard;
    std::uint64_t mark = 0;
    guests there;
  };
  using places = std::map<std::string, place, std::less<>>;

  std::vector<wire::guest> guests_of(const hosted_shard& s) const;

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
  departures& departures_;
  mutable spin_lock lock_;
  places shards_;  // guarded by `lock_`
};

// --- what is said -------------------------------------------------------------------------------

inline task<delivery> hosted_cluster::broadcast(socket_message m, exclusion but) {
  return told(wire::broadcast{name, wire::of(m), std::string(but.uid), but.number,
                              static_cast<std::uint8_t>(but.to)});
}

inline task<delivery> hosted_cluster::whisper(std::string uid, socket_message m) {
  return told(wire::whisper{name, std::move(uid), wire::of(m)});
}

inline task<std::vector<gossip_reply>> hosted_cluster::gossip(std::string text, std::string from,
                                                              duration peer_limit) {
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

// --- who is here --------------------------------------------------------------------------------

/// Says so whatever has become of its shard: the keeper may still count it.
inline void hosted_cluster::leave(const seat& s) noexcept {
  guests::node_type freed;
  {
    const spin_guard guard(lock_);
    const auto at = shards_.find(s.shard()->id);
    if (at != shards_.end() && at->second.shard.get() == s.shard().get()) {
      freed = at->second.there.extract(s.number());
    }
  }
  if (s.has_socket()) departures_.say(name, s.shard()->id, s.number());
}

inline hosted_cluster::entry hosted_cluster::enter(std::string_view shard, std::uint64_t mark,
                                                   const std::string& uid, std::uint64_t number,
                                                   shard_ptr& at) {
  guests fresh;
  fresh.emplace(number, guest{std::make_shared<const std::string>(uid), false});
  auto node = fresh.extract(fresh.begin());
  guests::insert_return_type put;  // what is not needed goes behind the lock
  const spin_guard guard(lock_);
  const auto found = shards_.find(shard);
  if (found == shards_.end() || found->second.mark < mark) return entry::absent;
  if (found->second.mark > mark) return entry::refused;
  put = found->second.there.insert(std::move(node));
  if (!put.inserted) return entry::refused;
  at = found->second.shard;
  return entry::entered;
}

inline hosted_cluster::shard_ptr hosted_cluster::add(shard_ptr made, std::uint64_t mark) {
  places fresh;
  std::string id = made->id;
  fresh.emplace(std::move(id), place{std::move(made), mark, {}});
  auto node = fresh.extract(fresh.begin());
  places::node_type before;
  const spin_guard guard(lock_);
  const auto found = shards_.find(node.key());
  if (found != shards_.end()) {
    if (found->second.mark >= mark) return {};
    before = shards_.extract(found);
  }
  shards_.insert(std::move(node));
  return before ? before.mapped().shard : shard_ptr();
}

inline hosted_cluster::shard_ptr hosted_cluster::take_out(std::string_view shard,
                                                          std::uint64_t mark) noexcept {
  places::node_type freed;
  const spin_guard guard(lock_);
  const auto at = shards_.find(shard);
  if (at == shards_.end() || at->second.mark != mark) return {};
  freed = shards_.extract(at);
  return freed.mapped().shard;
}

inline void hosted_cluster::stays(const hosted_shard& s, std::uint64_t number) noexcept {
  const spin_guard guard(lock_);
  const auto at = shards_.find(s.id);
  if (at == shards_.end() || at->second.shard.get() != &s) return;
  const auto who = at->second.there.find(number);
  if (who != at->second.there.end()) who->second.has_socket = true;
}

inline std::vector<hosted_cluster::shard_ptr> hosted_cluster::shards() const {
  return gathered<shard_ptr>(
      lock_, [this] { return shards_.size(); },
      [this](std::vector<shard_ptr>& found) {
        for (const auto& [id, p] : shards_) found.push_back(p.shard);
      });
}

inline void hosted_cluster::report(std::vector<wire::shard_report>& all) const {
  using marked = std::pair<shard_ptr, std::uint64_t>;
  const auto here = gathered<marked>(
      lock_, [this] { return shards_.size(); },
      [this](std::vector<marked>& found) {
        for (const auto& [id, p] : shards_) found.emplace_back(p.shard, p.mark);
      });
  for (const auto& [s, mark] : here) {
    all.push_back({name, s->id, s->number, mark, guests_of(*s)});
  }
}

/// Those who have a WebSocket; a request that runs is lost with the keeper that has sent it.
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
          if (g.has_socket) found.emplace_back(number, g.uid);
        }
      });
  std::vector<wire::guest> all;
  all.reserve(seen.size());
  for (const auto& [number, uid] : seen) all.push_back({*uid, number});
  return all;
}

}  // namespace troupe::detail

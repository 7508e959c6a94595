// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `memory_network`: a network within one process, with the faults of a real one on demand.
///
/// Layer: net.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/memory_job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/gathered.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// How a `memory_network` treats messages. Random choices are the executor's, so that a simulation
/// repeats them.
struct memory_network_options {
  /// So many of a thousand messages are lost.
  unsigned lost_per_mille = 0;
  /// Messages take up to this long.
  duration delay = duration::zero();
  /// Messages from one address to another may overtake one another within `delay`.
  bool reorders = false;
  /// Claims, releases and lists of claims take this long: one half on the way there, one back.
  duration claim_delay = duration::zero();
  /// So many messages wait at an address; what comes beyond that is lost.
  std::size_t inbox = 65536;
  /// So many jobs at most, whatever has become of them; fewer than 2^24, else `jobs` throws
  /// `std::invalid_argument`. Of those that have ended the oldest are forgotten where there are
  /// more, before their time.
  std::size_t jobs = std::size_t{1} << 20;
  std::size_t ended_jobs = 100'000;  ///< Completed or cancelled.
  std::size_t dead_jobs = 100'000;  ///< At most half of `jobs`, since they make no room for others.
};

/// For programs in one process, tests and simulations. Nothing is copied: a message is a share in
/// its sender's bytes.
///
/// The clock and the random numbers are those of the executor, which outlives it.
class memory_network final : public network {
public:
  explicit memory_network(executor& on, const memory_network_options& options = {}) noexcept
      : on_(on), options_(options) {}

  [[nodiscard]] inline std::unique_ptr<network_endpoint> open(std::string address) override;
  [[nodiscard]] inline task<std::uint64_t> claim(std::string name, std::string holder,
                                                 duration limit) override;
  [[nodiscard]] inline task<> release(std::string name, std::string holder) override;
  [[nodiscard]] inline task<std::vector<network_claim>> claims(std::string prefix) override;
  [[nodiscard]] inline job_store& jobs() override;
  [[nodiscard]] executor& runs_on() noexcept override { return on_; }

  /// From now on nothing goes to this address or comes from it, and what it holds is not renewed:
  /// its machine has lost its cable. The same for instruments of this
  /// name that are there.
  void cut(std::string address);
  /// The cable is back.
  void mend(std::string_view address);

private:
  class inbox;
  class endpoint;
  struct hold {
    std::shared_ptr<const network_claim> claim;
    time_point until{};
  };
  using holds = std::map<std::string, hold, std::less<>>;

  void carry(const std::string& from, std::string_view to, shared_bytes body);
  void closed(const std::string& address) noexcept;
  bool is_cut(std::string_view address) const {  // under the lock
    return cut_.find(address) != cut_.end();
  }
  void require_cable(std::string_view holder) const;
  task<> half_way() const;
  std::uint64_t take(std::string name, std::string holder, duration limit);
  void give_back(std::string_view name, std::string_view holder) noexcept;

  void cut_jobs(std::string_view address, bool is_cut) noexcept;

  executor& on_;
  const memory_network_options options_;
  mutable spin_lock lock_;  // guards all below
  std::map<std::string, std::shared_ptr<inbox>, std::less<>> inboxes_;
  holds held_;
  std::set<std::string, std::less<>> cut_;
  std::uint64_t fences_ = 0;                        // so many have been given out
  std::unique_ptr<detail::memory_job_store> jobs_;  // made when it is asked for
};

/// What waits at one address, by the time at which it arrives.
class memory_network::inbox {
public:
  void put(network_message m, time_point arrival, const memory_network_options& options) {
    std::multimap<time_point, network_message> fresh;
    fresh.emplace(arrival, std::move(m));
    auto node = fresh.extract(fresh.begin());
    {
      const spin_guard guard(lock_);
      if (closed_ || waiting_.size() >= options.inbox) return;
      if (!options.reorders) {
        last_ = (std::max)(last_, arrival);
        node.key() = last_;
      }
      waiting_.insert(std::move(node));
    }
    news_.release();
  }

  /// Sleeps until the message that is next has arrived.
  task<std::optional<network_message>> take(const executor& on) {
    co_await news_.acquire();
    bool taken = false;
    const scope_exit give_back([&]() noexcept {
      if (!taken) news_.release();  // the end stays; and so does what a stop has left here
    });
    for (;;) {
      time_point arrival{};
      std::multimap<time_point, network_message>::node_type first;
      {
        const spin_guard guard(lock_);
        if (waiting_.empty()) co_return std::nullopt;  // it is closed
        arrival = waiting_.begin()->first;
        if (arrival <= on.now()) first = waiting_.extract(waiting_.begin());
      }
      taken = static_cast<bool>(first);
      if (taken) co_return std::move(first.mapped());
      co_await sleep_until(arrival);
    }
  }

  void close() noexcept {
    std::multimap<time_point, network_message> lost;
    {
      const spin_guard guard(lock_);
      closed_ = true;
      lost.swap(waiting_);
    }
    news_.release();
  }

private:
  async_semaphore news_{0};  // a permit for each message, and one for the end
  spin_lock lock_;           // guards all below
  std::multimap<time_point, network_message> waiting_;
  time_point last_{};
  bool closed_ = false;
};

class memory_network::endpoint final : public network_endpoint {
public:
  endpoint(memory_network& in, std::string address, std::shared_ptr<inbox> box) noexcept
      : in_(in), address_(std::move(address)), box_(std::move(box)) {}
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;
  ~endpoint() override { close(); }

  /// It is in the network's table from now on.
  void opened() noexcept { open_.store(true, detail::order::relaxed); }

  const std::string& address() const noexcept override { return address_; }
  void send(std::string_view to, shared_bytes body) override {
    if (!open_.load(detail::order::relaxed)) return;
    in_.carry(address_, to, std::move(body));
  }
  task<std::optional<network_message>> receive() override { return box_->take(in_.on_); }
  void close() noexcept override {
    if (open_.exchange(false, detail::order::relaxed)) in_.closed(address_);
  }

private:
  memory_network& in_;
  const std::string address_;
  const std::shared_ptr<inbox> box_;
  detail::atomic<bool> open_{false};  // whoever resets it takes the address out of the table
};

inline std::unique_ptr<network_endpoint> memory_network::open(std::string address) {
  auto box = std::make_shared<inbox>();
  auto made = std::make_unique<endpoint>(*this, address, box);
  decltype(inboxes_) fresh;
  fresh.emplace(std::move(address), std::move(box));
  auto node = fresh.extract(fresh.begin());
  decltype(inboxes_)::insert_return_type put;  // what was there first stays; the rest dies behind
  {
    const spin_guard guard(lock_);
    put = inboxes_.insert(std::move(node));
  }
  if (!put.inserted) {
    throw error(errc::refused, {}, "there is an endpoint at " + made->address());
  }
  made->opened();
  return made;
}

inline void memory_network::closed(const std::string& address) noexcept {
  decltype(inboxes_)::node_type freed;
  {
    const spin_guard guard(lock_);
    const auto at = inboxes_.find(address);
    if (at == inboxes_.end()) return;
    freed = inboxes_.extract(at);
  }
  freed.mapped()->close();
}

inline void memory_network::carry(const std::string& from, std::string_view to, shared_bytes body) {
  std::shared_ptr<inbox> box;
  {
    const spin_guard guard(lock_);
    const auto at = inboxes_.find(to);
    if (at == inboxes_.end() || is_cut(from) || is_cut(to)) return;
    box = at->second;
  }
  if (options_.lost_per_mille != 0 && on_.random() % 1000 < options_.lost_per_mille) return;
  time_point arrival = on_.now();
  if (options_.delay > duration::zero()) {
    arrival += duration(static_cast<duration::rep>(
        on_.random() % static_cast<std::uint64_t>(options_.delay.count() + 1)));
  }
  box->put({from, std::move(body)}, arrival, options_);
}

inline void memory_network::require_cable(std::string_view holder) const {
  bool reaches = false;
  {
    const spin_guard guard(lock_);
    reaches = !is_cut(holder);
  }
  if (!reaches) throw error(errc::connection_lost, {}, "the network cannot be reached");
}

inline task<std::uint64_t> memory_network::claim(std::string name, std::string holder,
                                                 duration limit) {
  require_cable(holder);
  co_await half_way();
  require_cable(holder);
  const std::uint64_t fence = take(std::move(name), holder, limit);
  co_await half_way();
  require_cable(holder);
  co_return fence;
}

inline task<> memory_network::half_way() const {
  if (options_.claim_delay > duration::zero()) co_await sleep_for(options_.claim_delay / 2);
}

inline std::uint64_t memory_network::take(std::string name, std::string holder, duration limit) {
  const time_point now = on_.now();
  const auto wish = std::make_shared<network_claim>(network_claim{name, std::move(holder), 0});
  holds fresh;
  fresh.emplace(std::move(name), hold{wish, saturating_add(now, limit)});
  auto node = fresh.extract(fresh.begin());
  holds lapsed;  // those that nobody asks for again
  const spin_guard guard(lock_);
  const auto at = held_.find(node.key());
  if (at == held_.end()) {
    for (auto other = held_.begin(); other != held_.end();) {
      const auto it = other++;
      if (it->second.until <= now) lapsed.insert(held_.extract(it));
    }
    wish->fence = ++fences_;
    held_.insert(std::move(node));
    return wish->fence;
  }
  hold& is = at->second;
  if (now < is.until) {
    if (is.claim->holder != wish->holder) return 0;
    is.until = node.mapped().until;
    return is.claim->fence;
  }
  wish->fence = ++fences_;
  std::swap(is, node.mapped());  // the one before dies behind the lock
  return wish->fence;
}

inline task<> memory_network::release(std::string name, std::string holder) {
  require_cable(holder);
  co_await half_way();
  require_cable(holder);
  give_back(name, holder);
  co_await half_way();
  require_cable(holder);
}

inline void memory_network::give_back(std::string_view name, std::string_view holder) noexcept {
  holds::node_type freed;
  const spin_guard guard(lock_);
  const auto at = held_.find(name);
  if (at != held_.end() && at->second.claim->holder == holder) freed = held_.extract(at);
}

inline task<std::vector<network_claim>> memory_network::claims(std::string prefix) {
  co_await half_way();
  const time_point now = on_.now();
  const auto seen = detail::gathered<std::shared_ptr<const network_claim>>(
      lock_, [this] { return held_.size(); },
      [&](auto& found) {
        for (auto at = held_.lower_bound(prefix); at != held_.end(); ++at) {
          if (!at->first.starts_with(prefix)) break;
          if (now < at->second.until) found.push_back(at->second.claim);
        }
      });
  std::vector<network_claim> found;
  found.reserve(seen.size());
  for (const auto& c : seen) found.push_back(*c);
  co_await half_way();
  co_return found;
}

inline job_store& memory_network::jobs() {
  {
    const spin_guard guard(lock_);
    if (jobs_) return *jobs_;
  }
  detail::job_table_limits limits;
  limits.jobs = options_.jobs;
  limits.ended = options_.ended_jobs;
  limits.dead = options_.dead_jobs;
  auto fresh = std::make_unique<detail::memory_job_store>(on_, limits);
  const spin_guard guard(lock_);
  if (!jobs_) jobs_ = std::move(fresh);
  return *jobs_;
}

inline void memory_network::cut_jobs(std::string_view address, bool is_cut) noexcept {
  detail::memory_job_store* store = nullptr;
  {
    const spin_guard guard(lock_);
    store = jobs_.get();
  }
  if (store != nullptr) store->cut(address, is_cut);
}

inline void memory_network::cut(std::string address) {
  cut_jobs(address, true);
  decltype(cut_) fresh;
  fresh.insert(std::move(address));
  const spin_guard guard(lock_);
  cut_.merge(fresh);
}

inline void memory_network::mend(std::string_view address) {
  cut_jobs(address, false);
  decltype(cut_)::node_type freed;
  const spin_guard guard(lock_);
  const auto at = cut_.find(address);
  if (at != cut_.end()) freed = cut_.extract(at);
}

}  // namespace troupe

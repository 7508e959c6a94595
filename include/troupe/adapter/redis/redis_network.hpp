// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_network`: what processes have in common, kept by a Redis server.
///
/// Layer: adapter. Messages are published to a channel for each address; names are claimed by
/// scripts.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_claims.hpp>
#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_job_store.hpp>
#include <troupe/adapter/redis/redis_link.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// `redis_network net{pool, redis_options::parse("redis://127.0.0.1:6379")};`
///
/// Outlives the brokers that use it. Where its jobs were asked for, it is destroyed on a thread
/// that may block.
///
/// All processes whose networks have one name on one server take part. docs/redis.md says what the
/// server must be like, and what becomes of everything while it cannot be reached.
///
/// Messages are lost while either side has no connection, and in the first moments of an address:
/// what is sent there before the server knows of it reaches nobody; `ready` waits for that. That an
/// address is one's own is seen to within this process: across processes, names are to be chosen so
/// that they differ. A message is at most as large as the server lets one be that waits for a
/// subscriber (`client-output-buffer-limit pubsub`, 32 MB).
///
/// Claims are by the server's clock, and so is all that jobs have to do with time.
class redis_network final : public network {
public:
  /// Connects in the background: what is asked meanwhile waits. `on` outlives it. Throws
  /// `std::invalid_argument` for options that cannot be, and `std::runtime_error` where a file for
  /// TLS cannot be read, or the system has no thread or descriptor left.
  redis_network(executor& on, const redis_options& options)
      : on_(on), link_(on, options), prefix_(options.prefix()), claims_(link_, prefix_) {}

  [[nodiscard]] inline std::unique_ptr<network_endpoint> open(std::string address) override;
  [[nodiscard]] task<std::uint64_t> claim(std::string name, std::string holder,
                                          duration limit) override {
    return claims_.claim(std::move(name), std::move(holder), limit);
  }
  [[nodiscard]] task<> release(std::string name, std::string holder) override {
    return claims_.release(std::move(name), std::move(holder));
  }
  [[nodiscard]] task<std::vector<network_claim>> claims(std::string prefix) override {
    return claims_.beginning_with(std::move(prefix));
  }
  [[nodiscard]] job_store& jobs() override {
    std::call_once(jobs_made_,
                   [this] { jobs_ = std::make_unique<detail::redis_job_store>(on_, link_); });
    return *jobs_;
  }
  [[nodiscard]] executor& runs_on() noexcept override { return on_; }

  /// Returns when the server can be reached, and knows of all addresses that are open here. Throws
  /// `errc::connection_lost` where it cannot, and `errc::refused` where it is not one to work with;
  /// the text says why.
  [[nodiscard]] task<> ready() {
    static_cast<void>(co_await link_.ask(detail::redis_command("PING")));
    co_await link_.subscribed();
  }

private:
  class inbox;
  class endpoint;

  std::string channel(std::string_view address) const {
    return prefix_ + "at:" + std::string(address);
  }
  void closed(const std::string& address) noexcept;

  executor& on_;
  detail::redis_link link_;
  const std::string prefix_;
  detail::redis_claims claims_;
  spin_lock lock_;  // guards the addresses that are open here
  std::set<std::string, std::less<>> addresses_;
  std::once_flag jobs_made_;
  std::unique_ptr<detail::redis_job_store> jobs_;  // made when it is asked for
};

/// What has come to one address. A message is its sender's address, behind its length in four
/// bytes, and the body.
class redis_network::inbox {
public:
  explicit inbox(std::size_t most) noexcept : most_(most) {}
  inbox(const inbox&) = delete;
  inbox& operator=(const inbox&) = delete;
  ~inbox() { drop(waiting_); }

  static std::string head(std::string_view from) {
    std::string text;
    const std::size_t size = from.size();
    for (int shift = 0; shift != 32; shift += 8) text += static_cast<char>(size >> shift & 0xff);
    text += from;
    return text;
  }

  /// On the link's thread. What is no message is dropped, and so is what is too much.
  void put(std::string_view sent) {
    if (sent.size() < 4) return;
    std::size_t size = 0;
    for (std::size_t i = 0; i != 4; ++i) {
      size |= std::size_t{static_cast<unsigned char>(sent[i])} << (8 * i);
    }
    sent.remove_prefix(4);
    if (sent.size() < size) return;
    auto fresh = std::make_unique<letter>();
    fresh->message.from = sent.substr(0, size);
    fresh->message.body = shared_bytes(sent.substr(size));
    {
      const spin_guard guard(lock_);
      if (closed_ || count_ >= most_) return;
      ++count_;
      waiting_.push_back(*fresh.release());
    }
    news_.release();
  }

  task<std::optional<network_message>> take() {
    co_await news_.acquire();
    std::unique_ptr<letter> next;
    {
      const spin_guard guard(lock_);
      next.reset(waiting_.pop_front());
      if (next) --count_;
    }
    if (next) co_return std::move(next->message);
    news_.release();  // the end stays
    co_return std::nullopt;
  }

  void close() noexcept {
    letters lost;
    {
      const spin_guard guard(lock_);
      closed_ = true;
      count_ = 0;
      lost.append(std::move(waiting_));
    }
    drop(lost);
    news_.release();
  }

private:
  struct letter {
    letter* next = nullptr;
    network_message message;
  };
  using letters = forward_queue<letter, &letter::next>;

  static void drop(letters& all) noexcept {
    while (letter* const one = all.pop_front()) delete one;
  }

  const std::size_t most_;
  async_semaphore news_{0};  // a permit for each message, and one for the end
  spin_lock lock_;           // guards all below
  letters waiting_;
  std::size_t count_ = 0;
  bool closed_ = false;
};

class redis_network::endpoint final : public network_endpoint {
public:
  /// The address is in the network's table.
  endpoint(redis_network& in, std::string address)
      : in_(in), address_(std::move(address)), box_(in.link_.options().inbox) {
    auto put = [this](std::string_view sent) { box_.put(sent); };
    listening_ = in_.link_.subscribe(in_.channel(address_), std::move(put));
  }
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;
  ~endpoint() override { close(); }

  const std::string& address() const noexcept override { return address_; }
  void send(std::string_view to, shared_bytes body) override {
    if (!open_.load(detail::order::relaxed)) return;
    detail::redis_command c("PUBLISH", in_.channel(to));
    c.add_joined(inbox::head(address_), std::move(body));
    in_.link_.tell(std::move(c));
  }
  task<std::optional<network_message>> receive() override { return box_.take(); }
  void close() noexcept override {
    if (!open_.exchange(false, detail::order::relaxed)) return;
    listening_.stop();
    box_.close();
    in_.closed(address_);
  }

private:
  redis_network& in_;
  const std::string address_;
  inbox box_;
  detail::atomic<bool> open_{true};  // whoever resets it takes the address out of the table
  detail::redis_listening listening_;
};

inline std::unique_ptr<network_endpoint> redis_network::open(std::string address) {
  decltype(addresses_) fresh;
  fresh.insert(address);
  auto node = fresh.extract(fresh.begin());
  bool is_free = false;
  {
    const spin_guard guard(lock_);
    is_free = addresses_.find(address) == addresses_.end();
    if (is_free) addresses_.insert(std::move(node));
  }
  if (!is_free) throw error(errc::refused, {}, "there is an endpoint at " + address);
  scope_exit give_back([&]() noexcept { closed(address); });
  auto made = std::make_unique<endpoint>(*this, address);
  give_back.release();
  return made;
}

inline void redis_network::closed(const std::string& address) noexcept {
  decltype(addresses_)::node_type freed;
  const spin_guard guard(lock_);
  const auto at = addresses_.find(address);
  if (at != addresses_.end()) freed = addresses_.extract(at);
}

}  // namespace troupe
